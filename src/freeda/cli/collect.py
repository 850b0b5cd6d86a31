"""`freeda collect`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import counted
from ..options import parse_settings
from ..presets import DEFAULT, DRAWING, ENCODERS, find_preset
from ..remote import is_remote
from .base import Dtype, Engine, GpusPerWorker, Model, Yes, change, say
from .fetching import fetch_first

if TYPE_CHECKING:
    from ..bank import Bank


def collect(
    out: Annotated[
        str,
        typer.Option(
            help="Bank directory, or an address like s3://bucket/bank; one that is there is continued.",
            show_default=False,
        ),
    ],
    captions: Annotated[
        Path | None,
        typer.Argument(
            help="Text file with one caption a line, COCO captions JSON, CSV, TSV, Parquet or JSON lines.",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(help="Instead of captions: a file of words, one a line; captions are made of them."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column that holds the captions; default: one called caption or text.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column that holds the captions' ids; default: the row's number.")
    ] = None,
    model: Model = DEFAULT,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or mps; several for several workers: cuda:0,cuda:1.")
    ] = "auto",
    dtype: Dtype = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes, each with models of its own; default: one a device.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Take only the first so many captions.")] = None,
    seed: Annotated[int, typer.Option(help="Other pictures for the same captions.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Captions drawn together.")] = None,
    shard_size: Annotated[int | None, typer.Option(help="Captions per file of the bank.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    keep_images: Annotated[bool, typer.Option("--keep-images", help="Keep pictures and masks too.")] = False,
    tagger: Annotated[
        str, typer.Option(help="What finds the nouns: pattern, spacy, or auto for the better one here.")
    ] = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other option: --set threshold_rule=otsu --set key=caption."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Make shards again in which captions failed.")
    ] = False,
    yes: Yes = False,
    engine: Engine = "local",
    gpus_per_worker: GpusPerWorker = 1.0,
) -> None:
    """Draw captions, find their nouns in the pictures, and keep a prototype of each: a bank.

    May be stopped at any time (Ctrl-C, a kill, no more power); the same command continues where it was, and
    makes again what was damaged since. log.jsonl in the bank tells of every shard.

    Exit code: 0 the bank is whole, even where some captions failed; 2 it stopped for the reason told;
    130 Ctrl-C.
    """
    preset = find_preset(model)
    options = change(
        preset.collect,
        batch_size=batch_size,
        shard_size=shard_size,
        steps=steps,
        keep_images=keep_images or None,
    )
    options = parse_settings(settings or [], options)
    from ..collection.job import collect as run

    if engine == "local":  # a cluster's machines fetch for themselves
        fetch_first(preset, (*ENCODERS, *DRAWING), yes)
    try:
        bank = run(
            captions,
            out,
            preset,
            device,
            limit,
            seed,
            options,
            progress=True,
            words=words,
            column=column,
            id_column=id_column,
            workers=workers,
            dtype=dtype,
            tagger=tagger,
            retry_failed=retry_failed,
            engine=engine,
            gpus_per_worker=gpus_per_worker,
        )
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on with {out}", "yellow", Console(stderr=True))
        raise
    _report(bank, out)


def _report(bank: Bank, out: str) -> None:
    """What the whole bank holds, by whichever runs it was made."""
    from ..collection.runner import counts_line
    from ..collection.shard import Tally

    meta = bank.meta
    tally = Tally(meta["captions"], meta["pictures"], len(bank), Counter(meta["rejected"]), meta["failed"])
    say(f"bank of {len(bank):,} pairs in {out}", "green")
    if is_remote(out):
        say(f"a copy is in {bank.path}")
    say(f"{counted(tally.captions, 'caption')}, {counted(tally.pictures, 'picture')}, {counts_line(tally)}")
    if tally.failed:
        say("log.jsonl there tells why; --retry-failed tries the failed captions again", "yellow")
