"""From the working size to the photograph's own: labels without ever holding classes x height x width.

Scores are resized bilinearly (half-pixel centres), then the rules of `Verdict` decide. Where four
neighbours are decided alike so is every blend of them, so only pixels between *differing* decisions need
scores at all: exact, and a few per cent of the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..pooling import Taps, centre_taps
from .matching import CHUNK, PlaceScores
from .regions import nearest
from .window_encoding import Floats

Kind = TypeVar("Kind", bound=np.generic)
STRIP = 1 << 20
"""Output pixels handled at a time."""
IN_CACHE = 1 << 18
"""Scores blended at a time (float32 numbers, 1 MiB): more would leave the processor's cache."""


def label_map(scores: PlaceScores, size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """(H, W) int32: the labels of the scores resized to `size` = (H, W)."""
    places = scores.places
    labels, codes = scores.decide()
    if places.shape == size:
        return labels[places]
    tall, wide = centre_taps(places.shape[0], size[0]), centre_taps(places.shape[1], size[1])
    out = np.empty(size, dtype=np.int32)
    for start, stop in _strips(size, STRIP):
        high, low = places[tall.low[start:stop]], places[tall.high[start:stop]]
        upper, lower = codes[high], codes[low]
        corner = upper[:, wide.low]
        alike = (
            (corner == upper[:, wide.high]) & (corner == lower[:, wide.low]) & (corner == lower[:, wide.high])
        )
        strip = labels[high][:, wide.low]
        ys, xs = np.nonzero(~alike)
        step = max(1, min(CHUNK, IN_CACHE) // (4 * scores.verdict.n_planes))
        for i in range(0, len(ys), step):
            y, x = ys[i : i + step], xs[i : i + step]
            strip[y, x] = scores.verdict.decide(_blend(scores, tall, wide, y + start, x))[0]
        out[start:stop] = strip
    return out


def dense_scores(scores: PlaceScores, size: tuple[int, int]) -> Iterator[tuple[int, int, Floats]]:
    """The labels' scores themselves, strip by strip: (first row, end row, (rows, W, L) float32)."""
    places = scores.places
    tall, wide = centre_taps(places.shape[0], size[0]), centre_taps(places.shape[1], size[1])
    for start, stop in _strips(size, max(1, CHUNK // (4 * scores.verdict.n_planes))):
        y, x = np.mgrid[start:stop, : size[1]].reshape(2, -1)
        if places.shape == size:
            planes = scores.of(places[start:stop].ravel())
        else:
            planes = _blend(scores, tall, wide, y, x)
        yield start, stop, scores.verdict.scores(planes).reshape(stop - start, size[1], -1)


def pixel_planes(scores: PlaceScores, size: tuple[int, int], y: int, x: int) -> Floats:
    """(1, n_planes) float32: the planes at pixel (y, x) of scores resized to `size`, as `dense_scores` has
    them."""
    places = scores.places
    if places.shape == size:
        return scores.of(places[y : y + 1, x])
    tall, wide = centre_taps(places.shape[0], size[0]), centre_taps(places.shape[1], size[1])
    return _blend(scores, tall, wide, np.array([y]), np.array([x]))


def pixel_taps(shape: tuple[int, int], size: tuple[int, int], y: int, x: int) -> list[tuple[int, int, float]]:
    """(row, column, share) of the working pixels, out of (h, w), that pixel (y, x) of `size` is blended
    from; shares are above 0 and sum to 1."""
    tall, wide = centre_taps(shape[0], size[0]), centre_taps(shape[1], size[1])
    down, right = float(tall.fraction[y]), float(wide.fraction[x])
    rows = ((int(tall.low[y]), 1 - down), (int(tall.high[y]), down))
    columns = ((int(wide.low[x]), 1 - right), (int(wide.high[x]), right))
    return [(i, j, a * b) for i, a in rows for j, b in columns if a * b > 0]


def enlarged(plane: npt.NDArray[Kind], size: tuple[int, int]) -> npt.NDArray[Kind]:
    """A plane (h, w) at the working size resized to `size` = (H, W) by `nearest` pixels: masks, numbers."""
    rows, columns = (nearest(n_in, n_out) for n_in, n_out in zip(plane.shape, size, strict=True))
    return plane[rows[:, None], columns]


def _blend(
    scores: PlaceScores, tall: Taps, wide: Taps, y: npt.NDArray[np.intp], x: npt.NDArray[np.intp]
) -> Floats:
    """(P, n_planes) planes resized, at the output pixels (y, x)."""
    places = scores.places
    down, right = (taps.fraction[at, None].astype(np.float32) for taps, at in ((tall, y), (wide, x)))
    around = np.concatenate(
        [places[rows[y], columns[x]] for rows in (tall.low, tall.high) for columns in (wide.low, wide.high)]
    )
    a, b, c, d = scores.of(around).reshape(4, len(y), -1)
    for low, high, share in ((a, b, right), (c, d, right), (a, c, down)):  # in place: memory is the cost here
        high -= low
        high *= share
        low += high
    out: Floats = a
    return out


def _strips(size: tuple[int, int], pixels: int) -> Iterator[tuple[int, int]]:
    step = max(1, pixels // size[1])
    for start in range(0, size[0], step):
        yield start, min(start + step, size[0])
