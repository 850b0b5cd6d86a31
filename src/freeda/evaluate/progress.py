"""What a measurement shows of itself: a bar on a terminal's stderr, else now and then a line on stdout."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from ..collect.progress import LINE_EVERY, duration
from .counts import Counts


class ImageProgress:
    """Images done out of all, seconds an image, time left, and the mIoU so far.

    The mIoU is that of all parts done, those of earlier runs included; the pace is this run's.
    """

    def __init__(
        self,
        total: int,
        show: bool,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._show = total, show
        self._console = console or Console(stderr=True)
        if console is None and not self._console.is_terminal:
            self._console = Console()  # stderr is for errors there
        self._clock = clock
        self._began = self._last = self._line_at = clock()
        self._done = self._made = self._scored = 0
        self._miou = float("nan")
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images")
        )
        self._task = self._bar.add_task("evaluating", total=total)
        self._other = self._bar.add_task("", total=None, visible=False)
        self._stage = ""
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)

    def __enter__(self) -> ImageProgress:
        if self._show and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live.is_started:
            self._live.stop()
        elif self._show and self._made:
            self._line()

    def stage(self, name: str, done: int = 0, total: int | None = None) -> None:
        """What is done before or after the images: "checking", so many of so many."""
        self._bar.update(self._task, visible=False)
        self._bar.update(self._other, description=name, completed=done, total=total, visible=True)
        if self._show and not self._console.is_terminal and name != self._stage:
            self._console.print(Text(f"evaluating: {name}"), soft_wrap=True)
        self._stage = name

    def image(self, seconds: float) -> None:
        """One more image is labelled, which took so long."""
        self._last = self._clock()
        if self._made == 0:
            self._began = self._last - seconds  # models are loaded by now
            self._bar.update(self._other, visible=False)
            self._bar.update(self._task, visible=True)
        self._made += 1
        self._done += 1
        self._bar.update(self._task, advance=1)
        lines = self._show and not self._console.is_terminal
        if lines and self._clock() - self._line_at >= LINE_EVERY:
            self._line()

    def part(self, counts: Counts, images: int, *, earlier: bool = False) -> None:
        """So far so many images are counted; `earlier`: by another run."""
        self._miou, self._scored = counts.miou(), images
        if earlier:
            self._done = images
            self._bar.update(self._task, completed=images)

    def said(self) -> str:
        """ "0.52 s/image, 12 min left, mIoU 0.431 (120 images)", as far as it can be told yet."""
        parts = []
        if self._made:
            each = (self._last - self._began) / self._made
            left = self._total - self._done
            parts.append(f"{each:.3g} s/image" + (f", {duration(each * left)} left" if left else ""))
        if not np.isnan(self._miou):
            parts.append(f"mIoU {self._miou:.3f} ({self._scored:,} images)")
        return ", ".join(parts)

    def _render(self) -> Group:
        return Group(self._bar, Text(self.said()))

    def _line(self) -> None:
        self._line_at = self._clock()
        done = f"{self._done:,} of {self._total:,} images"
        self._console.print(Text(f"evaluating: {done}, {self.said()}"), soft_wrap=True)
