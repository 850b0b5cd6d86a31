"""Text on pictures with the one font that Pillow brings along, so that every machine draws the same.

That font knows ASCII and little more. Other letters are drawn with a font of the system where one has them
all; where none has, without their accents, and what cannot be drawn at all is left out.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageDraw, ImageFont, features

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]

INK: Colour = (28, 31, 38)
FAINT: Colour = (116, 122, 134)
WARNING: Colour = (150, 62, 8)
PAPER: Colour = (255, 255, 255)


_OWN = ""
# Files by which Linux, macOS and Windows know their widest fonts; Pillow finds them by name.
_SYSTEM = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial Unicode.ttf"),
    *("Arial.ttf", "segoeui.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "PingFang.ttc", "msyh.ttc"),
    *("NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansDevanagari-Regular.ttf"),
)


@lru_cache(maxsize=64)
def font(size: int, face: str = _OWN) -> Font:
    """Pillow's own font, or the system's font in the file `face`, at `size` pixels (at least 6)."""
    size = max(int(size), 6)
    return ImageFont.truetype(face, size) if face else ImageFont.load_default(size=size)


def drawable(text: str) -> str:
    """`text` as it can be drawn here; "" where no font has any of its letters."""
    return _drawn(text)[0]


def label(name: str, number: int) -> str:
    """The name of the label `number`, counted from 0, as it can be drawn here, or else "class 1"."""
    return drawable(name) or f"class {number + 1}"


@lru_cache(maxsize=4096)
def _drawn(text: str) -> tuple[str, str]:
    """The drawable text and the face that draws it."""
    if text.isascii():
        return text, _OWN
    faces = (_OWN, *(face for face in _SYSTEM if _there(face)))
    if any(unicodedata.bidirectional(c) in ("R", "AL") for c in text) and not features.check("fribidi"):
        faces = (_OWN,)  # letters from right to left would come out from left to right
    best = max(faces, key=lambda face: sum(_has(face, c) for c in text))  # the first of the best
    plain = "".join(c if _has(best, c) else _bare(c, best) for c in text)
    if not any(unicodedata.category(c) not in ("Cf", "Mn", "Zs") for c in plain):
        plain = ""  # joiners and accents of what was left out
    return " ".join(plain.split()), best


@lru_cache(maxsize=4096)
def _has(face: str, letter: str) -> bool:
    """Whether a face draws a letter otherwise than one that no font has."""
    if letter.isspace():
        return True
    found, lacking = (font(20, face).getmask(c) for c in (letter, "\U0010fffe"))
    return found.size != lacking.size or bytes(found) != bytes(lacking)


def _bare(letter: str, face: str) -> str:
    base = unicodedata.normalize("NFKD", letter)[0]
    return base if base.isalnum() and _has(face, base) else ""


@lru_cache(maxsize=64)
def _there(face: str) -> bool:
    try:
        return bool(font(20, face))
    except OSError:
        return False


def width(text: str, size: int) -> int:
    """How wide `text` is, in pixels."""
    shown, face = _drawn(text)
    return round(font(size, face).getlength(shown))


def shorten(text: str, size: int, limit: int) -> str:
    """`text`, cut with an ellipsis so that it is at most `limit` pixels wide."""
    whole = " ".join(text.split())
    text = whole[: max(limit, 0)]  # no letter is narrower than a pixel
    if text == whole and width(text, size) <= limit:
        return text
    fits, ends = 0, len(text)
    while fits < ends:
        middle = (fits + ends + 1) // 2
        if width(text[:middle] + "...", size) <= limit:
            fits = middle
        else:
            ends = middle - 1
    return text[:fits].rstrip() + "..."


def wrap(text: str, size: int, limit: int, lines: int = 2) -> list[str]:
    """`text` broken at spaces into at most `lines` lines of `limit` pixels; the last one is shortened."""
    out: list[str] = []
    words = text[: (lines + 1) * limit].split()  # no letter is narrower than a pixel
    while words and len(out) < lines:
        taken = 1
        while taken < len(words) and width(" ".join(words[: taken + 1]), size) <= limit:
            taken += 1
        if len(out) == lines - 1:
            taken = len(words)
        out.append(shorten(" ".join(words[:taken]), size, limit))
        words = words[taken:]
    return out


def write(
    draw: ImageDraw.ImageDraw,
    xy: tuple[float, float],
    text: str,
    size: int,
    fill: Colour = INK,
    anchor: str = "lm",
) -> None:
    """Draw one line of `text` at `xy`; `anchor` as in Pillow (default: left, vertically centred)."""
    shown, face = _drawn(text)
    draw.text(xy, shown, fill=fill, font=font(size, face), anchor=anchor)


def percent(share: float) -> str:
    """A share from 0 to 1 as people read it; what is there is never told as nothing."""
    return f"{100 * share:.1f} %" if share >= 0.0005 or share <= 0 else "< 0.1 %"
