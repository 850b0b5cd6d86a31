"""Scenes of the small world with exact ground truth: what is where, in 128 x 128 pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from ..images import of_world
from ..presets import DRAWN
from ..show.tiles import enlarge
from .stuff import BACKDROPS, GROUNDS, STUFF, texture
from .things import DRAW, THINGS, sprite

SIZE = 128
CLASSES: tuple[str, ...] = (*STUFF, *THINGS)
"""The benchmark names of the world; a label is an index into this tuple."""
TRAIN, HELD_OUT, BANK, CLOSE = 0, 1, 2, 3
"""Streams of scenes: models are trained on TRAIN, measured on HELD_OUT, and a bank's captions describe BANK.
BANK's scenes, and those of CLOSE, from which the denoiser learns to draw them, are seen from near by."""


@dataclass(frozen=True)
class Thing:
    kind: str
    colour: str
    radius: int
    """Half the side of its square, in pixels."""
    x: int
    y: int
    """Centre, in pixels."""


@dataclass(frozen=True)
class DrawnScene:
    backdrop: str
    ground: str
    things: tuple[Thing, ...]
    image: NDArray[np.uint8]
    """(128, 128, 3) RGB."""
    labels: NDArray[np.uint8]
    """(128, 128) indices into CLASSES, from the renderer itself."""
    near: bool = False
    """Seen from near by: fewer and larger things."""

    def picture(self, factor: int = 1, smooth: bool = True) -> Image.Image:
        """`image`, `factor` times as large, with the record that it is of this world, which a PNG keeps."""
        return of_world(enlarge(self.image, factor, smooth), DRAWN)


def _horizon(rng: np.random.Generator, flat: bool) -> NDArray[np.float64]:
    x = np.arange(SIZE)
    wave = 0.0 if flat else rng.uniform(0, 4)
    level = SIZE * rng.uniform(0.34, 0.62) + wave * np.sin(x * rng.uniform(0.03, 0.09) + rng.uniform(0, 6))
    return level + wave * 0.5 * np.sin(x * rng.uniform(0.1, 0.2))


def _place(
    rng: np.random.Generator, n: int, median: int, least: int, most: int
) -> list[tuple[int, int, int]]:
    """n (radius, x, y) whose centres keep apart: things may overlap but none hides another."""
    spots: list[tuple[int, int, int]] = []
    for _ in range(200):
        if len(spots) == n:
            break
        r = int(np.clip(rng.lognormal(np.log(median), 0.26), least, most))
        x, y = (int(rng.integers(r // 2 + least, SIZE - r // 2 - 4)) for least in (4, 12))
        if all(np.hypot(x - u, y - v) > 0.8 * (r + s) for s, u, v in spots):
            spots.append((r, x, y))
    return spots


def render(stream: int, index: int) -> DrawnScene:
    """DrawnScene number `index` of a stream: the same picture on every machine and in any order."""
    rng = np.random.default_rng([stream, index])
    near = stream in (BANK, CLOSE)
    backdrop = str(rng.choice(list(BACKDROPS)))
    ground = str(rng.choice(list(GROUNDS)))
    y = np.arange(SIZE)[:, None]
    horizon = _horizon(rng, flat=ground in ("water", "road"))
    below = np.clip(y - horizon + 0.5, 0, 1).astype(np.float32)
    top = int(np.argmax(below.max(1) > 0))
    canvas = texture(backdrop, SIZE, SIZE, rng)
    floor = np.zeros_like(canvas)
    floor[top:] = texture(ground, SIZE - top, SIZE, rng)
    canvas = canvas + (floor - canvas) * below[..., None]
    labels = np.where(below >= 0.5, CLASSES.index(ground), CLASSES.index(backdrop)).astype(np.uint8)

    counts = [0.75, 0.25, 0.0] if near else [0.35, 0.45, 0.2]
    kinds = rng.choice(list(THINGS), size=int(rng.choice([1, 2, 3], p=counts)), replace=False)
    spread = (38, 30, 50) if near else (23, 14, 38)
    spots = sorted(_place(rng, len(kinds), *spread), key=lambda s: s[2] + s[0])
    things = []
    for kind, (r, cx, cy) in zip(kinds, spots, strict=False):
        draw, choice = DRAW[str(kind)]
        colour, angle, flip = str(rng.choice(choice)), float(rng.uniform(-12, 12)), bool(rng.random() < 0.5)
        colours, alpha = sprite(draw, colour, 2 * r, angle, flip, rng)
        shade = _laid(alpha, cx + r // 6, cy + r // 6, r)
        canvas = canvas * (1 - 0.3 * gaussian_filter(shade, r / 8))[..., None]
        cover, paint = _laid(alpha, cx, cy, r), _laid(colours, cx, cy, r)
        canvas = canvas + (paint - canvas) * cover[..., None]
        labels[cover >= 0.5] = CLASSES.index(str(kind))
        things.append(Thing(str(kind), colour, r, cx, cy))
    gain = rng.uniform(0.88, 1.1) + rng.normal(0, 0.015, 3)
    graded = canvas * gain + rng.normal(0, 0.012, canvas.shape)
    image = np.round(np.clip(graded, 0, 1) * 255).astype(np.uint8)
    return DrawnScene(backdrop, ground, tuple(things), image, labels, near)


def _laid(sprite: NDArray[np.float32], cx: int, cy: int, r: int) -> NDArray[np.float32]:
    """A sprite (2r, 2r, ...) laid on an empty full-size canvas, cut at its border."""
    out = np.zeros((SIZE, SIZE, *sprite.shape[2:]), np.float32)
    y0, x0 = cy - r, cx - r
    ys, xs = slice(max(y0, 0), min(y0 + 2 * r, SIZE)), slice(max(x0, 0), min(x0 + 2 * r, SIZE))
    out[ys, xs] = sprite[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0]
    return out
