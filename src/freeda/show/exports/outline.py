"""Outlines of a label map's areas: closed rings along pixel edges, which fill to exactly the same pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Directions of travel along pixel edges: east, south, west, north. The area lies on the right hand.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # (row, column) of one step
_CORNER = ((0, 1), (1, 1), (1, 0), (0, 0))  # where the edge of a pixel ends, from its upper left corner


@dataclass(frozen=True, eq=False)
class Area:
    """One connected area of a label map (pixels that share an edge are connected)."""

    label: int
    number: int
    """Its value in the map of areas, from 1 on."""
    rings: tuple[NDArray[np.int64], ...]
    """(n, 2) corners as (x, y), in pixels from the picture's upper left corner: first the outer ring,
    clockwise on the screen, then its holes, the other way round. Lines are horizontal and vertical by turns;
    the last corner is joined to the first, which is not repeated."""


def areas(numbers: NDArray[Any], labels: NDArray[Any], apart: bool = True) -> list[Area]:
    """The areas of `labels`, integer (H, W), with their outlines; `numbers` comes from `number_areas`.

    The outlines cover every numbered pixel exactly once. Where an area meets itself at a corner of pixels
    only, two rings touch there, and the outlines are valid polygons of the OGC's simple features; without
    `apart` one ring passes there twice, each time on the inside of its own pixel.
    """
    grouped: dict[int, tuple[int, list[NDArray[np.int64]]]] = {}
    for ring, (row, column) in _trace(
        numbers, apart
    ):  # by their topmost edges, so that an area's outer ring is first
        label, number = int(labels[row, column]), int(numbers[row, column])
        grouped.setdefault(number, (label, []))[1].append(ring)
    return [Area(label, number, tuple(rings)) for number, (label, rings) in sorted(grouped.items())]


def _trace(numbers: NDArray[Any], apart: bool) -> list[tuple[NDArray[np.int64], tuple[int, int]]]:
    """All rings around equal positive numbers, each with the row and column of a pixel along its inside."""
    padded = np.pad(numbers, 1).astype(np.int32)
    wide = padded.shape[1]
    flat = padded.ravel()
    step = [row * wide + column for row, column in _STEPS]
    owned = np.flatnonzero(flat)
    # An edge is a pixel and a direction of travel; there is one where the pixel on the left is another's.
    at = [owned[flat[owned + step[d - 1]] != flat[owned]] for d in range(4)]
    pixel, way = np.concatenate(at), np.repeat(np.arange(4), [len(a) for a in at])
    own, ahead, left = flat[pixel], pixel + np.array(step)[way], np.array(step)[way - 1]
    turns_left, straight = flat[ahead + left] == own, flat[ahead] == own
    if not apart:
        turns_left &= straight
    straight &= ~turns_left
    to_pixel = np.where(turns_left, ahead + left, np.where(straight, ahead, pixel))
    to_way = (way + np.where(turns_left, -1, np.where(straight, 0, 1))) % 4
    keys = way * flat.size + pixel  # ascending
    if not len(keys):
        return []
    order, starts = _cycles(np.searchsorted(keys, to_way * flat.size + to_pixel))
    ring = np.repeat(np.arange(len(starts)), np.diff([*starts, len(order)]))
    inside = np.stack(np.divmod(pixel[order[starts]], wide), axis=1) - 1
    bends = ~straight[order]
    order, ring = order[bends], ring[bends]
    corner = np.array(_CORNER)[way[order]]
    row, column = np.divmod(pixel[order], wide)
    points = np.stack([column - 1 + corner[:, 1], row - 1 + corner[:, 0]], axis=1)
    parts = np.split(points, np.searchsorted(ring, np.arange(1, len(starts))))
    return [(part, (y, x)) for part, (y, x) in zip(parts, inside.tolist(), strict=True)]


def _cycles(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """The cycles of a permutation one after the other, and where each starts; by their smallest members."""
    after = following.tolist()
    seen = bytearray(len(after))
    order: list[int] = []
    starts: list[int] = []
    for first in range(len(after)):
        if seen[first]:
            continue
        starts.append(len(order))
        here = first
        while not seen[here]:
            seen[here] = 1
            order.append(here)
            here = after[here]
    return np.array(order, dtype=np.int64), starts
