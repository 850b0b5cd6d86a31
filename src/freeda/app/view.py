"""What the browser draws of a labelled photograph, as plain JSON values: it does the painting itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..segment.result import Segmentation
from ..show.caveats import alone
from ..show.export import area_shares
from ..show.overlay import badge_places, label_map_image
from ..show.palette import ink, to_hex
from .engine import Open
from .html import data_url

SIDE = 1024
"""Longer side of what is shown, at most, in pixels; files have the photograph's own size."""
_BADGE = 14
"""A number's letters on a picture that is shown 640 pixels wide."""


def photo_view(opened: Open) -> dict[str, Any]:
    """The photograph for the browser: {"number", "photo" (a data URL), "width", "height", "name"}."""
    height, width = opened.scene.size
    shown = Image.fromarray(opened.scene.image)
    shown.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return {
        "number": opened.number,
        "photo": data_url(np.asarray(shown), "JPEG"),
        "width": width,
        "height": height,
        "name": opened.name,
    }


def labels_view(opened: Open) -> dict[str, Any]:
    """How it is labelled, for the browser.

    "labels" is a data URL of a grey PNG whose values are the labels, reduced to `SIDE`; "classes" has one
    entry a label: name, number (from 1), colour (#rrggbb), ink (of letters on it), share (0 to 1), caveat
    (""); "caveat" is the picture's own; "hint" what to do about a single word, or ""; "badges" says where
    numbers stand: (x, y, label), x and y as shares of width and height; "number" and "turn" say what of: the
    photograph and its result.
    """
    result = opened.result
    assert result is not None
    shown = _reduced(result.labels)
    height, width = shown.shape
    size = _BADGE * max(height, width) / 640
    badges = [[(x + 0.5) / width, (y + 0.5) / height, label] for x, y, label in badge_places(shown, size)]
    return {
        "number": opened.number,
        "turn": opened.turn,
        "labels": data_url(shown.astype(np.uint8), "PNG"),
        "classes": classes(result),
        "caveat": result.caveats.of_picture(),
        "hint": f"{only}: tick Everything else under Settings" if (only := alone(result.names)) else "",
        "badges": badges,
    }


def classes(result: Segmentation) -> list[dict[str, Any]]:
    """One entry a label, in order: what a legend shows."""
    shares = area_shares(result.labels, len(result.names))
    return [
        {
            "name": name,
            "number": i + 1,
            "colour": to_hex(colour),
            "ink": to_hex(ink(colour)),
            "share": float(shares[i]),
            "caveat": result.caveats.of_class(name),
        }
        for i, (name, colour) in enumerate(zip(result.names, result.palette, strict=True))
    ]


def to_png(result: Segmentation) -> str:
    """The label map as the data URL of a palette PNG whose values are the labels."""
    return data_url(label_map_image(result.labels, result.palette), "PNG")


def _reduced(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels at the size shown: each pixel takes the one that its centre falls into."""
    scale = min(1.0, SIDE / max(labels.shape))
    sizes = [(n, max(1, round(n * scale))) for n in labels.shape]
    rows, columns = (((np.arange(few) + 0.5) * (n / few)).astype(np.int64) for n, few in sizes)
    return labels[rows[:, None], columns]
