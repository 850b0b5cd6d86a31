"""The progress bar of a collecting run."""

from __future__ import annotations

from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class CaptionProgress:
    """Counts captions done out of all, and pairs found; silent when not shown."""

    def __init__(self, total: int, done: int, show: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("captions"),
            TextColumn("{task.fields[pairs]:,} new pairs"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            disable=not show,
        )
        self._task = self._progress.add_task("collecting", total=total, completed=done, pairs=0)
        self._pairs = 0

    def __enter__(self) -> CaptionProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, captions: int) -> None:
        """Count that many more captions as done."""
        self._progress.advance(self._task, captions)

    def found(self, pairs: int) -> None:
        """Count that many more pairs as found."""
        self._pairs += pairs
        self._progress.update(self._task, pairs=self._pairs)
