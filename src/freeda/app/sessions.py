"""What the page remembers of its visitors: so much and so long, no more."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Things by key: at most `most` of them, none longer than `seconds` after it was last used.

    Safe to use from several threads. `clock` gives seconds and never runs backwards.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()  # last used last
        self._lock = Lock()

    def put(self, key: Hashable, value: T) -> None:
        """Keep `value`; what was there under `key` goes, and so does what is too much or too old."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (self._clock(), value)
            self._tidy()

    def get(self, key: Hashable) -> T | None:
        """What is kept under `key`, or None; it counts as used."""
        with self._lock:
            self._tidy()
            if key not in self._kept:
                return None
            _, value = self._kept.pop(key)
            self._kept[key] = (self._clock(), value)
            return value

    def drop(self, key: Hashable) -> None:
        """Forget `key`, whether it is there or not."""
        with self._lock:
            self._kept.pop(key, None)

    def __len__(self) -> int:
        with self._lock:
            self._tidy()
            return len(self._kept)

    def _tidy(self) -> None:
        oldest = self._clock() - self._seconds
        while self._kept:
            key, (used, _) = next(iter(self._kept.items()))
            if used >= oldest and len(self._kept) <= self._most:
                break
            del self._kept[key]
