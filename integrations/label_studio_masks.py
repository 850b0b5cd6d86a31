"""Masks as Label Studio has them: what clicks and boxes take, brushes and polygons.

A brush's code is the RGBA picture of a mask, run by run, as a list of bytes. Its layout is that of rle-pack
(thi.ng/umbrella): 32 bits the number of values, 5 bits their width less one, four times 4 bits a width of
lengths less one; then run by run 1 bit that says whether one value repeats, 2 bits which of the four widths
comes, in it the length less one, and the value, or as many values as the run is long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from label_studio_format import part
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from freeda.errors import InputError
from freeda.segment.lessons import place
from freeda.segment.scene import Scene
from freeda.show.exports.labelled import Labelled
from freeda.show.exports.outline import areas, single_ring

Mask = NDArray[np.bool_]
_WIDTHS = (3, 4, 8, 16)  # those that Label Studio itself writes


def under(marks: list[Any], scene: Scene) -> Mask:
    """(H, W) bool: what clicks and boxes take of a photograph's regions (`freeda.segment.lessons.place`).

    Those that are not positive take theirs away. Raises InputError for other marks, and for a turned box.
    """
    mask = np.zeros(scene.size, bool)
    for mark in sorted(marks, key=lambda mark: part(mark, str, "type") and not mark.get("is_positive", True)):
        found = place(scene, _where(mark, scene.size))
        mask = mask | found if mark.get("is_positive", True) else mask & ~found
    return mask


def _where(mark: Any, size: tuple[int, int]) -> list[int]:
    """A point (x, y) or a box (x0, y0, x1, y1) of at least a pixel; they come in percent of the sides."""
    kind, value = part(mark, str, "type"), part(mark, dict, "value")
    sides = ("x", size[1], "width"), ("y", size[0], "height")
    whole = int if kind == "keypointlabels" else round
    first = [min(max(whole(part(value, (int, float), key) / 100 * n), 0), n - 1) for key, n, _ in sides]
    if kind == "keypointlabels":
        return first
    if kind != "rectanglelabels" or value.get("rotation"):
        raise InputError(f"{kind}: only clicks (keypointlabels) and upright boxes (rectanglelabels) are read")
    ends = [
        min(max(round((value[key] + part(value, (int, float), long)) / 100 * n), at + 1), n)
        for (key, n, long), at in zip(sides, first, strict=True)
    ]
    return [*first, *ends]


def to_values(mask: Mask, kind: str) -> list[dict[str, Any]]:
    """A mask (H, W) as results have it: a brush, or a polygon an area; nothing for an empty one.

    Polygons leave the outline by at most a pixel; their holes hang on lines of no width.
    """
    if not mask.any():
        return []
    if kind == "brushlabels":
        return [{"format": "rle", "rle": encode(mask)}]
    drawn = Labelled(mask.astype(np.int8) - 1, [""], np.zeros((1, 3), np.uint8), tolerance=1.0)
    found = areas(drawn.numbers, drawn.labels, apart=False)
    rings = (drawn.simplified(single_ring(area, drawn.numbers)) for area in found)
    return [{"points": (100 * ring / mask.shape[::-1]).tolist(), "closed": True} for ring in rings]


def from_value(value: dict[str, Any], kind: str, size: tuple[int, int]) -> Mask:
    """(H, W) bool: what a result covers. Raises InputError for one that is damaged."""
    if kind == "brushlabels":
        return decode(part(value, list, "rle"), size)
    try:
        corners = np.array(part(value, list, "points"), float).reshape(-1, 2)[:, ::-1] / 100 * size
    except (TypeError, ValueError) as error:
        raise InputError("points are no list of (x, y)") from error
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise InputError(f"a polygon of {len(corners)} points: expected three or more finite ones")
    return polygon2mask(size, corners - 0.5)  # to whom the centre of the first pixel is (0, 0)


def encode(mask: Mask) -> list[int]:
    """The code of a mask (H, W) bool: what is in it is opaque and white."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    bits = [f"{4 * flat.size:032b}{7:05b}", *(f"{width - 1:04b}" for width in _WIDTHS)]
    for start, pixels in zip(starts.tolist(), np.diff(starts, append=flat.size).tolist(), strict=True):
        for length in [2**16] * (4 * pixels // 2**16) + [4 * pixels % 2**16]:
            if length:
                which = next(i for i, width in enumerate(_WIDTHS) if length <= 2**width)
                bits.append(f"1{which:02b}{length - 1:0{_WIDTHS[which]}b}{255 * flat[start]:08b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode(code: Any, size: tuple[int, int]) -> Mask:
    """(H, W) bool: where the picture of a code, of `size` = (H, W), is not transparent.

    Raises InputError for a code that is damaged, or of a picture of another size.
    """
    try:
        bits = "".join(f"{byte:08b}" for byte in bytes(code))
    except (TypeError, ValueError) as error:
        raise InputError("rle is no list of bytes") from error
    at = 0

    def read(width: int) -> int:
        nonlocal at
        if (at := at + width) > len(bits):
            raise InputError("rle ends too early")
        return int(bits[at - width : at], 2)

    count, word, widths = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    if (count, word) != (4 * size[0] * size[1], 8):
        raise InputError(f"rle is of {count} values, not of a picture of {size[1]} x {size[0]}")
    out, done = np.zeros(count, np.uint8), 0
    while done < count:
        repeats, stop = read(1), done + read(widths[read(2)]) + 1
        if stop > count:
            raise InputError("rle goes on after its picture")
        out[done:stop] = read(8) if repeats else [read(8) for _ in range(done, stop)]
        done = stop
    return out.reshape(*size, 4)[..., 3] > 0
