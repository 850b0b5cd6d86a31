"""`freeda bank ...`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import printable
from .base import OneLineErrors

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, help="Look into a bank directory.")


@app.command("info")
def info(path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)]) -> None:
    """Say what a bank holds, which models made it, and with which options."""
    from ..bank import Bank

    opened = Bank.open(path)
    table = Table(show_header=False, title=Text(printable(f"bank {path}")), title_justify="left")
    table.add_row("pairs", f"{len(opened):,} from {opened.meta['captions']:,} captions")
    table.add_row("nouns", Text(f"{len(set(opened.nouns)):,} different: {_most_frequent(opened.nouns)}, ..."))
    table.add_row("dimensions", f"key {opened.keys.shape[1]}, prototype {opened.prototypes.shape[1]}")
    table.add_row("shards", f"{len(opened.meta['shards']):,}")
    said = ("pairs", "captions", "dimensions", "shards")
    for key, value in flat({key: value for key, value in opened.meta.items() if key not in said}):
        table.add_row(Text(key), Text(value))
    Console().print(table)


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as (dotted key, text) pairs; lists become one text."""
    if isinstance(value, dict):
        return [
            pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else key)
        ]
    return [(prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]


def _most_frequent(nouns: Sequence[str], n: int = 8) -> str:
    from collections import Counter

    return ", ".join(f"{noun} {count}" for noun, count in Counter(nouns).most_common(n))
