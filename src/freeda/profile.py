"""Where the time goes: seconds by stage, kept by an object that is handed along."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

_NOTHING: AbstractContextManager[None] = nullcontext()


@dataclass
class Stage:
    """What a clock knows of one stage."""

    name: str
    seconds: float = 0.0
    calls: int = 0
    beside: bool = False
    """Ran in another thread, beside the rest: not part of the total."""


class Clock:
    """Adds up seconds by stage: `with clock("clip"): ...`. Switched off it costs one call a mark.

    Stages of one thread must not lie within each other, or they would be counted twice.
    """

    def __init__(self, on: bool = True) -> None:
        self.on = on
        self.settle: Callable[[], None] | None = None
        """Called at a stage's end, before its time is read: waits for what an accelerator still computes."""
        self._began = time.perf_counter()
        self._stages: dict[str, Stage] = {}
        self._lock = Lock()

    def __call__(self, stage: str, beside: bool = False) -> AbstractContextManager[None]:
        """Time the block as `stage`; `beside` marks another thread's work that the rest does not wait for."""
        return self._timed(stage, beside) if self.on else _NOTHING

    def __reduce__(self) -> tuple[Any, ...]:
        """It stays in its process: a copy counts nothing."""
        return Clock, (False,)

    @contextmanager
    def _timed(self, stage: str, beside: bool) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            if self.settle is not None and not beside:
                self.settle()
            self.add(stage, time.perf_counter() - start, beside)

    def add(self, stage: str, seconds: float, beside: bool = False) -> None:
        """Count that many more seconds for a stage; any thread may call it."""
        if self.on:
            with self._lock:
                entry = self._stages.setdefault(stage, Stage(stage, beside=beside))
                entry.seconds += seconds
                entry.calls += 1

    @property
    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._began

    def stages(self) -> list[Stage]:
        """The stages in the order in which they were first met, then "other": what no mark covered.

        All but those `beside` add up to the seconds since the clock was made.
        """
        with self._lock:
            found = list(self._stages.values())
        rest = self.elapsed - sum(s.seconds for s in found if not s.beside)
        return [*found, Stage("other", max(rest, 0.0), 1)]


def peak_memory() -> int:
    """Bytes: the most that this process has held in main memory; 0 where the system does not tell."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # not a POSIX system
        return 0
    found = getrusage(RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


OFF = Clock(on=False)
"""The clock that counts nothing."""
