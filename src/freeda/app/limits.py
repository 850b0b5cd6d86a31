"""What the web page grants its visitors: every bound once, and the means to keep to them."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from ..errors import InputError

HOST, PORT = "127.0.0.1", 7860
"""Where the page is served unless told otherwise: to this machine only."""
_VISITORS = 4096
"""Visitors whose requests are counted; with more at a time the ones seen longest ago start anew."""

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Bounds of the web page. Raises InputError for a value below 1."""

    upload_megabytes: int = 20
    """Largest photograph that is taken, in megabytes (10**6 bytes)."""
    megapixels: int = 16
    """Largest photograph that is taken, in millions of pixels."""
    words: int = 100
    """Class names at a time; also fewer than the 256 labels that one byte holds."""
    letters: int = 4000
    """Characters of a word list, a caption or a search, in all."""
    scenes: int = 8
    """Photographs kept encoded, of all visitors together; the one that was used longest ago goes first. Each
    takes some 7 bytes a pixel, and what the encoders make of it."""
    minutes: int = 30
    """How long an encoded photograph is kept after it was last used, and how long a file is."""
    folder_megabytes: int = 500
    """Files of all visitors together, in megabytes; the oldest go first."""
    waiting: int = 32
    """Requests that may wait for the models; more are told to come back."""
    requests_per_minute: int = 900
    """Of one visitor (address), of any kind: labelling while somebody types takes some ten a second."""
    uploads_per_minute: int = 30
    """Of one visitor (address)."""
    seconds: int = 120
    """How long one request may take to arrive, a photograph included."""
    silent_seconds: int = 20
    """How long a connection may be open without a request, or with half a request's head."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        if self.words > 255:
            raise InputError(f"words is {self.words}: the page draws at most 255")


class Rate:
    """At most so many a minute and visitor; the minute slides."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = per_minute, clock
        self._seen: dict[str, deque[float]] = {}

    def allows(self, who: str) -> bool:
        """Whether one more is granted; if so it counts."""
        now = self._clock()
        times = self._seen.pop(who, None) or deque()
        self._seen[who] = times  # last seen last
        while len(self._seen) > _VISITORS:
            del self._seen[next(iter(self._seen))]
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= self._most:
            return False
        times.append(now)
        return True


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
            value = self._kept[key][1]
            self._kept[key] = (self._clock(), value)
            self._kept.move_to_end(key)
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
