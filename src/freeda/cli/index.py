"""`freeda bank index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..options.index import RECALL
from .base import say


def index(
    path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)],
    recall: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the true nearest keys that must be found.")
    ] = RECALL,
) -> None:
    """Make the approximate index of a large bank, beside it, and measure what it finds.

    `Bank.open(path, index="approximate")` searches with it, and makes it by itself where it is missing or
    belongs to what the bank was before. A small bank needs none: it is searched exactly in no time.
    """
    from ..bank import Bank
    from ..bank.approximate import ApproximateIndex
    from ..bank.bank import LARGE

    bank = Bank.open(path)
    if len(bank) < LARGE:
        say(f"{path}: {len(bank):,} pairs need no index: below {LARGE:,} every search is exact")
        return
    with Console(stderr=True).status("reading") as status:

        def tell(step: str, rows: int, in_all: int) -> None:
            status.update(f"{step}: {rows:,} of {in_all:,}")

        about = ApproximateIndex.build(bank.keys, bank.path, bank.identity, recall, tell).about
    found = f"finds {about.recall:.1%} of its {about.neighbours:,} nearest keys"
    say(f"{about.bytes / 1e9:.2f} GB in {path / about.file}")
    say(f"a query looks into {about.probes:,} of {about.lists:,} lists and {found}")
    say(f"(mean of {about.queries} keys of the bank; the worst of them {about.worst:.1%})")
