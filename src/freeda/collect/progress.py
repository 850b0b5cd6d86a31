"""What a collecting run shows of itself: a bar on a terminal's stderr, else now and then a line on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from .shard import Tally

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal, such as in the log of a batch system."""
_REASONS = 4  # reasons named; the others are one number


class CaptionProgress:
    """Captions done out of all, images a second, time left, pairs kept and nouns rejected.

    Rates and counts are those of this run: what an earlier one did counts as done only.
    """

    def __init__(
        self,
        total: int,
        done: int,
        show: bool,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = Tally()
        """What became of the captions of this run."""
        self._total, self._done, self._show = total, done, show
        self._console = console or Console(stderr=True)
        if console is None and not self._console.is_terminal:
            self._console = Console()  # stderr is for errors there
        self._clock = clock
        self._began: float | None = None
        self._line_at = clock()
        self._bar = Progress(
            TextColumn("collecting"), BarColumn(), MofNCompleteColumn(), TextColumn("captions")
        )
        self._task = self._bar.add_task("", total=total, completed=done)
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)

    def __enter__(self) -> CaptionProgress:
        if self._show and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live.is_started:
            self._live.stop()
        elif self._show and self._began is not None:
            self._line()

    def count(self, tally: Tally) -> None:
        """Count one more batch."""
        if self._began is None:  # models are loaded by now
            self._began = self._clock()
        self.tally.add(tally)
        self._bar.update(self._task, completed=self._done + self.tally.captions)
        lines = self._show and not self._console.is_terminal
        if lines and self._clock() - self._line_at >= LINE_EVERY:
            self._line()

    def pace(self) -> str:
        """Images a second and the time left, as far as they can be told yet."""
        passed = self._clock() - self._began if self._began is not None else 0.0
        if passed <= 0 or not self.tally.captions:
            return ""
        left = (self._total - self._done - self.tally.captions) * passed / self.tally.captions
        return f"{self.tally.pictures / passed:.3g} images/s, {duration(left)} left"

    def counts(self) -> str:
        """Pairs kept, nouns rejected by reason, captions failed."""
        return counts_line(self.tally)

    def _render(self) -> Group:
        return Group(self._bar, Text(", ".join(part for part in (self.pace(), self.counts()) if part)))

    def _line(self) -> None:
        self._line_at = self._clock()
        done = f"{self._done + self.tally.captions:,} of {self._total:,} captions"
        parts = [part for part in (done, self.pace(), self.counts()) if part]
        self._console.print(Text("collecting: " + ", ".join(parts)), soft_wrap=True)


def note(text: str) -> None:
    """A line of its own, before there is anything to count."""
    Console().print(Text(f"collecting: {text}"), soft_wrap=True)


def counts_line(tally: Tally) -> str:
    """ "1,234 pairs, 45 nouns rejected (30 too small, 15 cut off), 2 captions failed"."""
    parts = [f"{tally.pairs:,} pairs"]
    rejected = tally.rejected.most_common()
    if rejected:
        named = [f"{n:,} {reason}" for reason, n in rejected[:_REASONS]]
        others = sum(n for _, n in rejected[_REASONS:])
        named += [f"{others:,} other"] if others else []
        parts.append(f"{tally.rejected.total():,} nouns rejected ({', '.join(named)})")
    if tally.failed:
        parts.append(f"{tally.failed:,} captions failed")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """ "45 s", "12 min", "3.5 h", "2.1 days"."""
    for unit, size, digits in (("days", 86400.0, 1), ("h", 3600.0, 1), ("min", 60.0, 0)):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"
