"""`freeda bank merge`, `clean`, `import`, `export`, `grow` and `coverage`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from rich.console import Console
from typer import Argument, Option

from ..errors import InputError, counted
from ..options.word_list import every_word
from ..presets import DEFAULT, DRAWING, ENCODERS, drawing_with, find_preset
from .base import bar, print_facts, print_table, resumable, say
from .options import (
    BankFolder,
    BankOrOwn,
    Classes,
    ClassesFile,
    Device,
    Dtype,
    Images,
    K,
    Model,
    New,
    Prompts,
    Yes,
    change,
    fetch_first,
    listed,
    read_names,
)


def merge(
    banks: Annotated[list[Path], Argument(help="Bank directories.", show_default=False)], out: New
) -> None:
    """Make one bank of several that were made with the same models, every pair once.

    Two pairs are one where caption, noun, place in the caption, the picture's seed and the generator agree.
    """
    from ..bank.merge import merge as run

    with bar("merging") as tell:
        done = run(banks, out, tell)
    for path, pairs, duplicates in zip(banks, done.pairs, done.duplicates, strict=True):
        say(f"{pairs:,} pairs of {path}" + (f", {duplicates:,} were there before" if duplicates else ""))
    if done.regions is not None:
        there = sum(done.regions.duplicates)
        told = f", {there:,} were there before" if there else ""
        say(f"{sum(done.regions.pairs):,} rows of regions{told}")
    say(f"bank of {len(done.bank):,} pairs in {out}", "green")


def clean(
    path: BankFolder,
    out: New,
    per_noun: Annotated[int | None, Option(help="Pairs of a noun, at most.")] = None,
    choose: Annotated[str | None, Option(help="Which of them stay: agreement, central or random.")] = None,
    outliers: Annotated[
        float | None,
        Option(help="Leave out what lies so many deviations from the middle of its noun; 3 is usual."),
    ] = None,
    group: Annotated[int | None, Option(help="Nouns of fewer pairs have no outliers.")] = None,
    min_area: Annotated[float | None, Option(help="Share of the picture that a mask covers.")] = None,
    max_area: Annotated[float | None, Option(help="Share of the picture that a mask covers.")] = None,
    min_contrast: Annotated[float | None, Option(help="The word's map, inside minus outside.")] = None,
    min_agreement: Annotated[float | None, Option(help="CLIP's cosine of picture and noun.")] = None,
) -> None:
    """Make a new bank without pairs that break a rule, and a report of it (clean.json there)."""
    asked = {name: value for name, value in locals().items() if name not in ("path", "out")}
    from ..bank.clean import REPORT, Rules
    from ..bank.clean import clean as run

    rules = Rules(**{name: value for name, value in asked.items() if value is not None})
    said = Console(stderr=True)
    with said.status("reading") as status:
        done = run(path, out, rules, status.update)
    dropped = {f"left out by {rule}": f"{n:,}" for rule, n in sorted(done.dropped.items())}
    rows = {"before": f"{done.before:,}", **dropped, "after": f"{len(done.bank):,}"}
    print_facts(f"pairs of {path}", rows)
    if done.regions[0]:
        say(f"rows of regions: {done.regions[0]:,} before, {done.regions[1]:,} after")
    if done.lost:
        say(f"no pair is left of {listed(done.lost)}", "yellow")
    say(f"bank of {len(done.bank):,} pairs in {out}; {REPORT} there tells of every noun", "green")


def import_(
    folder: Annotated[
        Path,
        Argument(
            help="The release or its data folder, a folder of .npy files, or what `export` wrote.",
            show_default=False,
        ),
    ],
    out: New,
    index: Annotated[
        Path | None,
        Option(
            help="FAISS index of the keys, flat or HNSW; row i is the i-th file by name. Found where the "
            "release has it, in faiss_index/knn.index."
        ),
    ] = None,
    model: Annotated[
        str | None, Option("--model", help="Preset (or .json file) whose models made it, such as vit-l.")
    ] = None,
    noun_pattern: Annotated[
        str | None, Option(help="Where a file's name holds its noun: '(?P<caption>[0-9]+)_(?P<noun>.+)'.")
    ] = None,
    rows: Annotated[
        Path | None, Option(help="Parquet file with caption, noun, ... of every row, in the same order.")
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
    with resumable(out), bar("importing") as tell:
        done = run(
            folder,
            out,
            models,
            index=index,
            rows=rows,
            noun_pattern=noun_pattern,
            preset=preset,
            on_done=tell,
        )
    for reason, n in done.dropped.items():
        say(f"{n:,} of {done.rows:,} rows dropped: {reason}", "yellow")
    say(f"bank of {len(done.bank):,} pairs in {out}", "green")


def export(
    path: BankFolder,
    out: New,
    index: Annotated[str, Option(help="flat, or hnsw, which takes long to make.")] = "flat",
) -> None:
    """Write a bank in the layout of the authors' release: a .npy file a prototype, and a FAISS index."""
    from ..bank.format import REGIONS
    from ..bank.released import export_release as run

    with bar("exporting") as tell:
        run(path, out, index, tell)
    if (path / REGIONS).exists():
        say("its region values have no place in that layout: they were left out", "yellow")
    say(f"exported to {out}; `freeda bank import` reads it back", "green")


def grow(
    words: Annotated[list[str], Argument(help='Words: okapi "fire engine".', show_default=False)],
    bank: Annotated[
        Path | None, Option(help="Bank directory to grow beside, into DIR.grown; default: your cache folder.")
    ] = None,
    model: Model = DEFAULT,
    images: Images = None,
    prompts: Prompts = None,
    yes: Yes = False,
    device: Device = "auto",
    dtype: Dtype = None,
    settings: Annotated[
        list[str] | None,
        Option(
            "--set", "--draw", help="Any option of collecting (steps=20), or lcm: in 4 steps, with a LoRA."
        ),
    ] = None,
) -> None:
    """Draw references for exactly these words into a layer beside a bank; pictures drawn before are kept.

    `freeda segment` uses the layer of its bank by itself wherever one of its words was grown.

    Exit code: 0 every word has its pictures; 2 it stopped for the reason told.
    """
    preset = drawing_with(find_preset(model), settings or [])
    from ..bank import Bank
    from ..encoders import load_encoders
    from ..grow import growth_options, plan_growth
    from .growing import Growing, perform, tell_poor

    base = None if bank is None else Bank.open(bank)
    how = Growing(preset, bank, True, yes, images, prompts, dtype=dtype)
    words = [word for text in words for word in every_word(text)]
    plan = plan_growth(words, how.layer, growth_options(preset), images, prompts)
    fetch_first(preset, (*ENCODERS, *(DRAWING if plan.pictures else ())), yes)
    encoders = load_encoders(preset, device, dtype or "float32")
    if base is not None:
        base.check_models(encoders.identity)
    grown = perform(plan, how, encoders)
    tell_poor(grown, False)
    for word, count in grown.references.items():
        say(f"{word}: {counted(count, 'reference')} from {counted(grown.pictures[word], 'picture')}")
    say(f"in {grown.layer.path}", "green")
    if not any(grown.references.values()):
        raise InputError("none of these words was found in its pictures")


def coverage(
    classes: Classes = None,
    classes_file: ClassesFile = None,
    bank: BankOrOwn = None,
    model: Model = DEFAULT,
    layer: Annotated[
        bool, Option("--layer/--no-layer", help="With what was grown beside the bank, or without.")
    ] = True,
    k: K = None,
    device: Device = "auto",
    yes: Yes = False,
) -> None:
    """Say how well a bank knows words: what lies behind the prototype that each would get.

    nearest and mean: cosine of the word and the keys retrieved. near: how many of them are at least 0.9.
    nouns: distinct nouns behind them. agreement: 1 where all their prototypes point the same way. A word is
    poorly covered where too few keys are near it.
    """
    names = read_names(classes, classes_file)
    preset = find_preset(model)
    from ..encoders import load_encoders
    from ..grow import with_layer
    from ..model import FreeDA
    from ..segment.vocabulary import parse_names
    from .growing import Growing, coverage_table

    how = Growing(preset, bank)
    base = how.open_base()

    fetch_first(preset, ENCODERS, yes)
    read = with_layer(base, *(how.layers(list(parse_names(names))) if layer else ()))
    if read is None:
        raise InputError(f"preset '{preset.name}' has no bank of its own: give one (--bank DIR)")
    loaded = FreeDA(replace(preset, segment=change(preset.segment, k=k)), load_encoders(preset, device), read)
    found = loaded.coverage(names)
    print_table(coverage_table(found))
    poor = [c.word for c in found if c.poor]
    if poor:
        say(f"poorly covered: {', '.join(poor)}", "yellow")
