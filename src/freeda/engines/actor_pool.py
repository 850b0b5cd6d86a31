"""The workers of a run, what each is at, and what becomes of a piece whose worker died."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Protocol

from ..errors import WorkerError
from ..files import atomic_write_bytes
from . import Answer, Note, Order, Work, error_of

BEAT = 0.5
"""Seconds between two questions for the notes of a piece at work."""
DEATHS = 3
"""Workers that may die at one piece, or while they load, before the run stops."""


class Worker(Protocol):
    """A process that makes one piece after the other, here or elsewhere.

    Its answers are those of `engines.answering`: {"made"}, and where it shares no disk {"files": {path:
    bytes}, "notes"}; one that cannot come any more is an exception of `lost`.
    """

    number: int
    name: str
    there: bool
    """Whether it has begun."""
    lost: Any
    """Exceptions."""

    def ready(self) -> Future[Answer]: ...  # load what the work needs
    def make(self, piece: int, order: Order) -> Future[Answer]: ...
    def notes(self) -> list[Any]: ...  # those of its piece that have come so far
    def death(self, error: Exception) -> str: ...  # how it died
    def leave(self) -> None: ...  # nothing more is to be done, whatever it is at
    def end(self) -> None: ...  # see that it is gone


def make_all(
    work: Work,
    pieces: Sequence[Order],
    begin: Callable[[int], Worker],
    workers: int,
    on_made: Note,
    on_note: Note,
    on_wait: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Have every piece made as `Engine.share_out` says, by workers that `begin` begins, numbered from 0.

    One piece a worker is under way. Until the first worker is there, `on_wait` is told for how long.
    """
    waiting, left = deque(range(len(pieces))), len(pieces)
    calls: dict[Future[Answer], tuple[Worker, int | None]] = {}  # no piece: it loads
    crowd: dict[int, Worker] = {}
    idle: list[Worker] = []
    heard: Counter[int] = Counter()  # notes passed on; a piece that is made again tells the same ones again
    deaths: Counter[int | None] = Counter()
    began, there = time.monotonic(), False

    def hire(number: int) -> None:
        worker = crowd[number] = begin(number)
        calls[worker.ready()] = worker, None

    def hear(piece: int, notes: list[Any]) -> None:
        for note in notes[heard[piece] :]:
            heard[piece] += 1
            on_note(note)

    try:
        for number in range(min(workers, len(pieces))):
            hire(number)
        while left:
            while idle and waiting:
                worker, piece = idle.pop(), waiting.popleft()
                calls[worker.make(piece, pieces[piece])] = worker, piece
            done, _ = wait(calls, BEAT, FIRST_COMPLETED)
            for worker, at in calls.values():
                notes = worker.notes()
                there = there or worker.there
                if at is not None:
                    hear(at, notes)
            if not there and not done:
                on_wait(time.monotonic() - began)
            for call in done:
                worker, at = calls.pop(call)
                try:
                    answer = call.result()
                except worker.lost as error:
                    deaths[at] += 1
                    if deaths[at] >= DEATHS:
                        what = "while they loaded" if at is None else f"at {work.piece.format(**pieces[at])}"
                        raise WorkerError(
                            f"{DEATHS} workers died {what}: {worker.death(error)}; often memory ran out: "
                            f"fewer workers or a smaller batch size need less; {work.kept} are kept: run the "
                            "same again"
                        ) from error
                    worker.leave()
                    worker.end()
                    if at is not None:
                        waiting.appendleft(at)
                    hire(worker.number)
                    continue
                if "error" in answer:
                    raise error_of(answer, worker.name)
                if at is not None:
                    hear(at, answer.get("notes") or worker.notes())
                    for name, content in answer.get("files", {}).items():
                        atomic_write_bytes(work.out / name, content)
                    on_made(answer["made"])
                    left -= 1
                    deaths[None] = 0
                idle.append(worker)
    finally:
        for worker in crowd.values():
            worker.leave()
        for worker in crowd.values():
            worker.end()
