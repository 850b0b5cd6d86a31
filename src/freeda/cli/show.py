"""What `freeda segment` shows: bars while it works, then tables, and why pixels got their words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..errors import InputError, printable
from ..profile import Clock
from .base import say, say_error

if TYPE_CHECKING:
    from ..segment import Segmentation
    from ..segment.stream import Outcome

ROWS = 20
"""Photographs up to which each gets a row of the table, and classes that a row names."""


class Bars:
    """A bar for the photographs, where there are several, and one for the windows of the present one.

    Shown on a terminal's stderr only, and gone afterwards.
    """

    def __init__(self, photographs: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._photographs = self._progress.add_task(
            "segmenting", total=photographs, unit="photographs", visible=photographs > 1
        )
        self._windows = self._progress.add_task("", total=None, unit="windows", visible=False)

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, path: Path) -> None:
        """A photograph is begun."""
        self._progress.reset(
            self._windows, total=None, visible=True, description=escape(printable(path.name)[:40])
        )

    def windows(self, done: int, total: int) -> None:
        """So many of its windows are encoded."""
        self._progress.update(self._windows, completed=done, total=total)

    def finish(self) -> None:
        """A photograph is done."""
        self._progress.update(self._windows, visible=False)
        self._progress.advance(self._photographs)


def table_of(outcomes: Sequence[Outcome], lines: Sequence[tuple[Text, Text]]) -> Table:
    """A row a photograph: its name and size, what was found (`lines` of `found`), its files."""
    table = Table("image", "found", "files", show_lines=len(outcomes) > 1)
    for outcome, (size, what) in zip(outcomes, lines, strict=True):
        name = Text.assemble(printable(outcome.path.name), "\n", size)
        table.add_row(name, what, Text("\n".join(printable(str(f)) for f in outcome.files.values())))
    return table


def found(outcome: Outcome) -> tuple[Text, Text]:
    """A photograph's size and the classes found in it, largest first, as texts."""
    if outcome.error is not None:
        return Text(""), Text("failed", style="red")
    if outcome.result is None:
        return Text(""), Text("was there already", style="dim")
    height, width = outcome.result.size
    return Text(f"{width} x {height}", style="dim"), _shares(outcome.result)


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


class Explainer:
    """Explains the same pixels of every photograph: a card beside its results, and a table at the end."""

    def __init__(self, points: Sequence[tuple[int, int]]) -> None:
        self.points = list(points)
        self.missed = False
        """Whether a pixel lay outside a photograph."""
        self._told: list[str] = []

    def add(self, outcome: Outcome, console: Console, strict: bool) -> None:
        """Write STEM.explain-X-Y.png for each pixel. One outside the photograph is an error line; with
        `strict`, InputError."""
        if outcome.result is None:
            return
        from ..segment.result_folder import write_card

        for x, y in self.points:
            try:
                found = outcome.result.explain(x, y)
                card = write_card(outcome.files["json"], found)
            except InputError as error:
                told = InputError(f"{outcome.path}: --explain {x},{y}: {error}")
                if strict:
                    raise told from error
                say_error(told, console)
                self.missed = True
                continue
            self._told.append(f"{found}\n\nas a picture: {card}\n")

    def print(self) -> None:
        """All that was found, on stdout."""
        for line in "\n".join(self._told).split("\n") if self._told else ():
            say(line)
