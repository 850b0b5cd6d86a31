"""`freeda bank grow` and `freeda bank coverage`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, counted
from ..options.word_list import every_word
from ..presets import DEFAULT, DRAWING, ENCODERS, drawing_with, find_preset
from .base import Device, Dtype, Model, Yes, change, print_table, say
from .fetching import fetch_first
from .growing import Growing, Images, Prompts, coverage_table, perform, tell_poor
from .words import Classes, ClassesFile, read_names

Base = Annotated[Path | None, typer.Option("--bank", help="Bank directory; default: the preset's own.")]


def grow(
    words: Annotated[list[str], typer.Argument(help='Words: okapi "fire engine".', show_default=False)],
    bank: Annotated[
        Path | None,
        typer.Option(help="Bank directory to grow beside, into DIR.grown; default: your cache folder."),
    ] = None,
    model: Model = DEFAULT,
    images: Images = None,
    prompts: Prompts = None,
    yes: Yes = False,
    device: Device = "auto",
    dtype: Dtype = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
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
    bank: Base = None,
    model: Model = DEFAULT,
    layer: Annotated[
        bool, typer.Option("--layer/--no-layer", help="With what was grown beside the bank, or without.")
    ] = True,
    k: Annotated[int | None, typer.Option(help="Prototypes taken per word; default: the preset's.")] = None,
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
    how = Growing(preset, bank)
    base = how.open_base()
    from ..encoders import load_encoders
    from ..grow import with_layer
    from ..model import FreeDA
    from ..segment.vocabulary import parse_names

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
