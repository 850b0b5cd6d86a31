"""What the browser draws of a labelled photograph, as plain JSON values: it does the painting itself."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..images import RGB
from ..segment.result import Segmentation
from ..show.caveats import alone
from ..show.export import area_shares
from ..show.overlay import badge_places, label_map_image
from ..show.palette import ink, to_hex
from .engine import Open

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
            "ink": "#{:02x}{:02x}{:02x}".format(*ink(colour)),
            "share": float(shares[i]),
            "caveat": result.caveats.of_class(name),
        }
        for i, (name, colour) in enumerate(zip(result.names, result.palette, strict=True))
    ]


def to_png(result: Segmentation) -> str:
    """The label map as the data URL of a palette PNG whose values are the labels."""
    return data_url(label_map_image(result.labels, result.palette), "PNG")


def data_url(picture: npt.NDArray[np.uint8] | Image.Image, kind: str) -> str:
    """A picture (a PIL image, or uint8 (H, W) or (H, W, 3)) as a data URL; `kind` is "PNG" or "JPEG"."""
    out = io.BytesIO()
    settings: dict[str, Any] = {"quality": 88} if kind == "JPEG" else {"compress_level": 1}
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(out, kind, **settings)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(out.getvalue()).decode("ascii")


def outline(photo: RGB, mask: npt.NDArray[np.bool_], side: int) -> RGB:
    """`photo` with all but `mask` pale, the longer side at most `side`."""
    from ..show.tiles import mask_picture

    step = max(1, -(-max(mask.shape) // side))
    return mask_picture(np.ascontiguousarray(photo[::step, ::step]), mask[::step, ::step])


def _reduced(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels at the size shown: each pixel takes the one that its centre falls into."""
    scale = min(1.0, SIDE / max(labels.shape))
    rows, columns = (
        ((np.arange(max(1, round(n * scale))) + 0.5) * (n / max(1, round(n * scale)))).astype(np.int64)
        for n in labels.shape
    )
    return labels[rows[:, None], columns] if scale < 1 else labels
