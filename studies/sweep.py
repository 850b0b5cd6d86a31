"""What all measurements share: their arguments, seed after seed, kept parts, tables, and pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from freeda.encoders import Encoders
from freeda.errors import InputError
from freeda.files import atomic_write_text, cache_folder
from freeda.options import to_dict
from freeda.presets import PRESETS, Preset

Captions = Annotated[int, typer.Option(min=1, help="Captions a bank.")]
Scenes = Annotated[int, typer.Option(min=1, help="Held-out scenes that are measured, a seed.")]
Seeds = Annotated[int, typer.Option(min=1, help="Seeds, from 0.")]
BankFolder = Annotated[Path | None, typer.Option(help="The generated bank; default: the bundled one.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Where parts are kept, so that a rerun goes on; default: the cache folder."),
]
Page = Annotated[
    Path | None,
    typer.Option("--page", help="Put what is printed between the marks of this Markdown page, too."),
]
PRESET = PRESETS["miniature"]
END = "<!-- end -->"

Item = TypeVar("Item")
Setting = TypeVar("Setting")
Rows = dict[str, Any]
"""What one seed gave: row of a table -> what JSON can hold, such as a value for every column."""


def shown(items: Iterable[Item], name: str, total: int | None = None) -> Iterable[Item]:
    """The items, while a bar of that name tells how far they are."""
    return track(items, name, total, console=Console(stderr=True))


def folder_of(out: Path | None, name: str, preset: Preset, encoders: Encoders, *about: object) -> Path:
    """Where a measurement's parts are kept: a folder for options, models, local weights, and `about`."""
    asked = [name, to_dict(preset.segment), to_dict(preset.collect), encoders.identity, repr(about)]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for source in (preset.clip, preset.dense, preset.generator):
        for path in sorted(Path(source.id).rglob("*.safetensors")):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return (out or cache_folder() / "studies") / f"{name}-{digest.hexdigest()[:16]}"


def sweep(
    seeds: Sequence[int],
    make: Callable[[int, Path], Setting],
    tables: Mapping[str, Callable[[Setting], Rows]],
    folder: Path,
    whole: Callable[[Rows], bool] = lambda rows: True,
) -> dict[str, dict[str, list[Any]]]:
    """Measure every table with every seed: table -> row -> an entry a seed.

    `make` gives the seed's setting, all that its tables share, and may keep things in the folder it is given.
    What a table gave with a seed is kept in `folder` where it is `whole`, and a rerun takes it from there.
    """
    found: dict[str, dict[str, list[Any]]] = {name: {} for name in tables}
    for seed in seeds:
        setting = make(seed, folder / f"seed-{seed}")
        for name, measure in tables.items():
            path = folder / f"seed-{seed}" / f"{name}.json"
            part: Rows | None = None
            with suppress(OSError, ValueError):  # not measured yet, or damaged
                part = json.loads(path.read_text("utf-8"))
            if part is None:
                part = measure(setting)
                if whole(part):
                    atomic_write_text(path, json.dumps(part))
            for row, values in part.items():
                found[name].setdefault(row, []).append(values)
    return found


def said(command: str, quick: bool, **given: object) -> str:
    """The command as it was given, for its page."""
    return command + (" --quick" if quick else "".join(f" --{name} {value}" for name, value in given.items()))


def mean_of(seeds: int) -> str:
    """What a table's figures are: "mean of seeds 0 to 2 (least to greatest)"."""
    return "seed 0" if seeds == 1 else f"mean of seeds 0 to {seeds - 1} (least to greatest)"


def spread(values: Sequence[float] | npt.NDArray[np.float64], form: str = ".3f") -> str:
    """Mean over seeds; of several, also the least and the greatest: "0.763 (0.755 to 0.779)"."""
    text = f"{np.mean(values):{form}}"
    return text if len(values) == 1 else f"{text} ({np.min(values):{form}} to {np.max(values):{form}})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def spread_table(head: Sequence[str], found: Mapping[str, Sequence[Sequence[float]]]) -> str:
    """Markdown: the spread over the seeds of every column of every row."""
    return markdown(head, ([row, *map(spread, zip(*seeds, strict=True))] for row, seeds in found.items()))


def begin(command: str) -> str:
    """The line before what a command put on a page; `END` comes after it."""
    return f"<!-- begin: {command} -->"


def between_marks(page: str, text: str, command: str) -> str:
    """`page` with `text` in the command's place. InputError where it has none."""
    head, mark, rest = page.partition(begin(command))
    _, end, tail = rest.partition(END)
    if not (mark and end):
        raise InputError(
            f"the page has no place for the table: it needs the lines {begin(command)} and {END}"
        )
    return f"{head}{mark}\n{text}\n{END}{tail}"


def publish(text: str, page: Path | None, command: str) -> None:
    """Print Markdown, and put it on a page where one is given. Raises as `between_marks`."""
    print(text)
    if page is not None:
        atomic_write_text(page, between_marks(page.read_text("utf-8"), text, command))
