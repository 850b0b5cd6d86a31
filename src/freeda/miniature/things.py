"""The twelve things of the small world, each drawn in a unit square with Pillow, then shaded with numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, RGB] = {
    "red": (208, 40, 44),
    "orange": (238, 130, 30),
    "yellow": (240, 204, 48),
    "green": (58, 150, 64),
    "blue": (44, 92, 208),
    "purple": (128, 62, 170),
    "pink": (238, 130, 170),
    "white": (238, 236, 230),
    "brown": (134, 88, 52),
}
CANVAS = 160
WHITE, DARK = (244, 242, 236), (44, 40, 44)


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """Linear blend of two colours; t = 0 gives a, t = 1 gives b."""
    r, g, c = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return r, g, c


class Pen:
    """A Pillow canvas addressed in [-1, 1] x [-1, 1] (y downwards)."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def _at(self, p: Point) -> Point:
        return (p[0] + 1) * CANVAS / 2, (p[1] + 1) * CANVAS / 2

    def polygon(self, points: Sequence[Point], fill: RGB) -> None:
        self._draw.polygon([self._at(p) for p in points], fill=(*fill, 255))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        self._draw.ellipse([self._at((x - rx, y - ry)), self._at((x + rx, y + ry))], fill=(*fill, 255))

    def pie(self, x: float, y: float, r: float, start: float, end: float, fill: RGB) -> None:
        square = [self._at((x - r, y - r)), self._at((x + r, y + r))]
        self._draw.pieslice(square, start, end, fill=(*fill, 255))

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: RGB) -> None:
        self._draw.rectangle([self._at((x0, y0)), self._at((x1, y1))], fill=(*fill, 255))

    def line(self, points: Sequence[Point], width: float, fill: RGB) -> None:
        pixels = max(1, round(width * CANVAS / 2))
        self._draw.line([self._at(p) for p in points], (*fill, 255), pixels, joint="curve")

    def clip_to(self, other: Pen) -> None:
        """Keeps only what lies on `other`'s ink."""
        alpha = Image.new("L", self.image.size, 0)
        alpha.paste(self.image.getchannel("A"), mask=other.image.getchannel("A"))
        self.image.putalpha(alpha)

    def paste(self, other: Pen) -> None:
        self.image.alpha_composite(other.image)
        self._draw = ImageDraw.Draw(self.image)


def sprite(
    draw: Callable[[Pen, RGB], None],
    colour: str,
    side: int,
    angle: float,
    flip: bool,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One shaded thing: colours (side, side, 3) and coverage (side, side), float32 in [0, 1].

    `side` is in pixels, `angle` in degrees. The colour is varied a little with `rng`.
    """
    base = np.clip(np.array(COLOURS[colour], float) * rng.uniform(0.86, 1.1) + rng.normal(0, 8, 3), 0, 255)
    pen = Pen()
    draw(pen, (int(base[0]), int(base[1]), int(base[2])))
    image = pen.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else pen.image
    image = image.rotate(angle, Image.Resampling.BICUBIC)
    # Premultiplied down-sampling keeps dark fringes out of the soft border.
    data = np.asarray(image, np.float32) / 255
    pre = np.concatenate([data[..., :3] * data[..., 3:], data[..., 3:]], -1)
    planes = [Image.fromarray(pre[..., i]).resize((side, side), Image.Resampling.BOX) for i in range(4)]
    *channels, alpha = (np.asarray(plane) for plane in planes)
    colours = np.stack(channels, -1) / np.maximum(alpha, 1e-4)[..., None]
    cover = Image.fromarray((alpha * 255).astype(np.uint8))
    soft = np.asarray(cover.filter(ImageFilter.GaussianBlur(side / 14)), np.float32) / 255
    gy, gx = np.gradient(soft)
    light = 1.0 - (gx + gy) * side / 14 * 0.9  # lit from the upper left: a soft relief at the rim
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = light * (1.04 - 0.12 * (x + y) / 2)
    paint = np.clip(colours * np.clip(light, 0.55, 1.35)[..., None], 0, 1)
    return paint.astype(np.float32), alpha.astype(np.float32)


def _ring(n: int, r: float, turn: float = 0.0, x: float = 0.0, y: float = 0.0) -> list[Point]:
    angles = [turn + 2 * math.pi * i / n for i in range(n)]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for a in angles]


def _ball(p: Pen, c: RGB) -> None:
    second = WHITE if c != COLOURS["white"] else COLOURS["blue"]
    for i in range(6):
        p.pie(0, 0, 0.95, 60 * i + 15, 60 * i + 76, c if i % 2 else second)
    p.ellipse(0, 0, 0.2, 0.2, mix(c, WHITE, 0.75))


def _star(p: Pen, c: RGB) -> None:
    outer, inner = _ring(5, 0.98, -math.pi / 2), _ring(5, 0.44, -math.pi / 2 + math.pi / 5)
    for i in range(5):
        p.polygon([outer[i], inner[i], (0, 0)], mix(c, WHITE, 0.28))
        p.polygon([outer[i], inner[i - 1], (0, 0)], mix(c, DARK, 0.22))


def _tree(p: Pen, c: RGB) -> None:
    p.polygon([(-0.11, 0.1), (0.11, 0.1), (0.17, 0.98), (-0.17, 0.98)], (112, 72, 42))
    p.line([(0.03, 0.2), (0.05, 0.95)], 0.04, (80, 50, 30))
    for x, y in ((-0.42, 0.0), (0.42, 0.0), (0.0, -0.5), (-0.28, -0.3), (0.28, -0.3)):
        r = 0.4 if x else 0.46
        p.ellipse(x, y, r, r * 0.92, mix(c, DARK, 0.3))
    for i in range(46):
        a, r = i * 2.4, 0.7 * math.sqrt((i + 0.5) / 46)
        leaf = mix(c, WHITE, 0.22) if i % 3 else mix(c, DARK, 0.12)
        p.ellipse(r * 1.02 * math.cos(a), -0.24 + r * 0.86 * math.sin(a), 0.1, 0.075, leaf)


def _house(p: Pen, c: RGB) -> None:
    roof = mix(COLOURS["brown"], COLOURS["red"], 0.4) if c != COLOURS["red"] else (86, 80, 92)
    p.box(0.38, -0.86, 0.58, -0.3, mix(roof, DARK, 0.35))
    p.box(-0.76, -0.2, 0.76, 0.95, c)
    for i in range(1, 6):
        p.line([(-0.76, -0.2 + 0.19 * i), (0.76, -0.2 + 0.19 * i)], 0.025, mix(c, DARK, 0.22))
    p.polygon([(-0.98, -0.14), (0, -0.96), (0.98, -0.14)], roof)
    for t in (0.3, 0.6):
        y = -0.14 - t * 0.14
        p.line([(-0.98 + t * 0.9, y), (0.98 - t * 0.9, y)], 0.03, mix(roof, DARK, 0.3))
    p.box(-0.16, 0.34, 0.2, 0.95, mix(COLOURS["brown"], DARK, 0.3))
    for x in (-0.58, 0.34):
        p.box(x, 0.08, x + 0.3, 0.42, WHITE)
        p.box(x + 0.04, 0.12, x + 0.26, 0.38, (140, 196, 226))
        p.line([(x + 0.15, 0.1), (x + 0.15, 0.4)], 0.035, WHITE)


def _mushroom(p: Pen, c: RGB) -> None:
    p.polygon([(-0.22, -0.05), (0.22, -0.05), (0.3, 0.96), (-0.3, 0.96)], (232, 222, 196))
    p.line([(-0.12, 0.1), (-0.15, 0.9)], 0.04, (196, 182, 150))
    p.line([(0.1, 0.1), (0.13, 0.9)], 0.04, (196, 182, 150))
    p.pie(0, 0.08, 0.97, 180, 360, c)
    p.ellipse(0, 0.08, 0.97, 0.14, mix(c, DARK, 0.35))
    p.ellipse(0, 0.12, 0.7, 0.08, (214, 200, 170))
    dot = WHITE if c != COLOURS["white"] else COLOURS["red"]
    for x, y, r in (
        (-0.55, -0.25, 0.15),
        (0.0, -0.55, 0.19),
        (0.5, -0.3, 0.16),
        (-0.12, -0.12, 0.11),
        (0.26, -0.06, 0.08),
    ):
        p.ellipse(x, y, r, r * 0.9, dot)


def _fish(p: Pen, c: RGB) -> None:
    fin = mix(c, DARK, 0.28)
    p.polygon([(0.45, 0), (0.98, -0.46), (0.86, 0), (0.98, 0.46)], fin)
    p.polygon([(-0.2, -0.4), (0.2, -0.72), (0.38, -0.3)], fin)
    p.polygon([(-0.1, 0.4), (0.2, 0.64), (0.3, 0.3)], fin)
    body, scales = Pen(), Pen()
    body.ellipse(-0.18, 0, 0.78, 0.48, c)
    for row in range(-4, 5):
        for col in range(8):
            x, y = -0.42 + 0.15 * col + 0.075 * (row % 2), 0.12 * row
            scales.ellipse(x, y, 0.085, 0.07, mix(c, DARK, 0.3))
            scales.ellipse(x - 0.025, y, 0.07, 0.058, mix(c, WHITE, 0.3))
    scales.clip_to(body)
    p.paste(body)
    p.paste(scales)
    p.ellipse(-0.66, -0.1, 0.12, 0.12, WHITE)
    p.ellipse(-0.68, -0.1, 0.06, 0.06, DARK)


def _flower(p: Pen, c: RGB) -> None:
    stem = (46, 122, 52)
    p.line([(0, 0), (0.03, 0.98)], 0.09, stem)
    p.polygon([(0.02, 0.8), (0.45, 0.5), (0.32, 0.82)], stem)
    p.polygon([(0.02, 0.9), (-0.42, 0.62), (-0.3, 0.92)], stem)
    for i, (x, y) in enumerate(_ring(7, 0.42, 0.2, 0, -0.28)):
        p.ellipse(x, y, 0.26, 0.26, mix(c, DARK, 0.12 if i % 2 else 0.0))
        p.ellipse(x, y, 0.14, 0.14, mix(c, WHITE, 0.3))
    centre = COLOURS["yellow"] if c not in (COLOURS["yellow"], COLOURS["orange"]) else COLOURS["brown"]
    p.ellipse(0, -0.28, 0.24, 0.24, centre)
    for x, y in _ring(6, 0.12, 0, 0, -0.28):
        p.ellipse(x, y, 0.035, 0.035, mix(centre, DARK, 0.45))


def _car(p: Pen, c: RGB) -> None:
    p.polygon([(-0.55, -0.12), (-0.34, -0.56), (0.32, -0.56), (0.6, -0.12)], mix(c, DARK, 0.15))
    p.polygon([(-0.43, -0.14), (-0.28, -0.47), (-0.03, -0.47), (-0.03, -0.14)], (168, 214, 232))
    p.polygon([(0.05, -0.14), (0.05, -0.47), (0.27, -0.47), (0.46, -0.14)], (168, 214, 232))
    p.polygon([(-0.98, 0.36), (-0.95, 0.0), (-0.6, -0.14), (0.65, -0.14), (0.94, 0.0), (0.98, 0.36)], c)
    p.line([(-0.95, 0.2), (0.96, 0.2)], 0.05, mix(c, DARK, 0.4))
    p.line([(0.01, -0.12), (0.01, 0.3)], 0.025, mix(c, DARK, 0.4))
    p.ellipse(-0.88, 0.06, 0.07, 0.07, (250, 236, 150))
    for x in (-0.52, 0.52):
        p.ellipse(x, 0.38, 0.25, 0.25, DARK)
        p.ellipse(x, 0.38, 0.12, 0.12, (190, 190, 196))


def _boat(p: Pen, c: RGB) -> None:
    p.line([(0, -0.95), (0, 0.5)], 0.06, (110, 74, 44))
    p.polygon([(0.05, -0.92), (0.05, 0.3), (0.84, 0.3)], WHITE)
    p.polygon([(-0.06, -0.75), (-0.06, 0.3), (-0.68, 0.3)], mix(WHITE, c, 0.3))
    for t in (0.35, 0.65):
        p.line([(0.05, -0.92 + 1.22 * t), (0.05 + 0.79 * t, -0.92 + 1.22 * t)], 0.03, (196, 190, 178))
    hull = c if c != COLOURS["white"] else (92, 110, 150)
    p.polygon([(-0.95, 0.42), (0.95, 0.42), (0.66, 0.92), (-0.66, 0.92)], hull)
    p.line([(-0.88, 0.56), (0.88, 0.56)], 0.07, mix(hull, WHITE, 0.65))
    for x in (-0.4, 0.0, 0.4):
        p.ellipse(x, 0.74, 0.07, 0.07, mix(hull, DARK, 0.5))


def _umbrella(p: Pen, c: RGB) -> None:
    p.line([(0, -0.2), (0, 0.78)], 0.07, (96, 66, 46))
    p.line([(0, 0.76), (0.04, 0.92), (0.16, 0.95), (0.25, 0.84)], 0.07, (96, 66, 46))
    dome, panels = Pen(), Pen()
    dome.pie(0, 0.05, 0.97, 180, 360, c)
    panels.pie(0, 0.05, 0.97, 180, 360, c)
    second = mix(c, WHITE, 0.6) if c != COLOURS["white"] else COLOURS["pink"]
    panels.polygon([(0, -0.95), (-0.6, 0.1), (-0.2, 0.1)], second)
    panels.polygon([(0, -0.95), (0.2, 0.1), (0.6, 0.1)], second)
    panels.clip_to(dome)
    p.paste(panels)
    for x in (-0.78, -0.4, 0.0, 0.4, 0.78):
        p.ellipse(x, 0.09, 0.19, 0.09, mix(c, DARK, 0.3))
    p.line([(0, -0.92), (0, -1.0)], 0.06, DARK)


def _butterfly(p: Pen, c: RGB) -> None:
    for s in (-1, 1):
        p.polygon([(0, -0.02), (s * 0.3, -0.75), (s * 0.78, -0.86), (s * 0.97, -0.5), (s * 0.7, 0.02)], c)
        lower = [(0, 0.0), (s * 0.68, 0.06), (s * 0.74, 0.48), (s * 0.44, 0.8), (s * 0.14, 0.5)]
        p.polygon(lower, mix(c, DARK, 0.18))
        p.line([(s * 0.3, -0.75), (s * 0.78, -0.86), (s * 0.97, -0.5), (s * 0.7, 0.02)], 0.07, DARK)
        p.line([(s * 0.68, 0.06), (s * 0.74, 0.48), (s * 0.44, 0.8)], 0.07, DARK)
        p.ellipse(s * 0.66, -0.5, 0.15, 0.15, mix(c, WHITE, 0.75))
        p.ellipse(s * 0.66, -0.5, 0.07, 0.07, DARK)
        p.ellipse(s * 0.46, 0.4, 0.12, 0.12, mix(c, WHITE, 0.75))
        p.line([(0, -0.55), (s * 0.2, -0.92)], 0.04, DARK)
    p.ellipse(0, 0, 0.09, 0.6, DARK)


def _clock(p: Pen, c: RGB) -> None:
    for s in (-1, 1):
        p.line([(s * 0.5, 0.7), (s * 0.68, 0.97)], 0.13, mix(c, DARK, 0.45))
        p.ellipse(s * 0.55, -0.74, 0.24, 0.2, mix(c, DARK, 0.2))
    p.ellipse(0, 0.04, 0.88, 0.88, c if c != COLOURS["white"] else (150, 152, 160))
    p.ellipse(0, 0.04, 0.68, 0.68, (250, 248, 240))
    for i, (x, y) in enumerate(_ring(12, 0.55, 0, 0, 0.04)):
        p.ellipse(x, y, *((0.08, 0.08) if i % 3 == 0 else (0.045, 0.045)), DARK)
    p.line([(0, 0.04), (0.02, -0.4)], 0.075, DARK)
    p.line([(0, 0.04), (0.32, 0.2)], 0.095, DARK)
    p.ellipse(0, 0.04, 0.08, 0.08, COLOURS["red"])


_ANY = ("red", "orange", "yellow", "blue", "purple", "pink", "white")
DRAW: dict[str, tuple[Callable[[Pen, RGB], None], tuple[str, ...]]] = {
    "ball": (_ball, _ANY),
    "star": (_star, ("red", "orange", "yellow", "blue", "purple", "pink")),
    "tree": (_tree, ("green", "orange", "yellow", "pink")),
    "house": (_house, (*_ANY, "brown")),
    "mushroom": (_mushroom, ("red", "orange", "purple", "brown", "blue")),
    "fish": (_fish, (*_ANY, "green")),
    "flower": (_flower, _ANY),
    "car": (_car, (*_ANY, "green")),
    "boat": (_boat, (*_ANY, "brown", "green")),
    "umbrella": (_umbrella, (*_ANY, "green")),
    "butterfly": (_butterfly, _ANY),
    "clock": (_clock, (*_ANY, "green")),
}
"""Thing -> how it is drawn and the colours it comes in."""
THINGS = tuple(DRAW)
