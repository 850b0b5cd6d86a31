"""What commands do before models are fetched: say what, how much, from where and whereto, and ask."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import typer
from rich.console import Console
from rich.table import Table

from ..errors import InputError
from ..presets import Preset
from .base import say


def fetch_first(preset: Preset, parts: Iterable[str], yes: bool = False) -> None:
    """Have those models of a preset ("clip", "dense", "generator", "lora") on this machine before they load.

    Nothing is asked of anybody where they all are. A terminal is asked unless `yes`; otherwise one line is
    printed. Raises InputError where the answer is no or the disk too small, ModelError as `hub.ask`.
    """
    from .. import hub
    from ..weights import PARTS, missing_of

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
        Console(stderr=True).print(table)
        size = hub.in_bytes(sum(m.size for m in several))
        free = hub.in_bytes(hub.free_bytes(hub.cache()))
        say(
            f"{size} from {hub.endpoint()} into {hub.cache()}, where {free} are free",
            console=Console(stderr=True),
        )
        if not typer.confirm("fetch them?", default=True, err=True):
            raise InputError("nothing was fetched")
    for missing in several:
        hub.fetch(missing)


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()
