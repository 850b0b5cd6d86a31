"""`freeda export`: kept segmentations as files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..options import EXPORTS, export_kinds
from .base import say

_KINDS = ", ".join(EXPORTS)
Exports = Annotated[
    list[str] | None, typer.Option("--export", metavar="KIND", help=f"Also write {_KINDS}. Repeatable.")
]


def export(
    results: Annotated[list[Path], typer.Argument(help="Files that --npz or save_npz wrote.")],
    to: Annotated[list[str], typer.Option("--to", metavar="KIND", help=f"{_KINDS}. Repeatable.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files; default: each beside its .npz file.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Pixels by which polygons may leave the outlines; 0 is exact.")
    ] = 0.0,
) -> None:
    """Write kept segmentations (.npz) as files that other tools read. Loads no model."""
    kinds = export_kinds(to)
    stems = [path.stem for path in results]
    if out is not None and len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(f"two of these are called {twice}: their files would be the same in {out}")
    from ..segment import Segmentation

    for path in results:
        folder = path.parent if out is None else out
        if "npz" in kinds and (folder / f"{path.stem}.npz").resolve() == path.resolve():
            raise InputError(f"{path}: it is this very npz file already: give another --out")
        for file in Segmentation.load_npz(path).export(folder, kinds, path.stem, tolerance).values():
            say(str(file))
