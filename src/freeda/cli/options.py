"""The options that several commands take, each once, and what commands do with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from typer import Argument, Option

from ..errors import InputError
from ..options import EXPORTS, CollectOptions, SegmentOptions
from ..options.exports import DATASETS, dataset_kinds
from ..options.word_list import split_words
from ..presets import PRESETS, REGIONS, Preset
from .base import say

if TYPE_CHECKING:
    from ..bank import Bank

Options = TypeVar("Options", SegmentOptions, CollectOptions)

Model = Annotated[str, Option("--model", help=f"One of {', '.join(PRESETS)}, or a preset .json file.")]
Device = Annotated[str, Option("--device", help="auto, cpu, cuda or mps.")]
Devices = Annotated[str, Option(help="auto, cpu, cuda or mps; several for several workers: cuda:0,cuda:1.")]
_DTYPES = "float32, bfloat16, float16 or auto: what the models compute in; default: float32, but float16 "
Dtype = Annotated[str | None, Option("--dtype", help=f"{_DTYPES}for drawing on an accelerator.")]
_WORKERS = "Processes, each with models of its own; default: one a device."
Workers = Annotated[int | None, Option("--workers", help=_WORKERS)]
Engine = Annotated[
    str, Option("--engine", help="local: processes of this machine; ray: a Ray cluster's actors.")
]
_GPUS = "With --engine ray on GPUs: 0.5 lets two workers share one."
GpusPerWorker = Annotated[float, Option("--gpus-per-worker", help=_GPUS)]
Yes = Annotated[bool, Option("--yes", "-y", help="Fetch models and draw pictures without asking.")]

BankFolder = Annotated[Path, Argument(help="Bank directory.", show_default=False)]
BankOrOwn = Annotated[Path | None, Option("--bank", help="Bank directory; default: the preset's own.")]
New = Annotated[Path, Option("--out", help="The new directory; nothing is written over.", show_default=False)]
KeepImages = Annotated[bool, Option("--keep-images", help="Keep pictures and masks too.")]
Images = Annotated[
    int | None, Option("--images-per-word", help="Pictures drawn for a word; default: the preset's.")
]
Prompts = Annotated[
    Path | None,
    Option("--prompts", help="Caption file: captions that contain a word are drawn for it first."),
]
_DRAW = "How words are drawn: any option of collecting (steps=20), or lcm: in 4 steps, with a LoRA."
Draw = Annotated[list[str] | None, Option("--draw", help=_DRAW)]
K = Annotated[int | None, Option("--k", help="Prototypes taken per word; default: the preset's.")]
_REGIONS = (
    f"Where regions come from: superpixels, {', '.join(REGIONS)}, the hub id or folder of such a model; of "
    "one photograph also a map: a .png or .npy of numbers. Default: the preset's."
)
_KEPT = "Words of --save-vocabulary, not --classes."
Vocabularies = Annotated[Path | None, Option("--vocabulary", help=_KEPT)]
_TAUGHT = "Lessons to heed, such as FOLDER/.freeda/taught.jsonl of `freeda app FOLDER`."
Taught = Annotated[Path | None, Option("--taught", exists=True, dir_okay=False, help=_TAUGHT)]
Regions = Annotated[str | None, Option("--regions", metavar="NAME|ID|FOLDER|MAP", help=_REGIONS)]
_CLASSES = 'Words, separated by commas: "cat, sofa=couch, wooden floor".'
Classes = Annotated[str | None, Option("--classes", help=_CLASSES)]
ClassesFile = Annotated[
    Path | None, Option("--classes-file", help="A file of words, one a line, or a names file.")
]
KINDS = ", ".join(EXPORTS)
"""What results can be exported as."""
Photographs = Annotated[
    list[str] | None, Argument(help="Photographs: files, folders, or patterns such as 'photos/*.jpg'.")
]
Results = Annotated[Path, Option("--out", help="Folder for the results.")]
Recursive = Annotated[bool, Option("--recursive", "-r", help="Look into the folders of folders.")]
Strict = Annotated[bool, Option("--strict", help="Stop at the first unreadable image.")]
Again = Annotated[bool, Option("--again", help="Redo what an earlier run did already.")]
Npz = Annotated[bool, Option("--npz", help="Also write STEM.npz, to go on with in Python.")]
Export = Annotated[
    list[str] | None, Option("--export", metavar="KIND", help=f"Also write {KINDS}. Repeatable.")
]
_DATASET = (
    f"Also put all labelled photographs into one data set, OUT/KIND: {', '.join(DATASETS)}. Repeatable."
)
Dataset = Annotated[list[str] | None, Option("--dataset", metavar="KIND", help=_DATASET)]
_EXPLAIN = "Tell why the pixel in column X and row Y (from 0) got its word; also as a picture. Repeatable."
Explain = Annotated[list[str] | None, Option("--explain", metavar="X,Y", help=_EXPLAIN)]
BatchSize = Annotated[
    int | None,
    Option("--batch-size", min=1, help="Windows encoded together (default: what suits the device)."),
]
_INDEX = "exact or approximate: how a bank of more than 100,000 pairs is searched."
Index = Annotated[str, Option("--index", help=_INDEX)]
Profile = Annotated[bool, Option("--profile", help="Print where the time went.")]

_SHOWN = 20


def read_names(classes: str | None, classes_file: Path | None) -> Sequence[str]:
    """Class names as `--classes` or `--classes-file` gives them (docs/words.md), not yet checked.

    What a file holds is printed. Raises InputError for none or both of the two, and as `split_words` and
    `word_list` do.
    """
    if classes is not None and classes_file is not None:
        raise InputError("--classes and --classes-file are both given: name the words in one of them")
    if classes is not None:
        return split_words(classes)
    if classes_file is None:
        raise InputError(
            'give the words to look for: either --classes "cat, sofa=couch" or --classes-file FILE'
        )
    from ..collection.names import word_list

    names = word_list(classes_file)
    say(f"{classes_file}: {listed(names, _SHOWN, '; ')}")
    return names


def listed(words: Sequence[str], most: int = 8, between: str = ", ") -> str:
    """The first words, and how many more there are."""
    more = f" and {len(words) - most:,} more" if len(words) > most else ""
    return between.join(words[:most]) + more


def change(options: Options, **given: Any) -> Options:
    """`options` with the values that were given on the command line; None means not given."""
    return replace(options, **{key: value for key, value in given.items() if value is not None})


def open_bank(path: str | Path, index: str = "exact") -> Bank:
    """A bank; where its approximate index has to be made first, that is told of on stderr."""
    from ..bank import Bank

    told: list[str] = []

    def tell(step: str, rows: int, in_all: int) -> None:
        if not told:
            told.append(step)
            line = f"making the approximate index of {path}, once; minutes for millions of pairs"
            say(line, console=Console(stderr=True))

    return Bank.open(path, index, tell)  # type: ignore[arg-type]  # checked there


def fetch_first(preset: Preset, parts: Iterable[str], yes: bool = False) -> None:
    """Have those models of a preset (named as in `weights.PARTS`) on this machine before they load.

    Nothing is asked of anybody where they all are. A terminal is asked unless `yes`; otherwise one line is
    printed. Raises InputError where the answer is no or the disk too small, ModelError as `hub.ask`.
    """
    from .. import hub
    from ..weights import PARTS, missing_of

    if "clip" in (parts := tuple(parts)) or "generator" in parts:
        preset.check_draws()
    several = missing_of(preset, parts)
    if not several:
        return
    hub.check_room(several)
    if yes or not on_terminal():
        hub.tell(several)
    else:
        table = Table("to fetch", box=None, pad_edge=False)
        for name in ("", "", "licence"):
            table.add_column(name, overflow="fold")
        for m in several:
            table.add_row(PARTS[m.part], m.source.id, hub.in_bytes(m.size), m.source.licence)
        console = Console(stderr=True)
        console.print(table)
        size = hub.in_bytes(sum(m.size for m in several))
        free = hub.in_bytes(hub.free_bytes(hub.cache()))
        say(f"{size} from {hub.endpoint()} into {hub.cache()}, where {free} are free", console=console)
        if not typer.confirm("fetch them?", default=True, err=True):
            raise InputError("nothing was fetched")
    for missing in several:
        hub.fetch(missing)


def new_sets(kinds: list[str] | None, out: Path) -> dict[str, Path]:
    """Where each data set asked for (`--dataset`) will lie. Raises InputError where one does already."""
    sets = {kind: out / kind for kind in dataset_kinds(kinds or ())}
    for place in sets.values():
        if place.exists():
            raise InputError(f"{place}: this data set is there already: move it away first")
    return sets


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()
