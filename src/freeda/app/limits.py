"""What the studio grants its visitors: every bound once, and the means to keep to them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Condition, RLock
from types import TracebackType
from typing import Generic, TypeVar

from ..errors import InputError

HOST, PORT = "127.0.0.1", 7860
"""Where the studio is served unless told otherwise: to this machine only."""

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Bounds of the studio. Raises InputError for a value below 1."""

    upload_megabytes: int = 50
    """Largest photograph that is taken, in megabytes (10**6 bytes)."""
    request_megabytes: int = 200
    """Photographs sent together, in megabytes."""
    megapixels: int = 100
    """Largest photograph that is decoded, in millions of pixels; its header tells."""
    working_megapixels: int = 4
    """What larger photographs are reduced to before they are labelled, in millions of pixels; files that are
    exported have the photograph's own size."""
    words: int = 200
    """Class names at a time; also fewer than the 255 labels that one byte tells apart."""
    letters: int = 8000
    """Characters of a word list, a caption or a search, in all."""
    workspaces: int = 100
    """Visitors' workspaces; the one that was used longest ago goes first."""
    pictures: int = 200
    """Photographs of a visitor's workspace."""
    minutes: int = 120
    """How long a visitor's workspace is kept after it was last used, and how long an exported file is."""
    folder_megabytes: int = 2000
    """Photographs sent by all visitors together, in megabytes; the oldest workspaces go first."""
    memory_megabytes: int = 1000
    """Encoded photographs of all visitors together, in megabytes of memory; more are encoded again when they
    are asked for."""
    waiting: int = 32
    """Requests that may wait for the models; more are told to come back."""
    requests_per_minute: int = 1800
    """Of one visitor (address), of any kind."""
    uploads_per_minute: int = 120
    """Requests that bring photographs, of one visitor (address)."""
    seconds: int = 120
    """How long one request may take to arrive, photographs included."""
    silent_seconds: int = 20
    """How long a connection may be open without a request, or with half a request's head."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        if self.words > 200:
            raise InputError(f"words is {self.words}: the studio tells at most 200 apart")


class Refused(InputError):
    """What a request cannot have, with the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Shelf(Generic[T]):
    """Things by key: at most `most` of them, or of what they `weigh` together, none longer than `seconds`
    after it was last used; `dropped` is told of every one that goes.

    Safe to use from several threads. `clock` gives seconds and never runs backwards.
    """

    def __init__(
        self,
        most: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        weigh: Callable[[T], int] = lambda _: 1,
        dropped: Callable[[T], None] = lambda _: None,
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._weigh, self._dropped = weigh, dropped
        self._kept: OrderedDict[Hashable, tuple[float, int, T]] = OrderedDict()  # last used last
        self._total = 0
        self._lock = RLock()

    def put(self, key: Hashable, value: T) -> None:
        """Keep `value`; what was there under `key` goes, and so does what is too much or too old, the last
        one put excepted.
        """
        with self._lock:
            self.drop(key)
            weight = self._weigh(value)
            self._kept[key] = (self._clock(), weight, value)
            self._total += weight
            self._tidy()

    def get(self, key: Hashable) -> T | None:
        """What is kept under `key`, or None; it counts as used."""
        with self._lock:
            self._tidy()
            if key not in self._kept:
                return None
            _, weight, value = self._kept[key]
            self._kept[key] = (self._clock(), weight, value)
            self._kept.move_to_end(key)
            return value

    def drop(self, key: Hashable) -> None:
        """Forget `key`, whether it is there or not."""
        with self._lock:
            if key in self._kept:
                _, weight, value = self._kept.pop(key)
                self._total -= weight
                self._dropped(value)

    def values(self) -> list[T]:
        """All that is kept, the last used last; none counts as used."""
        with self._lock:
            self._tidy()
            return [value for _, _, value in self._kept.values()]

    def __len__(self) -> int:
        return len(self.values())

    def _tidy(self) -> None:
        oldest = self._clock() - self._seconds
        while self._kept:
            key, (used, _, _) = next(iter(self._kept.items()))
            if used >= oldest and (self._total <= self._most or len(self._kept) == 1):
                break
            self.drop(key)


class Turns:
    """The models work for one at a time: `with turns:` for who waits, `with turns.behind:` for work that lets
    everybody pass.

    Raises Refused: 429 where more than `most` wait, 503 once it is `over`.
    """

    def __init__(self, most: int) -> None:
        self._most, self._waiting, self._busy, self.over = most, 0, False, False
        self._changed = Condition()
        self.behind = _Behind(self)

    def __enter__(self) -> None:
        self._begin(False)

    def _begin(self, last: bool) -> None:
        with self._changed:
            if not last:
                if self._waiting >= self._most:
                    raise Refused(429, "too many are waiting for the models: come back in a minute")
                self._waiting += 1
            try:
                self._changed.wait_for(lambda: self.over or not (self._busy or (last and self._waiting)))
                if self.over:
                    raise Refused(503, "the server is ending")
                self._busy = True
            finally:
                self._waiting -= not last

    def end(self, seconds: float) -> None:
        """Let nobody else work, and wait for who does, so long at most."""
        with self._changed:
            self.over = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy, seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()


class _Behind:
    def __init__(self, turns: Turns) -> None:
        self._begin, self._end = turns._begin, turns.__exit__

    def __enter__(self) -> None:
        self._begin(True)

    def __exit__(self, *how: object) -> None:
        self._end(None, None, None)
