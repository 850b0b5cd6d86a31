"""Many labelled photographs at a glance: a page of their overlays, and a table of what covers them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import printable
from ..files import Written
from .text import percent

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 24px; background: #fafafc; color: #1c2028 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 18px }
figure { margin: 0 } img { width: 100%; height: 220px; object-fit: contain; background: #eceef3 }
b, span { overflow-wrap: anywhere } span { color: #555b66 }
"""
_SHOWN = 5  # names under a picture


def write_overview(folder: Written, records: Callable[[], Iterable[Mapping[str, Any]]]) -> list[Path]:
    """Write overview.html and shares.csv beside the results that `records()` (STEM.json) tell of.

    They are asked for twice and never held together. Where somebody else has such a file, ours is called
    overview-2.html and so on. Returns the paths. Raises InputError where writing fails.
    """
    figures, labels = [], dict[str, None]()
    for record in records():
        figures.append(_figure(record))
        labels.update(dict.fromkeys(one["name"] for one in record["classes"]))
    made = {"overview.html": _page(figures), "shares.csv": _table(list(labels), records())}
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


def _text(text: str) -> str:
    return escape(printable(text))


def _table(names: Sequence[str], records: Iterable[Mapping[str, Any]]) -> str:
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
