"""Shapes of other tools' files as masks, each by the rule by which its own tool fills it."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ..errors import InputError, shortened
from ..images import reading_mask

Mask = npt.NDArray[np.bool_]
"""(H, W), true inside."""
Size = tuple[int, int]
"""(height, width) of the upright picture."""
Window = tuple[int, int, Mask]
"""First row, first column, and the mask from there on; the rest of the picture is outside."""
_NOTHING: Window = (0, 0, np.zeros((0, 0), dtype=bool))
_FAR = 1e6  # pixels: coordinates beyond are no place in a picture
_FINE = 5  # steps a pixel of COCO's rule for polygons


@dataclass(frozen=True)
class Shape:
    """A part of a picture that a file gives a class."""

    place: str
    """The file and where in it, for messages."""
    word: str
    """The class; one of `names.NO_CLASS` for none."""
    rule: str
    """How `data` is filled, a key of `RULES`."""
    data: Any
    """JSON values."""

    def window(self, size: Size) -> Window:
        """Its mask in a picture of that size. Raises InputError, one line, for data that make none."""
        try:
            return RULES[self.rule](self.data, size)
        except InputError as error:
            raise InputError(f"{self.place}: {error}") from error


def corners(given: Any, least: int = 3) -> npt.NDArray[np.float64]:
    """Points as float64 (n, 2), x and y, of [[x, y], ...] or [x, y, x, y, ...]. Raises InputError."""
    try:
        points = np.array(given, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        points = np.empty((0, 2))
    if len(points) < least:
        raise InputError(f"{shortened(given)}: at least {least} points (x, y) are needed")
    if not (fits := abs(points) < _FAR).all():
        raise InputError(f"{shortened(given)}: {points[~fits][0]:g} is no pixel's place in a picture")
    return points


def coco_polygons(given: Any, size: Size) -> Window:
    """Several outlines [x, y, x, y, ...] as one mask, their union, each filled as COCO's tools do.

    Corners are rounded to fifths of a pixel. A line of whole numbers leads from each to the next; where it
    crosses the middle of a column of pixels, all pixels from the next one downwards change sides.
    """
    found = [_by_columns(corners(ring), size) for ring in given]
    return _union(found)


def _by_columns(points: npt.NDArray[np.float64], size: Size) -> Window:
    height, width = size
    if abs(points).max() > 10 * max(size):  # it would be walked, step by step
        raise InputError(f"{shortened(points.tolist())}: lies far outside the picture of {width} x {height}")
    ends = np.trunc(points * _FINE + 0.5).astype(np.int64)
    by = np.roll(ends, -1, axis=0) - ends
    steps = abs(by).max(axis=1)
    # Lines are walked from their lower end, whichever way the outline goes, so that rounding is the same.
    steep = abs(by[:, 1]) > abs(by[:, 0])
    turned = np.where(steep, by[:, 1], by[:, 0]) < 0
    start, by = np.where(turned[:, None], ends + by, ends), np.where(turned[:, None], -by, by)
    edge = np.repeat(np.arange(len(ends)), steps + 1)
    at = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    at = np.where(turned[edge], steps[edge] - at, at)[:, None]
    slope = by / np.maximum(steps, 1)[:, None]
    walked = np.trunc(start[edge] + slope[edge] * at + np.where(by[edge] == 0, 0, 0.5)).astype(np.int64)
    main = np.stack([~steep, steep], axis=1)[edge]
    walked = np.where(main, start[edge] + at, walked)
    x, y = walked.T
    moved = x[1:] != x[:-1]
    column = np.minimum(x[1:], x[:-1])[moved]
    row = -((2 - np.minimum(y[1:], y[:-1])[moved]) // _FINE)
    middle = (column % _FINE == 2) & (column >= 0) & (column < width * _FINE)
    column, row = column[middle] // _FINE, row[middle].clip(0, height)
    if not len(column):
        return _NOTHING
    (top, left), (high, wide) = (row.min(), column.min()), (np.ptp(row), np.ptp(column) + 1)
    places = (
        (column - left) * high + row - top
    )  # a line at the very bottom changes what is next: the next column
    changes = np.bincount(places, minlength=wide * high)[: wide * high].astype(np.uint8) & 1
    return int(top), int(left), np.bitwise_xor.accumulate(changes).astype(bool).reshape(wide, high).T


def coco_runs(given: Any, size: Size) -> Window:
    """COCO's run lengths down the columns: {"size": [height, width], "counts": numbers or its short text}."""
    if not isinstance(given, dict) or given.get("size") != list(size):
        told = given.get("size") if isinstance(given, dict) else given
        raise InputError(
            f"its run lengths are for {shortened(told)}, the picture is {list(size)} high and wide"
        )
    counts = given.get("counts")
    lengths = _short_text(counts) if isinstance(counts, str) else _whole(counts)
    ends = _ends(lengths, size[0] * size[1])
    inside = np.flatnonzero(np.diff(ends)[1::2]) * 2 + 1
    if not len(inside):
        return _NOTHING
    first, last = ends[inside[0]] // size[0], -(-ends[inside[-1] + 1] // size[0])
    mask = _filled(ends.clip(first * size[0], last * size[0]))
    return 0, int(first), mask.reshape(last - first, size[0]).T


def _short_text(text: str) -> npt.NDArray[np.int64]:
    """The run lengths of COCO's short text, see `show.exports.coco.encode_runs`."""
    codes = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    last = codes & 32 == 0
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise InputError(f"{shortened(text)}: no run lengths as COCO writes them")
    owner = np.cumsum(last) - last
    begins = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    group = np.arange(len(codes)) - begins[owner]
    if group.max() > 7:
        raise InputError(f"{shortened(text)}: no run lengths as COCO writes them")
    lengths = np.zeros(len(begins), dtype=np.int64)
    np.add.at(lengths, owner, (codes & 31) << 5 * group)
    sign = last & (codes & 16 != 0)
    np.subtract.at(lengths, owner[sign], 1 << 5 * (group[sign] + 1))
    for first in (1, 2):  # from the fourth on each is less the one before the last
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths


def _whole(given: Any) -> npt.NDArray[np.int64]:
    if not isinstance(given, list) or any(type(n) is not int or not 0 <= n < 1 << 40 for n in given):
        raise InputError(f"{shortened(given)}: no run lengths, whole numbers")
    return np.array(given, dtype=np.int64)


def _ends(lengths: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.int64]:
    """Where runs without and with the shape by turns begin, and the last one's end."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    if (lengths < 0).any() or ends[-1] != pixels:
        raise InputError(f"its run lengths make {int(ends[-1]):,} pixels, not {pixels:,}")
    return ends


def _filled(ends: npt.NDArray[np.int64]) -> Mask:
    return np.repeat(np.arange(len(ends) - 1) % 2 == 1, np.diff(ends))


def drawn_polygon(given: Any, size: Size) -> Window:
    """A polygon as LabelMe fills it: corners cut down to whole numbers, the pixels of its lines inside."""
    points = np.trunc(corners(given)).astype(np.int64)
    return _drawn(points, size, lambda draw, at: draw.polygon(at, fill=1, outline=1))


def shares_polygon(given: Any, size: Size) -> Window:
    """A polygon of shares of the width and height, filled as Ultralytics does: the same rule."""
    return drawn_polygon(corners(given) * size[::-1], size)


def rectangle(given: Any, size: Size) -> Window:
    """Two opposite corners as LabelMe fills them: cut down to whole numbers, both inside."""
    (left, top), (right, bottom) = np.sort(np.trunc(_two(given)).astype(np.int64), axis=0).tolist()
    return _clipped(top, left, np.ones((bottom - top + 1, right - left + 1), dtype=bool), size)


def circle(given: Any, size: Size) -> Window:
    """Centre and a point of the line, as LabelMe fills it."""
    centre, point = _two(given)
    away = np.hypot(*(centre - point))
    box = np.trunc(np.stack([centre - away, centre + away])).astype(np.int64)
    return _drawn(box, size, lambda draw, at: draw.ellipse(at, fill=1, outline=1))


def patch(given: Any, size: Size) -> Window:
    """LabelMe's mask: [corners, PNG in base64], the picture of the box between the two corners."""
    points, text = given
    box = _two(points)
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"its mask is {shortened(text)}: a PNG in base64 is needed") from error
    with reading_mask("its mask"), Image.open(io.BytesIO(data)) as image:
        mask = np.asarray(image) != 0
    (left, top), (right, bottom) = np.rint(box).astype(np.int64).tolist()
    if (box == np.trunc(box)).all():
        if mask.ndim != 2 or mask.shape[0] <= bottom - top or mask.shape[1] <= right - left:
            raise InputError(f"its mask has shape {mask.shape}, which does not fill its box {box.tolist()}")
        mask = mask[: bottom - top + 1, : right - left + 1]
    return _clipped(top, left, mask, size)


def cvat_runs(given: Any, size: Size) -> Window:
    """CVAT's mask: [run lengths along the rows of its box, left, top, width, height]."""
    lengths, *box = given
    left, top, width, height = _whole(box).tolist()
    if not width or not height or left + width > size[1] or top + height > size[0]:
        raise InputError(
            f"its box {box} (left, top, width, height) is not in the picture of {list(size[::-1])}"
        )
    return top, left, _filled(_ends(_whole(lengths), width * height)).reshape(height, width)


RULES: dict[str, Callable[[Any, Size], Window]] = {
    "coco polygons": coco_polygons,
    "coco runs": coco_runs,
    "polygon": drawn_polygon,
    "shares": shares_polygon,
    "rectangle": rectangle,
    "circle": circle,
    "patch": patch,
    "cvat runs": cvat_runs,
}


def _two(given: Any) -> npt.NDArray[np.float64]:
    points = corners(given, 2)
    if len(points) != 2:
        raise InputError(f"{shortened(given)}: two points (x, y) are needed")
    return points


def _drawn(
    points: npt.NDArray[np.int64], size: Size, draw: Callable[[ImageDraw.ImageDraw, Any], None]
) -> Window:
    """What Pillow draws of these points, (n, 2) x and y, in the box around them."""
    start = np.maximum(points.min(axis=0), 0)
    wide, high = (np.minimum(points.max(axis=0) + 1, size[::-1]) - start).tolist()
    if wide <= 0 or high <= 0:
        return _NOTHING
    left, top = start.tolist()
    canvas = Image.new("L", (left + wide, high))  # not moved sideways: Pillow rounds where it is
    draw(ImageDraw.Draw(canvas), list(map(tuple, (points - [0, top]).tolist())))
    return top, left, np.asarray(canvas)[:, left:] != 0


def _clipped(top: int, left: int, mask: Mask, size: Size) -> Window:
    """The part of a mask at that place that lies in the picture."""
    mask = mask[max(-top, 0) : max(size[0] - top, 0), max(-left, 0) : max(size[1] - left, 0)]
    return max(top, 0), max(left, 0), mask


def _union(windows: list[Window]) -> Window:
    windows = [window for window in windows if window[2].size]
    if len(windows) < 2:
        return windows[0] if windows else _NOTHING
    top, left = min(t for t, _, _ in windows), min(x for _, x, _ in windows)
    bottom, right = max(t + len(m) for t, _, m in windows), max(x + m.shape[1] for _, x, m in windows)
    out = np.zeros((bottom - top, right - left), dtype=bool)
    for t, x, mask in windows:
        out[t - top : t - top + mask.shape[0], x - left : x - left + mask.shape[1]] |= mask
    return top, left, out
