"""`freeda nouns`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..errors import InputError, printable
from ..files import atomic_write_json
from .base import print_table, say


def nouns(
    captions: Annotated[
        Path, typer.Argument(help="Text lines, CSV, TSV, Parquet, JSON lines or COCO captions JSON.")
    ],
    column: Annotated[str | None, typer.Option(help="The column (or JSON key) of the captions.")] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first so many captions.")] = None,
    top: Annotated[int, typer.Option(help="How many of the most frequent nouns to print.")] = 50,
    show: Annotated[int, typer.Option(help="Print so many captions with their nouns marked.")] = 0,
    tagger: Annotated[str, typer.Option(help="auto, pattern or spacy.")] = "auto",
    json: Annotated[Path | None, typer.Option(help="Also write all counts to this file.")] = None,
) -> None:
    """Say which nouns captions hold, before a picture is drawn of any.

    Every noun of a caption can become one pair of a bank.
    """
    from ..collection.captions import to_captions
    from ..collection.nouns import ranked, survey

    for name, value in (("--top", top), ("--show", show)):
        if value < 0:
            raise InputError(f"{name} is {value}: it cannot be negative")
    found = to_captions(captions, limit, column=column)
    counted = survey(found, tagger)
    for caption in found[:show]:
        say(_marked(caption.text, counted.tagger))
    table = Table(show_header=False, title=Text(printable(f"nouns of {captions}")), title_justify="left")
    table.add_row("captions", f"{counted.captions:,}, of them {counted.repeated:,} repeat another's text")
    share = counted.without / counted.captions
    table.add_row("without a noun", f"{counted.without:,} ({share:.2%}): never drawn")
    table.add_row(
        "nouns", f"{counted.mentions:,}, {counted.mentions / counted.captions:.2f} a caption: pairs at most"
    )
    table.add_row("different nouns", f"{len(counted.nouns):,}")
    table.add_row(
        "rate", f"{counted.captions / max(counted.seconds, 1e-9):,.0f} captions/s ({counted.tagger})"
    )
    print_table(table)
    most = ranked(counted.nouns)[:top]
    if most:
        listed = ", ".join(f"{noun} {count:,}" for noun, count in most)
        say(f"The {len(most)} most frequent: {listed}")
    if json is not None:
        atomic_write_json(json, counted.to_dict())


def _marked(text: str, tagger: str) -> str:
    """The caption with its nouns in brackets, each with its lemma where that is written otherwise."""
    from ..collection.nouns import find_nouns

    places = sorted(
        (start, end, noun.lemma) for noun in find_nouns(text, tagger) for start, end in noun.spans
    )
    out, last = "", 0
    for start, end, lemma in places:
        written = text[start:end]
        out += f"{text[last:start]}[{written}" + (f" = {lemma}]" if written.lower() != lemma else "]")
        last = end
    return out + text[last:]
