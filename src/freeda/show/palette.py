"""Colours that stay apart, always the same ones."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

REST: dict[str, NDArray[np.uint8]] = {
    "others": np.array([132, 136, 146], np.uint8),
    "background": np.array([84, 88, 98], np.uint8),
}
"""Greys of the labels that stand for no class: all that is none of the words, and the background."""
# The first eight: pleasant colours moved apart until they also differ for people who lack one kind of cone
# (tests/app/test_colours.py). The others were chosen by eye: neighbours in the list differ in hue and in
# lightness, none is close to black, white or grey.
_FIRST = bytes.fromhex(
    "eb662f 3e7aac dbb35a 259e60 8267d7 fa7f9f 58b5e2 b22f8a"
    "98c13d a5683a 1c7c7d c92a5e 6f8f2f b98af0 ffd97a 7ee0b0"
)

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def palette(n: int) -> NDArray[np.uint8]:
    """`n` distinguishable colours: uint8 (n, 3) RGB; `palette(m)` is always the start of `palette(n)`, m < n.

    The first eight also differ for colour-blind people. From the seventeenth on, each is the candidate
    farthest from all before it in the OKLab space (Ottosson 2020), where distances are roughly what people
    see. Beyond about 2,000 colours they repeat.
    """
    if n < 0:
        raise InputError(f"palette of {n} colours: expected 0 or more")
    colours = _colours(max(64, 1 << max(n - 1, 1).bit_length()))
    return colours[np.arange(n) % len(colours)]


def to_hex(colour: NDArray[np.uint8] | tuple[int, int, int]) -> str:
    """A uint8 (3,) colour as `#rrggbb`."""
    return f"#{bytes(map(int, colour)).hex()}"


def rgb(colour: NDArray[Any]) -> tuple[int, int, int]:
    """A (3,) colour in [0, 255] as Pillow takes it."""
    return int(colour[0]), int(colour[1]), int(colour[2])


def mix(stops: NDArray[Any], values: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 3) colours of `values` (...) in [0, 1] on a scale that runs evenly through `stops` (n, 3)."""
    at = values * (len(stops) - 1)
    low = np.minimum(at.astype(np.int64), len(stops) - 2)
    rest = (at - low)[..., None]
    return stops[low] * (1 - rest) + stops[low + 1] * rest


def ink(colour: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Black or white, whichever reads better on a uint8 (3,) colour (WCAG 2 relative luminance)."""
    luminance = float(_linear(colour) @ np.array([0.2126, 0.7152, 0.0722]))
    return (20, 22, 28) if luminance > 0.25 else (255, 255, 255)


@lru_cache(maxsize=8)
def _colours(n: int) -> NDArray[np.uint8]:
    steps = np.linspace(24, 250, 16)
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3).astype(np.uint8)
    lab = _oklab(lattice)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    good = (lab[:, 0] > 0.42) & (lab[:, 0] < 0.9) & (chroma > 0.07) & (chroma < 0.23)
    lattice, lab = lattice[good], lab[good]
    chosen = list(np.frombuffer(_FIRST, np.uint8).reshape(-1, 3))
    nearest = np.full(len(lab), np.inf)
    for colour in chosen:
        nearest = np.minimum(nearest, ((lab - _oklab(colour)) ** 2).sum(-1))
    for _ in range(min(n - len(chosen), len(lab))):
        best = int(nearest.argmax())
        chosen.append(lattice[best])
        nearest = np.minimum(nearest, ((lab - lab[best]) ** 2).sum(-1))
    colours = np.stack(chosen)
    colours.setflags(write=False)
    return colours


def _linear(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """sRGB's transfer curve undone (IEC 61966-2-1): uint8 (..., 3) to [0, 1]."""
    c = rgb.astype(np.float64) / 255.0
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _oklab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """OKLab of uint8 (..., 3) sRGB; matrices from Björn Ottosson, "A perceptual color space" (2020)."""
    return np.cbrt(_linear(rgb) @ _TO_LMS.T) @ _TO_LAB.T
