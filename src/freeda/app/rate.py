"""How often visitors may ask."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_VISITORS = 4096
"""Visitors whose requests are counted; with more at a time the ones seen longest ago start anew."""


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
