"""Results and explanations as HTML for notebooks; many labelled photographs as a page and a table."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import printable
from ..files import Written
from ..images import RGB
from .caveats import NONE, Caveats
from .export import jpeg, largest_first
from .overlay import overlay
from .palette import ink, to_hex
from .text import percent

_SIDE = 960  # pixels of the longer side: a notebook should stay small
_ROWS = 20
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 24px; background: #fafafc; color: #1c2028 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 18px }
figure { margin: 0 } img { width: 100%; height: 220px; object-fit: contain; background: #eceef3 }
b, span { overflow-wrap: anywhere } span { color: #555b66 }
"""
_SHOWN = 5  # names under a picture


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
    found = largest_first(labels, len(names))
    lines = [
        f'<tr><td style="background:{to_hex(colours[i])};color:rgb{ink(colours[i])};text-align:center">'
        f'{i + 1}</td><td style="text-align:left">{_text(names[i])}'
        f"{_told(caveats.of_class(names[i]))}</td><td>{_text(percent(share))}</td></tr>"
        for i, share in found[:_ROWS]
    ]
    if len(found) > _ROWS:
        lines.append(f"<tr><td></td><td>and {len(found) - _ROWS} more</td><td></td></tr>")
    return "".join(lines)


def _told(caveat: str) -> str:
    return f'<div style="font-size:85%;max-width:24em">{_text(caveat)}</div>' if caveat else ""


def _text(value: str) -> str:
    return escape(printable(value))


def write_overview(folder: Written, records: Callable[[], Iterable[Mapping[str, Any]]]) -> list[Path]:
    """Write overview.html and shares.csv beside the results that `records()` (STEM.json) tell of.

    They are asked for twice and never held together. Where somebody else has such a file, ours is called
    overview-2.html and so on. Returns the paths. Raises InputError where writing fails.
    """
    figures, labels = [], dict[str, None]()
    for record in records():
        figures.append(_figure(record))
        labels.update(dict.fromkeys(one["name"] for one in record["classes"]))
    made = {"overview.html": _page(figures), "shares.csv": _shares(list(labels), records())}
    names = [_free(folder, Path(name)) for name in made]
    with folder.replace(*names) as temps:
        for temp, text in zip(temps, made.values(), strict=True):
            temp.write_bytes(text.encode("utf-8", "backslashreplace"))
    return [folder.folder / name for name in names]


def _free(folder: Written, name: Path) -> str:
    named = (name.name if n == 1 else f"{name.stem}-{n}{name.suffix}" for n in count(1))
    return next(filter(folder.ours, named))


def _page(figures: Sequence[str]) -> str:
    title, shown = f"{len(figures):,} photographs", "\n".join(figures)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><main>\n{shown}\n</main></html>\n"
    )


def _figure(record: Mapping[str, Any]) -> str:
    name, picture = Path(str(record["image"])).name, quote(record["overlay"], errors="surrogateescape")
    found = sorted((one for one in record["classes"] if one["pixels"]), key=lambda one: -one["share"])
    told = ", ".join(f"{one['name']} {percent(one['share'])}" for one in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f'<figure><a href="{picture}"><img loading="lazy" src="{picture}" alt="{_text(told)}"></a>'
        f"<figcaption><b>{_text(name)}</b><br><span>{_text(told + more)}</span></figcaption></figure>"
    )


def _shares(names: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
    """A row a photograph: its file, size, overlay, and the share (0 to 1) that each name covers."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, ["image", "width", "height", "overlay", *names]))
    for record in records:
        shares = {one["name"]: f"{one['share']:.6f}" for one in record["classes"]}
        own = [_cell(str(record["image"])), record["width"], record["height"], _cell(record["overlay"])]
        writer.writerow([*own, *(shares.get(name, "") for name in names)])
    return text.getvalue()


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
