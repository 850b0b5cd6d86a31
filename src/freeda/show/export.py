"""Pictures as files, and what the record of a result says."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import InputError
from ..files import atomic_write_bytes
from ..images import RGB, WORLD
from .caveats import NONE, Caveats
from .palette import to_hex

_JPEG_MOST = 65_500
"""Pixels a side that JPEG's usual library writes."""


def write_image(path: str | Path, image: RGB | Image.Image) -> Path:
    """Write a picture (uint8 (H, W, 3) or a PIL image), whole or not at all.

    The suffix names the format: `png` or `jpeg`. Raises InputError.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{path}: pictures are written as .png or .jpg, not '{path.suffix}'")
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return atomic_write_bytes(path, png(picture) if kind == ".png" else jpeg(picture))


def png(picture: Image.Image) -> bytes:
    """A picture as PNG, with its record of `images.of_world`."""
    file, info = io.BytesIO(), PngInfo()
    if isinstance(told := picture.info.get(WORLD), str):
        info.add_text(WORLD, told)
    picture.save(file, format="PNG", pnginfo=info)
    return file.getvalue()


def jpeg(picture: Image.Image) -> bytes:
    """A picture as JPEG (quality 92, full colour resolution), reduced where the format cannot hold it."""
    file = io.BytesIO()
    picture.thumbnail((_JPEG_MOST, _JPEG_MOST))
    picture.save(file, format="JPEG", quality=92, subsampling=0)
    return file.getvalue()


def label_counts(labels: NDArray[Any], n: int) -> NDArray[np.int64]:
    """(n,): how many pixels each label 0 to n - 1 has; others do not count."""
    return np.bincount(labels[(labels >= 0) & (labels < n)], minlength=n)


def area_shares(labels: NDArray[Any], n: int) -> NDArray[np.float64]:
    """Share of the pixels that each label 0 to n - 1 covers: float64 (n,) in [0, 1]."""
    return label_counts(labels, n) / max(labels.size, 1)


def largest_first(labels: NDArray[Any], n: int) -> list[tuple[int, float]]:
    """The labels from 0 to n - 1 that are there, with their shares; of equal ones the lower label first."""
    shares = area_shares(labels, n)
    return [(i, float(shares[i])) for i in np.argsort(-shares, kind="stable").tolist() if shares[i] > 0]


def record_of(
    labels: NDArray[Any],
    names: Sequence[str],
    scores: NDArray[Any] | None,
    colours: RGB,
    caveats: Caveats = NONE,
) -> dict[str, Any]:
    """What STEM.json says of a label map: integer (H, W), indices into `names`.

    `scores`, if given, is float (n, H, W): its mean over a class's own pixels is told. Raises InputError for
    scores of another shape.
    """
    if scores is not None and scores.shape != (len(names), *labels.shape):
        raise InputError(f"scores have shape {scores.shape}, expected {(len(names), *labels.shape)}")
    classes: list[dict[str, Any]] = []
    counts, shares = (of(labels, len(names)).tolist() for of in (label_counts, area_shares))
    for i, name in enumerate(names):
        entry = {
            "label": i,
            "name": name,
            "colour": to_hex(colours[i]),
            "pixels": counts[i],
            "share": shares[i],
        }
        if name in caveats.answered:
            entry["answered_by"] = list(caveats.answered[name])
        if scores is not None:
            entry["score"] = float(scores[i][labels == i].mean()) if counts[i] else None
        classes.append(entry)
    height, width = labels.shape
    return {"width": int(width), "height": int(height), "warnings": caveats.lines(), "classes": classes}
