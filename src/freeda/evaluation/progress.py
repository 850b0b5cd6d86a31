"""What a measurement shows of itself (see `progress`): images, pace, and the mIoU so far."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.console import Console

from ..progress import RunProgress, duration
from .counts import Counts


class ImageProgress(RunProgress):
    """Images done out of all, seconds an image, time left, and the mIoU so far.

    The mIoU is that of all parts done, those of earlier runs included; the pace is this run's.
    """

    def __init__(
        self,
        total: int,
        show: bool,
        console: Console | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__("evaluating", "images", show, console, clock)
        self._total = total
        self._began = self._last = self._line_at
        self._done = self._made = self._scored = 0
        self._miou = float("nan")
        self._task = self._bar.add_task("evaluating", total=total)
        self._other = self._bar.add_task("", total=None, visible=False)
        self._stage = ""

    def stage(self, name: str, done: int = 0, total: int | None = None) -> None:
        """What is done before or after the images: "checking", so many of so many."""
        self._bar.update(self._task, visible=False)
        self._bar.update(self._other, description=name, completed=done, total=total, visible=True)
        if name != self._stage:
            self._note(name)
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
        self._line_if_due()

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

    def _done_of(self) -> str:
        return f"{self._done:,} of {self._total:,} images" if self._made else ""
