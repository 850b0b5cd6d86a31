"""`freeda collect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..errors import printable
from ..presets import DEFAULT, find_preset
from .base import Device, Model, change


def collect(
    captions: Annotated[
        Path, typer.Argument(help="Text file with one caption a line, or COCO captions JSON.")
    ],
    out: Annotated[Path, typer.Option(help="Bank directory; one that is there is continued.")],
    model: Model = DEFAULT,
    device: Device = "auto",
    limit: Annotated[int | None, typer.Option(help="Take only the first so many captions.")] = None,
    seed: Annotated[int, typer.Option(help="Other pictures for the same captions.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Captions drawn together.")] = None,
    shard_size: Annotated[int | None, typer.Option(help="Captions per file of the bank.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    keep_images: Annotated[bool, typer.Option("--keep-images", help="Keep pictures and masks too.")] = False,
) -> None:
    """Draw captions, find their nouns in the pictures, and keep a prototype of each: a bank.

    May be stopped at any time; the same command continues where it was.
    """
    preset = find_preset(model)
    options = change(
        preset.collect,
        batch_size=batch_size,
        shard_size=shard_size,
        steps=steps,
        keep_images=keep_images or None,
    )
    from ..collect.job import collect as run

    bank = run(
        captions, out=out, model=preset, device=device, limit=limit, seed=seed, options=options, progress=True
    )
    said = Text.assemble((f"bank of {len(bank):,} pairs in", "green"), f" {printable(str(out))}")
    Console().print(said, soft_wrap=True)
