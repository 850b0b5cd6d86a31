"""Places in a picture: run-length codes, strokes, cuts, and what corrections make of labels.

Coordinates are pixels, x right and y down; the pixel (0, 0) reaches from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from ..errors import InputError
from ..segment.upsample import enlarged
from ..show.exports.coco import encode_runs, run_lengths

Mask = NDArray[np.bool_]
Size = tuple[int, int]
"""(height, width)."""
Painted = tuple[NDArray[Any], ...]
"""Rows and columns of a mask's pixels."""


def to_rle(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run-length code."""
    found = run_lengths(mask.astype(np.int32)).get(1)
    runs = np.array([mask.size]) if found is None else found[0]
    return {"size": list(mask.shape), "counts": encode_runs(runs)}


def from_rle(rle: Any, most: int = 1 << 28) -> Mask:
    """(H, W) of COCO's run-length code, compressed or not. Raises InputError for what is none, or of more
    than `most` pixels.
    """
    (height, width), runs = _runs(rle, most)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _runs(rle: Any, most: int) -> tuple[Size, NDArray[np.int64]]:
    """Size and run lengths of a code, checked."""
    try:
        (height, width), counts = map(int, rle["size"]), rle["counts"]
        runs = _decoded(counts) if isinstance(counts, str) else np.array(counts, np.int64).reshape(-1)
        if height < 1 or width < 1 or height * width > most or runs.min(initial=0) < 0:
            raise ValueError
        if int(runs.sum()) != height * width:
            raise ValueError
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise InputError("this is no run-length code: expected COCO's {size: [h, w], counts}") from error
    return (height, width), runs


def _decoded(text: str) -> NDArray[np.int64]:
    """Run lengths of COCO's short text (see `encode_runs`)."""
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if codes.min(initial=0) < 0 or codes.max(initial=0) > 63 or (len(codes) and codes[-1] & 32):
        raise ValueError
    ends = np.flatnonzero(~(codes & 32).astype(bool))
    runs: list[int] = []
    start = 0
    for end in ends.tolist():
        if end - start > 8:
            raise ValueError
        value = sum(int(codes[i] & 31) << 5 * (i - start) for i in range(start, end + 1))
        if codes[end] & 16:
            value -= 1 << 5 * (end - start + 1)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        start = end + 1
    return np.array(runs, np.int64)


def pixels(rle: Any, size: Size) -> Painted:
    """Rows and columns of a code's pixels in a picture of `size`, the nearest ones where it is of another."""
    own, runs = _runs(rle, 1 << 28)
    if own != size:
        return np.nonzero(enlarged(from_rle(rle), size))
    starts, lengths = (np.cumsum(runs) - runs)[1::2], runs[1::2]
    within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat = np.repeat(starts, lengths) + within
    return flat % size[0], flat // size[0]


def box_mask(box: Sequence[float], size: Size) -> Mask:
    """(H, W): the pixels whose centres lie in a box (x0, y0, x1, y1). Raises InputError where none does."""
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    mask: Mask = ((rows >= y0) & (rows < y1))[:, None] & ((columns >= x0) & (columns < x1))[None]
    if not mask.any():
        raise InputError(f"the box {', '.join(f'{v:g}' for v in box)} holds no pixel of the picture")
    return mask


def stroke_mask(strokes: Iterable[tuple[Sequence[Sequence[float]], float]], size: Size) -> Mask:
    """(H, W): what round brushes cover: lines of points (x, y), each with its radius."""
    picture = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(picture)
    for points, radius in strokes:
        places = [(float(x), float(y)) for x, y in points]
        if radius >= 1:
            draw.line(places, fill=1, width=max(1, round(2 * radius)))
        elif len(places) > 1:
            draw.line(places, fill=1)
        for x, y in places:
            if radius >= 1:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
            else:
                draw.point((x, y), fill=1)
    return np.array(picture, bool)


def split(region: Mask, line: Sequence[Sequence[float]]) -> list[Mask]:
    """The parts that a line of points (x, y) cuts a region (H, W) into, the largest first.

    Pixels under the line go to the part nearest to them. Raises InputError where it cuts nothing off.
    """
    cut = stroke_mask([(line, 0.0)], (region.shape[0], region.shape[1]))
    before = ndimage.label(region)[1]
    parts, n = ndimage.label(region & ~cut)
    if n <= before:
        raise InputError("this line cuts nothing off the region: draw it from edge to edge")
    _, nearest = ndimage.distance_transform_edt(parts == 0, return_indices=True)
    parts = np.where(region, parts[tuple(nearest)], 0)
    return [parts == i for i in sorted(range(1, n + 1), key=lambda i: -int((parts == i).sum()))]


@dataclass(frozen=True, eq=False)
class Composed:
    """Labels and regions once people had their say."""

    labels: NDArray[np.int16]
    """(H, W), -1 where there is none."""
    regions: NDArray[np.int32]
    """(H, W), -1 in none."""
    corrected: Mask
    """(H, W): labelled by hand."""
    own: int
    """The first region that was made by hand; those of the model come before it."""


def compose(
    labels: NDArray[Any],
    regions: NDArray[Any],
    shapes: Iterable[Painted],
    paint: Iterable[tuple[Painted, int | None]],
) -> Composed:
    """Apply regions made by hand, each of which takes the label that most of it has, then corrections in
    their order: a label, or None, which takes away what was painted there before.
    """
    labels, regions = labels.astype(np.int16), regions.astype(np.int32)
    own = n = int(regions.max(initial=-1)) + 1
    for place in shapes:
        regions[place] = n
        n += 1
    for number in range(own, n):
        inside = regions == number
        if inside.any():
            counts = np.bincount(labels[inside].astype(np.int64) + 1)
            labels[inside] = counts.argmax() - 1
    before, corrected = labels.copy(), np.zeros(labels.shape, bool)
    for place, label in paint:
        corrected[place] = label is not None
        labels[place] = before[place] if label is None else label
    return Composed(labels, regions, corrected, own)
