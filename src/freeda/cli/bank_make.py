"""`freeda bank merge`, `clean`, `import` and `export`: a new directory is made of what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..presets import find_preset
from .base import print_table, say

New = Annotated[
    Path, typer.Option("--out", help="The new directory; nothing is written over.", show_default=False)
]
Given = Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)]


def merge(
    banks: Annotated[list[Path], typer.Argument(help="Bank directories.", show_default=False)], out: New
) -> None:
    """Make one bank of several that were made with the same models, every pair once.

    Two pairs are one where caption, noun, place in the caption, the picture's seed and the generator agree.
    """
    from ..bank.merge import merge as run

    with _bar() as bar:
        task = bar.add_task("merging", total=None)
        done = run(banks, out, lambda at, n: bar.update(task, completed=at, total=n))
    for path, pairs, duplicates in zip(banks, done.pairs, done.duplicates, strict=True):
        say(f"{pairs:,} pairs of {path}" + (f", {duplicates:,} were there before" if duplicates else ""))
    say(f"bank of {len(done.bank):,} pairs in {out}", "green")


def clean(
    path: Given,
    out: New,
    per_noun: Annotated[int | None, typer.Option(help="Pairs of a noun, at most.")] = None,
    choose: Annotated[
        str | None, typer.Option(help="Which of them stay: agreement, central or random.")
    ] = None,
    outliers: Annotated[
        float | None,
        typer.Option(help="Leave out what lies so many deviations from the middle of its noun; 3 is usual."),
    ] = None,
    group: Annotated[int | None, typer.Option(help="Nouns of fewer pairs have no outliers.")] = None,
    min_area: Annotated[float | None, typer.Option(help="Share of the picture that a mask covers.")] = None,
    max_area: Annotated[float | None, typer.Option(help="Share of the picture that a mask covers.")] = None,
    min_contrast: Annotated[float | None, typer.Option(help="The word's map, inside minus outside.")] = None,
    min_agreement: Annotated[float | None, typer.Option(help="CLIP's cosine of picture and noun.")] = None,
) -> None:
    """Make a new bank without pairs that break a rule, and a report of it (clean.json there)."""
    from ..bank.clean import REPORT, Rules
    from ..bank.clean import clean as run

    given = {
        "per_noun": per_noun,
        "choose": choose,
        "outliers": outliers,
        "group": group,
        "min_area": min_area,
        "max_area": max_area,
        "min_contrast": min_contrast,
        "min_agreement": min_agreement,
    }
    rules = Rules(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    said = Console(stderr=True)
    with said.status("reading") as status:
        done = run(path, out, rules, status.update)
    table = Table(show_header=False, title=Text(printable(f"pairs of {path}")), title_justify="left")
    table.add_row("before", f"{done.before:,}")
    for rule, n in sorted(done.dropped.items()):
        table.add_row(f"left out by {rule}", f"{n:,}")
    table.add_row("after", f"{len(done.bank):,}")
    print_table(table)
    if done.lost:
        more = f" and {len(done.lost) - 8:,} more" if len(done.lost) > 8 else ""
        say(f"no pair is left of {', '.join(done.lost[:8])}{more}", "yellow")
    say(f"bank of {len(done.bank):,} pairs in {out}; {REPORT} there tells of every noun", "green")


def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The release or its data folder, a folder of .npy files, or what `export` wrote.",
            show_default=False,
        ),
    ],
    out: New,
    index: Annotated[
        Path | None,
        typer.Option(
            help="FAISS index of the keys, flat or HNSW; row i is the i-th file by name. Found where the "
            "release has it, in faiss_index/knn.index."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Preset (or .json file) whose models made it, such as vit-l."),
    ] = None,
    noun_pattern: Annotated[
        str | None,
        typer.Option(help="Where a file's name holds its noun: '(?P<caption>[0-9]+)_(?P<noun>.+)'."),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(help="Parquet file with caption, noun, ... of every row, in the same order."),
    ] = None,
) -> None:
    """Make a bank of the authors' release: a .npy file a prototype, and a FAISS index of the keys.

    Rows that are not finite are dropped and counted. May be stopped at any time; the same command goes on.
    """
    from ..bank.released import import_release as run

    models, preset = None, None
    if model is not None:
        from ..weights import identity_id

        chosen = find_preset(model)
        preset = chosen.name
        models = {
            part: {"id": identity_id(source, preset), "revision": source.revision}
            for part, source in (("clip", chosen.clip), ("dense", chosen.dense))
        }
    try:
        with _bar() as bar:
            task = bar.add_task("importing", total=None)
            done = run(
                folder,
                out,
                models,
                index=index,
                rows=rows,
                noun_pattern=noun_pattern,
                preset=preset,
                on_done=lambda at, n: bar.update(task, completed=at, total=n),
            )
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on with {out}", "yellow", Console(stderr=True))
        raise
    for reason, n in done.dropped.items():
        say(f"{n:,} of {done.rows:,} rows dropped: {reason}", "yellow")
    say(f"bank of {len(done.bank):,} pairs in {out}", "green")


def export(
    path: Given,
    out: New,
    index: Annotated[str, typer.Option(help="flat, or hnsw, which takes long to make.")] = "flat",
) -> None:
    """Write a bank in the layout of the authors' release: a .npy file a prototype, and a FAISS index."""
    from ..bank.released import export_release as run

    with _bar() as bar:
        task = bar.add_task("exporting", total=None)
        run(path, out, index, lambda at, n: bar.update(task, completed=at, total=n))
    say(f"exported to {out}; `freeda bank import` reads it back", "green")


def _bar() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)
