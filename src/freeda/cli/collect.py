"""`freeda collect`, and `freeda nouns`, which says beforehand what captions hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from ..errors import InputError, counted
from ..files import atomic_write_json
from ..options import parse_settings
from ..presets import DEFAULT, DRAWING, ENCODERS, find_preset, with_models
from ..remote import is_remote
from .base import print_facts, resumable, say
from .options import (
    Devices,
    Dtype,
    Engine,
    GpusPerWorker,
    KeepImages,
    Model,
    Workers,
    Yes,
    change,
    fetch_first,
)

if TYPE_CHECKING:
    pass


def collect(
    out: Annotated[
        str,
        Option(
            help="Bank directory, or an address like s3://bucket/bank; one that is there is continued.",
            show_default=False,
        ),
    ],
    captions: Annotated[
        Path | None,
        Argument(
            help="Text file with one caption a line, COCO captions JSON, CSV, TSV, Parquet or JSON lines.",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        Path | None,
        Option(help="Instead of captions: a file of words, one a line; captions are made of them."),
    ] = None,
    column: Annotated[
        str | None, Option(help="Column that holds the captions; default: one called caption or text.")
    ] = None,
    id_column: Annotated[
        str | None, Option(help="Column that holds the captions' ids; default: the row's number.")
    ] = None,
    model: Model = DEFAULT,
    generator: Annotated[
        str | None, Option(help="What draws, instead of the preset's own: a hub id or folder of a pipeline.")
    ] = None,
    device: Devices = "auto",
    dtype: Dtype = None,
    workers: Workers = None,
    limit: Annotated[int | None, Option(help="Take only the first so many captions.")] = None,
    seed: Annotated[int, Option(help="Other pictures for the same captions.")] = 0,
    batch_size: Annotated[int | None, Option(help="Captions drawn together.")] = None,
    shard_size: Annotated[int | None, Option(help="Captions per file of the bank.")] = None,
    steps: Annotated[int | None, Option(help="Denoising steps.")] = None,
    keep_images: KeepImages = False,
    region_values: Annotated[
        bool,
        Option("--region-values", help="Also keep a row of every region of the pictures (docs/bank.md)."),
    ] = False,
    tagger: Annotated[
        str, Option(help="What finds the nouns: pattern, spacy, or auto for the better one here.")
    ] = "auto",
    settings: Annotated[
        list[str] | None,
        Option("--set", help="Any other option: --set threshold_rule=otsu --set key=caption."),
    ] = None,
    retry_failed: Annotated[
        bool, Option("--retry-failed", help="Make shards again in which captions failed.")
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
    preset = with_models(find_preset(model), generator=generator)
    options = change(
        preset.collect,
        batch_size=batch_size,
        shard_size=shard_size,
        steps=steps,
        keep_images=keep_images or None,
        region_values=region_values or None,
    )
    options = parse_settings(settings or [], options)
    from ..collection.job import collect as run
    from ..collection.runner import counts_line
    from ..collection.shard import Tally

    if engine == "local":  # a cluster's machines fetch for themselves
        cut = ("regions",) if options.region_values else ()
        fetch_first(preset, (*ENCODERS, *cut, *DRAWING), yes)
    with resumable(out):
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
    meta = bank.meta
    tally = Tally(meta["captions"], meta["pictures"], len(bank), Counter(meta["rejected"]), meta["failed"])
    if bank.regions is not None:
        tally.regions, tally.left_out = len(bank.regions), Counter(bank.regions.meta["rejected"])
    say(f"bank of {len(bank):,} pairs in {out}", "green")
    if is_remote(out):
        say(f"a copy is in {bank.path}")
    say(f"{counted(tally.captions, 'caption')}, {counted(tally.pictures, 'picture')}, {counts_line(tally)}")
    if tally.failed:
        say("log.jsonl there tells why; --retry-failed tries the failed captions again", "yellow")


def nouns(
    captions: Annotated[
        Path, Argument(help="Text lines, CSV, TSV, Parquet, JSON lines or COCO captions JSON.")
    ],
    column: Annotated[str | None, Option(help="The column (or JSON key) of the captions.")] = None,
    limit: Annotated[int | None, Option(help="Take only the first so many captions.")] = None,
    top: Annotated[int, Option(help="How many of the most frequent nouns to print.")] = 50,
    show: Annotated[int, Option(help="Print so many captions with their nouns marked.")] = 0,
    tagger: Annotated[str, Option(help="auto, pattern or spacy.")] = "auto",
    json: Annotated[Path | None, Option(help="Also write all counts to this file.")] = None,
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
    held = survey(found, tagger)
    for caption in found[:show]:
        say(_marked(caption.text, held.tagger))
    share = held.without / held.captions
    rows = {
        "captions": f"{held.captions:,}, of them {held.repeated:,} repeat another's text",
        "without a noun": f"{held.without:,} ({share:.2%}): never drawn",
        "nouns": f"{held.mentions:,}, {held.mentions / held.captions:.2f} a caption: pairs at most",
        "different nouns": f"{len(held.nouns):,}",
        "rate": f"{held.captions / max(held.seconds, 1e-9):,.0f} captions/s ({held.tagger})",
    }
    print_facts(f"nouns of {captions}", rows)
    most = ranked(held.nouns)[:top]
    if most:
        listed = ", ".join(f"{noun} {count:,}" for noun, count in most)
        say(f"The {len(most)} most frequent: {listed}")
    if json is not None:
        atomic_write_json(json, held.to_dict())


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
