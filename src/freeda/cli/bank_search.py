"""`freeda bank search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..errors import BankError, InputError, printable
from ..presets import PRESETS, Preset, find_preset
from .base import Device, Yes, open_bank, print_table, say
from .fetching import fetch_first

if TYPE_CHECKING:
    from ..bank import Bank


def search(
    path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)],
    word: Annotated[str, typer.Argument(help="A word or phrase, as a class name.", show_default=False)],
    model: Annotated[
        str | None, typer.Option("--model", help="Preset, or preset .json file; default: the bank's own.")
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", help="Pairs that make a class prototype; default: the preset's.")
    ] = None,
    nouns: Annotated[int, typer.Option(help="How many nouns to print.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write a contact sheet (.png, .jpg): kept pictures, else captions."),
    ] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="Use the approximate index: quicker in a large bank.")
    ] = False,
    device: Device = "auto",
    yes: Yes = False,
) -> None:
    """Print the nouns of a bank that are nearest to a word, with similarity and captions.

    `pairs` counts a noun's pairs among the k nearest, whose mean is the class's prototype: a word that the
    bank knows well has its own noun first, with most of them.
    """
    opened = open_bank(path, "approximate" if approximate else "exact")
    preset = _preset(opened, model)
    if k is not None and k < 1:
        raise InputError(f"-k is {k}: it must be at least 1")
    from ..bank.inspect import nearest_nouns, write_sheet
    from ..encoders import load_clip
    from ..segment.vocabulary import WordEmbedder, parse_names
    from ..weights import identity_of

    (name,) = parse_names({word: ()})
    fetch_first(preset, ("clip",), yes)
    clip = load_clip(preset, device)
    said = identity_of(preset.clip, "clip", preset.name)
    opened.check_models({**opened.meta["models"], "clip": said, "clip_dim": clip.dim})
    embedded = WordEmbedder(clip)([name], preset.segment.templates)[0]
    query = (embedded / embedded.norm()).numpy()
    k = min(preset.segment.k if k is None else k, len(opened))
    found = nearest_nouns(opened, query, k, nouns)

    table = Table(
        "similarity",
        "noun",
        "pairs",
        "caption",
        title=Text(printable(f"nearest to {name}")),
        title_justify="left",
    )
    for near in found:
        caption = opened.row(near.rows[0])["caption"]
        told = (f"{near.similarity:.3f}", near.noun, f"{near.within:,} of {k:,}", caption)
        table.add_row(*(Text(printable(text)) for text in told))
    print_table(table)
    if out is not None:
        n = write_sheet(opened, name, found, out)
        say(f"{n} pictures in {out}" if n else f"captions in {out}: pictures are kept with --keep-images")


def _preset(bank: Bank, model: str | None) -> Preset:
    """The preset that was named, or the one that the bank was made with."""
    name = bank.meta.get("preset") if model is None else model
    if model is None and name not in PRESETS:
        raise BankError(
            f"{bank.path}: made with preset {name!r}, which is none of this version's: give --model"
        )
    return find_preset(str(name))
