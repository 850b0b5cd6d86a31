"""Outlines of a label map's areas: closed rings along pixel edges, which fill to exactly the same pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Directions of travel along pixel edges: east, south, west, north. The area lies on the right hand.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # (row, column) of one step
_CORNER = ((0, 1), (1, 1), (1, 0), (0, 0))  # where the edge of a pixel ends, from its upper left corner
INSET = 0.01
"""Pixels by which the line lies inside the area's true edge.

Readers differ: some fill the pixels whose centre is inside, others cut coordinates down to whole numbers and
fill what lies on the line or inside (labelme, Ultralytics). A line just inside the edge is exact for both.
"""
_ALONG = 0.25  # where in its row of pixels a bridge runs: not through their centres


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
    # They come by their topmost edges, so that an area's outer ring is first.
    for ring, (row, column) in _trace(numbers, apart):
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


def single_ring(area: Area, numbers: NDArray[Any]) -> NDArray[np.float64]:
    """The outline of `area` as one closed line: float64 (n, 2) of (x, y), corners not repeated at the end.

    `area` is one of `areas(numbers, labels, apart=False)`, `numbers` (H, W). Each hole hangs on what lies to
    its left by a bridge: a line of no width, there and back, inside the area.
    """
    rings = [ring.tolist() for ring in area.rings]
    inner = [inset(ring).tolist() for ring in area.rings]
    # (ring, edge) -> the holes that hang on it: (row, hole, the hole's own leftmost edge)
    hanging: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    walls, height = _walls(area), len(numbers)
    begins = walls[:, 0] * height + walls[:, 1]
    for hole in range(1, len(rings)):
        edge, x, row = _leftmost(area.rings[hole])
        from_x = x - 1
        line = numbers[row]
        while from_x > 0 and line[from_x - 1] == area.number:
            from_x -= 1
        # Walls in one column never share a row, so the last that begins above is the one.
        at = np.searchsorted(begins, from_x * height + row, side="right") - 1
        hanging.setdefault((int(walls[at, 2]), int(walls[at, 3])), []).append((row, hole, edge))
    out: list[list[float]] = []
    # What is still to be walked, last first: (ring, edge to begin with, edges to go) or a single point.
    todo: list[Any] = [(0, 0, len(rings[0]))]
    while todo:
        step = todo.pop()
        if isinstance(step, list):
            out.append(step)
            continue
        ring, edge, left = step
        if left == 0:
            continue
        out.append(inner[ring][edge])
        after = (edge + 1) % len(rings[ring])
        todo.append((ring, after, left - 1))
        down = rings[ring][after][1] > rings[ring][edge][1]
        for row, hole, own in sorted(hanging.get((ring, edge), ()), reverse=down):
            at_x, y = inner[ring][edge][0], row + _ALONG
            hole_x, count = inner[hole][own][0], len(rings[hole])
            todo += [[at_x, y], [hole_x, y], (hole, (own + 1) % count, count), [hole_x, y], [at_x, y]]
    return np.array(out)


def inset(ring: NDArray[np.int64]) -> NDArray[np.float64]:
    """A ring's corners moved by `INSET` pixels into its area along x and along y."""
    along = np.sign(np.roll(ring, -1, axis=0) - ring)
    right = np.stack([-along[:, 1], along[:, 0]], axis=1)  # of an edge's direction, on a screen
    return ring + INSET * (right + np.roll(right, 1, axis=0))


def _leftmost(ring: NDArray[np.int64]) -> tuple[int, int, int]:
    """A hole's upright edge farthest to the left: its number, its x, and a row of pixels that it passes."""
    after = np.roll(ring, -1, axis=0)
    x = np.where(ring[:, 0] == after[:, 0], ring[:, 0], np.iinfo(np.int64).max)
    edge = int(x.argmin())
    return edge, int(x[edge]), int(min(ring[edge, 1], after[edge, 1]))


def _walls(area: Area) -> NDArray[np.int64]:
    """(m, 4): x, top, ring and edge of every upright edge that has the area on its right side, by x,
    then by top."""
    found = []
    for number, ring in enumerate(area.rings):
        after = np.roll(ring, -1, axis=0)
        edges = np.flatnonzero(after[:, 1] < ring[:, 1])  # upwards: the area is on the right hand
        found.append(np.stack([ring[edges, 0], after[edges, 1], np.full_like(edges, number), edges], axis=1))
    walls = np.concatenate(found)
    return walls[np.lexsort((walls[:, 1], walls[:, 0]))]
