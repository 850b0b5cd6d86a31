"""What a collecting run shows of itself (see `progress`): captions, pace, pairs and rejections."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from ..progress import RunProgress, duration
from .shard import Tally

_REASONS = 4  # reasons named; the others are one number
_CROWDED = (
    "memory was too small for a batch, which is drawn one by one instead: a smaller batch_size, or "
    "vae_slicing=true, would be faster"
)


class CaptionProgress(RunProgress):
    """Captions done out of all, images a second, time left, pairs kept and nouns rejected.

    Rates and counts are those of this run: what an earlier one did counts as done only.
    """

    def __init__(
        self,
        total: int,
        done: int,
        show: bool,
        console: Console | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__("collecting", "captions", show, console, clock)
        self.tally = Tally()
        """What became of the captions of this run."""
        self._total, self._done = total, done
        self._began: float | None = None
        self._task = self._bar.add_task("collecting", total=total, completed=done)

    def count(self, tally: Tally) -> None:
        """Count one more batch."""
        if self._began is None:  # models are loaded by now
            self._began = self._clock()
        self.tally.add(tally)
        self._bar.update(self._task, completed=self._done + self.tally.captions)
        if self._show and tally.crowded and self.tally.crowded == tally.crowded:  # the first time
            self._console.print(Text(f"{self._verb}: {_CROWDED}"), soft_wrap=True)
        self._line_if_due()

    def said(self) -> str:
        """Images a second and the time left, as far as they can be told yet; then the counts."""
        passed = self._clock() - self._began if self._began is not None else 0.0
        if passed <= 0 or not self.tally.captions:
            return counts_line(self.tally)
        left = duration((self._total - self._done - self.tally.captions) * passed / self.tally.captions)
        return f"{self.tally.pictures / passed:.3g} images/s, {left} left, {counts_line(self.tally)}"

    def _done_of(self) -> str:
        done = self._done + self.tally.captions
        return "" if self._began is None else f"{done:,} of {self._total:,} captions"


def note(text: str) -> None:
    """A line of its own, before there is anything to count."""
    Console().print(Text(f"collecting: {text}"), soft_wrap=True)


def counts_line(tally: Tally) -> str:
    """ "1,234 pairs, 45 nouns rejected (30 too small, 15 cut off), 2 captions failed"."""
    told, named = f"{tally.pairs:,} pairs", tally.rejected.most_common(_REASONS)
    if named:
        others = tally.rejected.total() - sum(n for _, n in named)
        reasons = [f"{n:,} {reason}" for reason, n in (*named, *([("other", others)] if others else []))]
        told += f", {tally.rejected.total():,} nouns rejected ({', '.join(reasons)})"
    return told + (f", {tally.failed:,} captions failed" if tally.failed else "")
