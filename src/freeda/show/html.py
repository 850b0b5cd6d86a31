"""Results and explanations as HTML for notebooks, with nothing to load from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import printable
from .caveats import NONE, Caveats
from .export import area_shares, jpeg
from .overlay import overlay
from .palette import ink, to_hex
from .text import percent
from .tiles import RGB

_SIDE = 960  # pixels of the longer side: a notebook should stay small
_ROWS = 20


def result_html(
    photo: RGB | None,
    labels: NDArray[Any],
    names: Sequence[str],
    colours: RGB,
    source: str | None,
    caveats: Caveats = NONE,
) -> str:
    """The overlay (without a photograph: the colours alone) beside the classes found, largest first.

    `photo` uint8 (H, W, 3), `labels` integer (H, W), `colours` uint8 (len(names), 3).
    """
    flat = photo is None
    base = np.full((*labels.shape, 3), 255, np.uint8) if photo is None else photo
    by = max(1, -(-max(labels.shape) // _SIDE))  # every so-manieth pixel: labels cannot be averaged
    small = Image.fromarray(base).resize((base.shape[1] // by or 1, base.shape[0] // by or 1))
    rows, columns = ((np.arange(n) * by + by // 2) for n in (small.height, small.width))
    few = labels[np.minimum(rows, labels.shape[0] - 1)[:, None], np.minimum(columns, labels.shape[1] - 1)]
    drawn = overlay(np.array(small), few, names, colours, 1.0 if flat else 0.55, legend=False)
    height, width = labels.shape
    title = f"{source}, " if source else ""
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">'
        f"{picture_html(drawn, f'{title}labelled by words', 'max-width:60%;min-width:240px')}"
        f"<div><div>{_text(title)}{width} × {height}</div>"
        f"<table>{_rows(labels, names, colours, caveats)}</table>{_told(caveats.of_picture())}</div></div>"
    )


def picture_html(picture: RGB, said: str, style: str = "max-width:100%") -> str:
    """`picture` uint8 (H, W, 3) as an <img> that holds it; `said` is for those who do not see it."""
    data = base64.b64encode(jpeg(Image.fromarray(picture))).decode("ascii")
    return f'<img alt="{_text(said)}" style="{style}" src="data:image/jpeg;base64,{data}">'


def _rows(labels: NDArray[Any], names: Sequence[str], colours: RGB, caveats: Caveats) -> str:
    shares = area_shares(labels, len(names))
    found = [i for i in np.argsort(-shares, kind="stable").tolist() if shares[i] > 0]
    lines = [
        f'<tr><td style="background:{to_hex(colours[i])};color:rgb{ink(colours[i])};text-align:center">'
        f'{i + 1}</td><td style="text-align:left">{_text(names[i])}'
        f"{_told(caveats.of_class(names[i]))}</td><td>{_text(percent(shares[i]))}</td></tr>"
        for i in found[:_ROWS]
    ]
    if len(found) > _ROWS:
        lines.append(f"<tr><td></td><td>and {len(found) - _ROWS} more</td><td></td></tr>")
    return "".join(lines)


def _told(caveat: str) -> str:
    return f'<div style="font-size:85%;max-width:24em">{_text(caveat)}</div>' if caveat else ""


def _text(value: str) -> str:
    return escape(printable(value))
