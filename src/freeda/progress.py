"""What a long run shows of itself: a bar on a terminal's stderr, else now and then a line on stdout."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal, such as in the log of a batch system."""


class RunProgress(ABC):
    """A bar with a line of text below it, or lines alone; nothing at all unless `show`."""

    def __init__(
        self, verb: str, things: str, show: bool, console: Console | None, clock: Callable[[], float] | None
    ) -> None:
        self._verb, self._show = verb, show
        self._console = console or Console(stderr=True)
        if console is None and not self._console.is_terminal:
            self._console = Console()  # stderr is for errors there
        self._clock = clock or time.monotonic
        self._line_at = self._clock()
        self._told = ""  # how far the last line said it was
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(things)
        )
        self._live: Live | None = None

    @abstractmethod
    def said(self) -> str:
        """What stands below the bar: pace, time left, counts, as far as they can be told yet."""

    @abstractmethod
    def _done_of(self) -> str:
        """ "120 of 400 images": what a line says in place of the bar; "" before there is anything to say."""

    def __enter__(self) -> Self:
        if self._show and self._console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._show and self._done_of() not in ("", self._told):
            self._line()

    def _note(self, text: str) -> None:
        """A line of its own, where there is no terminal."""
        if self._show and not self._console.is_terminal:
            self._console.print(Text(f"{self._verb}: {text}"), soft_wrap=True)

    def _line_if_due(self) -> None:
        lines = self._show and not self._console.is_terminal
        if lines and self._clock() - self._line_at >= LINE_EVERY:
            self._line()

    def _line(self) -> None:
        self._line_at, self._told = self._clock(), self._done_of()
        told = ", ".join(part for part in (self._done_of(), self.said()) if part)
        self._console.print(Text(f"{self._verb}: {told}"), soft_wrap=True)

    def _render(self) -> Group:
        return Group(self._bar, Text(self.said()))


def duration(seconds: float) -> str:
    """ "0.31 s", "45 s", "1.7 min", "12 min", "3.5 h", "2.1 days"."""
    for unit, size, digits in (("days", 86400.0, 1), ("h", 3600.0, 1), ("min", 60.0, 0)):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{_short(seconds / size) if not digits else f'{seconds / size:.{digits}f}'} {unit}"
    return f"{_short(seconds)} s"


def _short(number: float) -> str:
    """Two digits of what is small, and whole numbers."""
    return f"{number:.2g}" if number < 9.95 else f"{number:.0f}"
