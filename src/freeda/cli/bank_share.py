"""`freeda bank push` and `pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .base import say

Repo = Annotated[str, typer.Argument(help="Name on the hub: name/repo.", show_default=False)]


def push(
    path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)],
    repo: Repo,
    private: Annotated[bool, typer.Option("--private", help="For your eyes only.")] = False,
    licence: Annotated[str, typer.Option(help="The bank's own licence, as the hub names it.")] = "other",
    message: Annotated[str | None, typer.Option(help="What the commit says.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Only print the card that would go with it.")] = False,
) -> None:
    """Share a bank on the Hugging Face hub, with a card: models, licences, counts.

    Log in before, with `hf auth login`. Every byte is looked at first.
    """
    if card:
        from ..bank import Bank
        from ..bank.card import bank_card

        print(bank_card(Bank.open(path), repo, licence), end="")
        return
    from ..bank.hub import push as run

    with Console(stderr=True).status("reading") as status:
        made = run(path, repo, private=private, licence=licence, message=message, on_step=status.update)
    say(f"shared: {made}", "green")


def pull(
    repo: Repo,
    out: Annotated[
        Path, typer.Option("--out", help="The new directory; nothing is written over.", show_default=False)
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; default: the newest.")] = None,
) -> None:
    """Fetch a shared bank from the Hugging Face hub and look at every byte of it.

    A download that was stopped goes on where it was.
    """
    from ..bank.hub import pull as run

    with Console(stderr=True).status("asking the hub") as status:
        bank = run(repo, out, revision=revision, on_step=status.update)
    say(f"bank of {len(bank):,} pairs in {out}", "green")
