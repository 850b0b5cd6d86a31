"""One closed line for an area with holes, for formats whose polygons have none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .outline import Area

INSET = 0.01
"""Pixels by which the line lies inside the area's true edge.

Readers differ: some fill the pixels whose centre is inside, others cut coordinates down to whole numbers and
fill what lies on the line or inside (labelme, Ultralytics). A line just inside the edge is exact for both.
"""
_ALONG = 0.25  # where in its row of pixels a bridge runs: not through their centres


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
            todo += [
                [at_x, y],
                [hole_x, y],
                (hole, (own + 1) % count, count),
                [hole_x, y],
                [at_x, y],
            ]
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
