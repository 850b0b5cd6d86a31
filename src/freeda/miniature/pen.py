"""Pen and light of the small world: drawing in a unit square with Pillow, shading with numpy."""

from __future__ import annotations

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
        self._draw.pieslice(
            [self._at((x - r, y - r)), self._at((x + r, y + r))], start, end, fill=(*fill, 255)
        )

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: RGB) -> None:
        self._draw.rectangle([self._at((x0, y0)), self._at((x1, y1))], fill=(*fill, 255))

    def line(self, points: Sequence[Point], width: float, fill: RGB) -> None:
        self._draw.line(
            [self._at(p) for p in points],
            fill=(*fill, 255),
            width=max(1, round(width * CANVAS / 2)),
            joint="curve",
        )

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
    small = np.stack(
        [
            np.asarray(Image.fromarray(pre[..., i]).resize((side, side), Image.Resampling.BOX))
            for i in range(4)
        ],
        -1,
    )
    alpha = small[..., 3]
    colours = small[..., :3] / np.maximum(alpha, 1e-4)[..., None]
    soft = (
        np.asarray(
            Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(side / 14)),
            np.float32,
        )
        / 255
    )
    gy, gx = np.gradient(soft)
    light = 1.0 - (gx + gy) * side / 14 * 0.9  # lit from the upper left: a soft relief at the rim
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    light = light * (1.04 - 0.12 * (x + y) / 2)
    return np.clip(colours * np.clip(light, 0.55, 1.35)[..., None], 0, 1).astype(np.float32), alpha.astype(
        np.float32
    )
