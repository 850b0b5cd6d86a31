"""What `freeda segment` shows: bars while it works, then tables, and why pixels got their words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..errors import InputError, printable
from ..profile import Clock
from .base import say_error

if TYPE_CHECKING:
    from ..segment import Segmentation
    from ..segment.stream import Outcome

ROWS = 20
"""Photographs up to which each gets a row of the table, and classes that a row names."""


class Bars(Progress):
    """A bar for the photographs, where there are several, and one for the windows of the present one.

    Shown on a terminal's stderr only, and gone afterwards.
    """

    def __init__(self, photographs: int, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        several = photographs > 1
        self._all = self.add_task("segmenting", total=photographs, unit="photographs", visible=several)
        self._windows = self.add_task("", total=None, unit="windows", visible=False)

    def begin(self, path: Path) -> None:
        """A photograph is begun."""
        name = escape(printable(path.name)[:40])
        self.reset(self._windows, total=None, visible=True, description=name)

    def encoded(self, done: int, total: int) -> None:
        """So many of its windows are encoded."""
        self.update(self._windows, completed=done, total=total)

    def finish(self) -> None:
        """A photograph is done."""
        self.update(self._windows, visible=False)
        self.advance(self._all)


def add_row(table: Table, outcome: Outcome) -> None:
    """A photograph as a row: its name and size, the classes found in it, largest first, its files."""
    size, found = "", Text("was there already", style="dim")
    if outcome.error is not None:
        found = Text("failed", style="red")
    elif outcome.result is not None:
        height, width = outcome.result.size
        size, found = f"{width} x {height}", _shares(outcome.result)
    assert outcome.path is not None
    name = Text.assemble(printable(outcome.path.name), "\n", (size, "dim"))
    table.add_row(name, found, Text("\n".join(printable(str(file)) for file in outcome.files.values())))


def _shares(result: Segmentation) -> Text:
    from ..show import to_hex
    from ..show.text import percent

    colours = dict(zip(result.names, result.palette, strict=True))
    found = sorted(((share, name) for name, share in result.shares.items() if share > 0), reverse=True)
    wide = max(cell_len(printable(name)) for _, name in found)
    lines = []
    for share, name in found[:ROWS]:
        line = Text("■ ", style=to_hex(colours[name]))
        shown = set_cell_size(printable(name), min(wide, 40))  # letters may be two columns wide, or none
        lines.append(line.append(f"{shown} {percent(share):>7}", style="default"))
    if len(found) > ROWS:
        lines.append(Text(f"and {len(found) - ROWS} more", style="dim"))
    return Text("\n").join(lines)


def profile_table(clock: Clock) -> Table:
    """Seconds by stage and their share of all that passed since the clock was made."""
    stages, total = clock.stages(), clock.elapsed
    table = Table("stage", title="where the time went", title_justify="left")
    for name in ("seconds", "share", "times"):
        table.add_column(name, justify="right")
    for stage in stages:
        share = "beside" if stage.beside else f"{100 * stage.seconds / total:.1f} %"
        style = "dim" if stage.beside else None
        table.add_row(stage.name, f"{stage.seconds:.2f}", share, f"{stage.calls:,}", style=style)
    table.add_section()
    table.add_row("all", f"{total:.2f}", "", "")
    return table


def read_points(given: Sequence[str] | None) -> list[tuple[int, int]]:
    """Pixels "X,Y". Raises InputError for other text."""
    points = []
    for text in given or []:
        found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text, re.ASCII)
        if found is None:
            raise InputError(
                f"--explain {text!r}: name a pixel as X,Y: its column and row from 0, as in 120,80"
            )
        points.append((int(found[1]), int(found[2])))
    return list(dict.fromkeys(points))


def explained(
    outcome: Outcome, points: Sequence[tuple[int, int]], console: Console, strict: bool
) -> list[str]:
    """Why each pixel of a photograph got its word; STEM.explain-X-Y.png is written of it.

    One outside the photograph is an error line; with `strict`, InputError.
    """
    if outcome.result is None:
        return []
    from ..segment.result_folder import write_card

    told = []
    for x, y in points:
        try:
            found = outcome.result.explain(x, y)
            card = write_card(outcome.files["json"], found)
        except InputError as error:
            wrong = InputError(f"{outcome.path}: --explain {x},{y}: {error}")
            if strict:
                raise wrong from error
            say_error(wrong, console)
        else:
            told.append(f"{found}\n\nas a picture: {card}\n")
    return told
