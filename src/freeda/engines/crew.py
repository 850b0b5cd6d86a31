"""The actors of a run, what each is at, and what becomes of a piece whose actor died."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ..errors import FreedaError, InputError, ModelError, WorkerError, counted
from ..files import atomic_write_bytes
from . import Note, Order, Work, environment, error_of
from .actor import Actor, Answer
from .cluster import resources

BEAT = 2.0
"""Seconds between two questions for the notes of a piece at work."""
DEATHS = 3
"""Workers that may die at one piece, or while they load, before the run stops."""
PATIENCE = 900.0
"""Seconds that the first worker may take to be there; what it then loads takes as long as it takes."""
TOLD = 120.0
"""Seconds without any worker after which that is told of; at once where the cluster lacks what one needs."""
_GOODBYE = 2.0  # seconds that workers have to clean up after themselves


@dataclass(frozen=True)
class _Call:
    """Something that an actor was asked."""

    actor: Any
    piece: int | None
    """None: to get ready."""
    aside: bool = False
    """Asked for the notes only."""


class Crew:
    """Ray must be connected. One piece a worker is under way, the others wait here."""

    def __init__(self, work: Work, first: Order, pieces: Sequence[Order], gpus: float) -> None:
        """`first` is complete but for "out"; "threads" CPUs and `gpus` (a share of one) go to each worker."""
        import ray

        self._ray, self._given, self._pieces = ray, work, pieces
        self._needs = first["threads"], gpus
        self._each = counted(first["threads"], "CPU")
        self._each += f" and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else ""
        reads = ray.put({name: (work.out / name).read_bytes() for name in work.reads})
        kind = ray.remote(
            num_cpus=first["threads"],
            num_gpus=gpus,
            max_restarts=0,  # this process knows what the dead one was at, and begins another
            concurrency_groups={"aside": 1},  # a second thread, to ask while the first one works
            runtime_env={"env_vars": environment(first["threads"])},
        )(Actor)
        self._begin = lambda: kind.remote(work.module, first, reads)
        self._actors: list[Any] = []
        self._idle: list[Any] = []
        self._waiting = deque(range(len(pieces)))
        self._calls: dict[Any, _Call] = {}
        self._heard: Counter[int | None] = Counter()
        """Piece -> notes passed on; a piece that is made again tells the same ones again."""
        self._deaths: Counter[int | None] = Counter()

    def work(self, workers: int, on_made: Note, on_note: Note) -> None:
        """Have every piece made. Errors as `engines.Engine.share_out` says."""
        for _ in range(workers):
            self._hire()
        left, began = len(self._pieces), time.monotonic()
        asked, there, told = began, False, False
        patience = TOLD if resources().fit(*self._needs) else 0.0
        while left:
            done, _ = self._ray.wait(list(self._calls), timeout=BEAT)
            for ref in done:
                call = self._calls.pop(ref)
                answer = self._answer(ref, call)
                if answer is None:
                    continue
                there = True
                if call.piece is not None:
                    self._hear(call.piece, answer, on_note)
                if call.aside:
                    continue
                if call.piece is not None:
                    for name, content in answer["files"].items():
                        atomic_write_bytes(self._given.out / name, content)
                    on_made(answer["made"])
                    left -= 1
                    self._deaths[None] = 0
                self._idle.append(call.actor)
                self._employ()
            if time.monotonic() - asked >= BEAT:
                self._ask_for_notes()
                asked = time.monotonic()
            waited = time.monotonic() - began
            if not there and waited >= PATIENCE:
                raise WorkerError(f"no worker was there after {PATIENCE:.0f} s: {self._shortage()}")
            if not there and not told and waited >= patience:
                print(f"no room for a worker yet: {self._shortage()}", file=sys.stderr, flush=True)
                told = True

    def dismiss(self) -> None:
        """End all of them, whatever they are at."""
        goodbyes = []
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                goodbyes.append(actor.leave.options(concurrency_group="aside").remote())
        if goodbyes:
            self._ray.wait(goodbyes, num_returns=len(goodbyes), timeout=_GOODBYE)
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def _hire(self) -> None:
        actor = self._begin()
        self._actors.append(actor)
        self._calls[actor.ready.remote(version("freeda"))] = _Call(actor, None)
        self._ask(actor, None)  # answered as soon as it is there, before anything is loaded

    def _employ(self) -> None:
        """Give waiting pieces to idle actors."""
        while self._idle and self._waiting:
            actor, piece = self._idle.pop(), self._waiting.popleft()
            self._calls[actor.make.remote(piece, self._pieces[piece])] = _Call(actor, piece)

    def _answer(self, ref: Any, call: _Call) -> Answer | None:
        """What an actor answered; None where it died, and another is to take its place."""
        try:
            answer: Answer = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            if not call.aside:
                self._bury(call, error)
            return None
        if "error" in answer:
            raise error_as_told(answer)
        return answer

    def _bury(self, call: _Call, error: Exception) -> None:
        """An actor is dead, or its node is, or its answer was lost with that."""
        self._actors.remove(call.actor)
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(call.actor)
        self._deaths[call.piece] += 1
        if self._deaths[call.piece] >= DEATHS:
            what = "while it loaded" if call.piece is None else "at the same piece of work"
            raise WorkerError(
                f"a worker died {DEATHS} times {what} ({_reason(error)}); often memory ran out: fewer "
                f"workers or a smaller batch size need less; {self._given.kept} are kept: run "
                "the same again"
            ) from error
        if call.piece is not None:
            self._waiting.appendleft(call.piece)
        self._hire()
        self._employ()

    def _hear(self, piece: int, answer: Answer, on_note: Note) -> None:
        """Pass on what of these notes is new."""
        for note in answer["notes"][max(0, self._heard[piece] - answer["since"]) :]:
            self._heard[piece] += 1
            on_note(note)

    def _ask_for_notes(self) -> None:
        busy = {c.piece: c.actor for c in self._calls.values() if c.piece is not None and not c.aside}
        asked = {c.piece for c in self._calls.values() if c.aside}
        for piece, actor in busy.items():
            if piece in asked:  # and has not answered yet
                continue
            self._ask(actor, piece)

    def _ask(self, actor: Any, piece: int | None) -> None:
        ask = actor.notes.options(concurrency_group="aside")
        self._calls[ask.remote(piece, self._heard[piece])] = _Call(actor, piece, aside=True)

    def _shortage(self) -> str:
        """What a worker needs and what there is, where none has come yet."""
        in_all = resources()
        return (
            f"each asks for {self._each} of one node, and the Ray cluster has {in_all.cpus} CPUs and "
            f"{in_all.gpus:g} GPUs in all; `ray status` tells what is in use"
        )


def error_as_told(answer: Answer) -> FreedaError:
    """The error that an actor answered with; one of another machine says so."""
    host, where = answer["host"], ""
    if host != socket.gethostname():
        where = f" (on {host})"
        if answer["error"]["kind"] in (InputError.__name__, ModelError.__name__):
            where = f" (on {host}: files and folders that are named must be there on every node)"
    return error_of(answer["error"], "a worker", where)


def _reason(error: Exception) -> str:
    """Ray's account of a death, in few words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "because" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {told.split('. ')[0]}"[:200]
