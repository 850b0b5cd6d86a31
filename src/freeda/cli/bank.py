"""`freeda bank ...`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import BankError, printable
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


@app.command("verify")
def verify(path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)]) -> None:
    """Read every byte of a bank, finished or not, and name what is damaged.

    Exit code: 0 all is whole; 2 something is damaged, or the bank is not finished.
    """
    from ..bank.format import MANIFEST
    from ..bank.verify import find_damage

    said = Console(stderr=True)
    with said.status("reading") as status:
        found = list(find_damage(path, lambda file: status.update(f"reading {file}")))
    for file, wrong in found:
        said.print(Text(printable(f"{file}: {wrong}"), style="red"), soft_wrap=True)
    if found:
        n = "1 file is" if len(found) == 1 else f"{len(found):,} files are"
        raise BankError(f"{path}: {n} damaged: the `freeda collect` that made the bank, run again, mends it")
    if not (path / MANIFEST).is_file():
        raise BankError(
            f"{path}: its shards are whole, but the bank is not finished: run its `freeda collect` again"
        )
    Console().print(Text(f"whole: {printable(str(path))}", style="green"), soft_wrap=True)


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
