"""Text on pictures with the one font that Pillow brings along, so that every machine draws the same."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]

INK: Colour = (28, 31, 38)
FAINT: Colour = (116, 122, 134)
PAPER: Colour = (255, 255, 255)


@lru_cache(maxsize=32)
def font(size: int) -> Font:
    """Pillow's own font at `size` pixels (at least 6)."""
    return ImageFont.load_default(size=max(int(size), 6))


def width(text: str, size: int) -> int:
    """How wide `text` is, in pixels."""
    return round(font(size).getlength(text))


def shorten(text: str, size: int, limit: int) -> str:
    """`text`, cut with an ellipsis so that it is at most `limit` pixels wide."""
    text = " ".join(text.split())
    if width(text, size) <= limit:
        return text
    while text and width(text + "...", size) > limit:
        text = text[:-1]
    return text.rstrip() + "..."


def wrap(text: str, size: int, limit: int, lines: int = 2) -> list[str]:
    """`text` broken at spaces into at most `lines` lines of `limit` pixels; the last one is shortened."""
    out: list[str] = []
    words = text.split()
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
    draw.text(xy, text, fill=fill, font=font(size), anchor=anchor)
