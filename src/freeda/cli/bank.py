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
from .add_images import add_images
from .bank_make import clean, export, import_, merge
from .bank_search import search
from .bank_share import pull, push
from .base import OneLineErrors, print_table, say
from .grow import coverage, grow
from .index import index

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    help="Look into a bank, mend it, make another of it, share it.",
    epilog="Examples:\n\nfreeda bank info bank/\n\n"
    "freeda bank add-images annotated/ --out refs/ --model vit-l --shots 5",
)


@app.command("info")
def info(
    path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)],
    every: Annotated[bool, typer.Option("--all", help="Also options that are as by default.")] = False,
) -> None:
    """Say what a bank holds, which models made it, and with which options."""
    from ..bank import Bank
    from ..options import CollectOptions, to_dict

    opened = Bank.open(path)
    table = Table(show_header=False, title=Text(printable(f"bank {path}")), title_justify="left")
    table.add_row("pairs", f"{len(opened):,} from {opened.meta['captions']:,} captions")
    table.add_row("nouns", Text(printable(_most_frequent(opened.nouns))))
    table.add_row("dimensions", f"key {opened.keys.shape[1]}, prototype {opened.prototypes.shape[1]}")
    table.add_row("shards", f"{len(opened.meta['shards']):,}")
    said = ("pairs", "captions", "dimensions", "shards")
    usual = set() if every else set(flat({"options": to_dict(CollectOptions())}))
    for pair in flat({key: value for key, value in opened.meta.items() if key not in said}):
        if pair not in usual:
            table.add_row(*map(Text, pair))
    if not every:
        table.add_row("other options", "as by default (--all lists them)")
    print_table(table)


@app.command("verify")
def verify(path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)]) -> None:
    """Read every byte of a bank, finished or not, and name what is damaged.

    Exit code: 0 all is whole; 2 something is damaged, or the bank is not finished.
    """
    from ..bank.format import MANIFEST
    from ..bank.verify import advice, find_damage

    said = Console(stderr=True)
    with said.status("reading") as status:
        found = list(find_damage(path, lambda file: status.update(f"reading {file}")))
    for file, wrong in found:
        say(f"{file}: {wrong}", "red", said)
    if found:
        n = "1 file is" if len(found) == 1 else f"{len(found):,} files are"
        raise BankError(f"{path}: {n} damaged: {advice(path, [file for file, _ in found])}")
    if not (path / MANIFEST).is_file():
        raise BankError(
            f"{path}: its shards are whole, but the bank is not finished: run its `freeda collect` again"
        )
    say(f"whole: {path}", "green")


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as (dotted key, text) pairs; lists become one text."""
    if isinstance(value, dict):
        return [
            pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else key)
        ]
    return [(prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]


def _most_frequent(nouns: Sequence[str], n: int = 8) -> str:
    from collections import Counter

    counts = Counter(nouns)
    named = ", ".join(f"{noun} {count:,}" for noun, count in counts.most_common(n))
    more = f" and {len(counts) - n:,} more" if len(counts) > n else ""
    return f"{len(counts):,} different: {named}{more}"


for command in (search, merge, clean, export, push, pull):
    app.command()(command)
app.command("import")(import_)
app.command("add-images")(add_images)
app.command("grow")(grow)
app.command("coverage")(coverage)
app.command("index")(index)
