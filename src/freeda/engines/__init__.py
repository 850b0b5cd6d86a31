"""What shares out the pieces of a long run: worker processes of this machine, or Ray's actors on a cluster.

A kind of work is a module with one function, `begin(first) -> make`: it loads what the work needs and returns
`make(order, note) -> made`, which does one piece and keeps it in files under the folder first["out"]. Such a
function knows nothing of who calls it. Orders, notes and what was made are JSON values. A piece depends on
nothing but its order and the first one, so every engine makes the same files.
"""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors
from ..errors import FreedaError, InputError, ModelError, WorkerError

if TYPE_CHECKING:
    import torch

ENGINES = ("local", "ray")
# A thread that waits for others soon sleeps: by its own default torch's holds its core for a millisecond and
# more, which on a busy machine keeps those from running that it waits for. Sleeping at once slows a quiet
# machine, so GNU's runtime, torch's on Linux, first looks 2000 times, some 0.01 ms (docs/speed.md).
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
WAITING = (*_PASSIVE, "KMP_BLOCKTIME")
"""Environment variables that say how threads wait for each other; read once, when torch is loaded."""
Order = dict[str, Any]
Note = Callable[[Any], None]
Make = Callable[[Order, Note], Any]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """What all workers of a run are told."""

    module: str
    """The kind of work: "freeda.collection.runner"."""
    first: Order
    """What the run is about. A worker's own has "device", "threads" and "out" besides."""
    out: Path
    """The folder that the pieces' files end up in."""
    kept: str
    """What is not lost when a worker dies, as its error says: "shards made so far"."""
    reads: tuple[str, ...] = ()
    """Files of `out` that workers read."""
    piece: str = "the same piece"
    """How errors name a piece, filled in from its order: "shard {index}"."""


class Engine(ABC):
    """Who does the work."""

    here: bool
    """Whether this process may as well do it alone."""
    device: str
    """The device of models that this process loads itself."""
    about: dict[str, Any]
    """What a report says of it, as JSON values."""

    @abstractmethod
    def dtype(self, name: str | torch.dtype) -> torch.dtype:
        """Return what the workers compute in, see `precision.choose_dtype`."""

    @abstractmethod
    def drawing_dtype(self, name: str | torch.dtype | None) -> torch.dtype:
        """Return what they draw in, see `precision.drawing_dtype`: one for all of them."""

    @abstractmethod
    def share_out(self, work: Work, pieces: Sequence[Order], on_made: Note, on_note: Note) -> None:
        """Have all pieces made, each by the next worker that is free.

        `on_made` and `on_note` get what a worker says of a finished piece, whose files are then in
        `work.out`, and in between. Where a worker dies, another begins and the piece is made again; three
        deaths at one piece are a WorkerError that names it. The first error of a worker ends all of them and
        is raised as it would be without workers. Nobody is left behind, however this ends.
        """


def find_engine(
    name: str, device: str | torch.device, workers: int | None, gpus_per_worker: float = 1.0
) -> Engine:
    """Return the engine of that name (`ENGINES`) with so many workers; nothing is started yet.

    Raises InputError for an unknown one, for a device that is not there, for numbers that cannot be, and
    where Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}: it must be at least 1")
    if name == "ray":
        from .on_ray import OnRay

        return OnRay(device, workers, gpus_per_worker)
    if name != "local":
        raise InputError(f"unknown engine '{name}': use {' or '.join(ENGINES)}")
    from .processes import Processes

    return Processes(device, workers)


def waiting() -> dict[str, str]:
    """How threads are to wait, as environment variables: those of `WAITING` that the user set, else ours."""
    return {name: os.environ[name] for name in WAITING if name in os.environ} or dict(_PASSIVE)


def environment(threads: int) -> dict[str, str]:
    """What the environment of a worker with so many threads has besides."""
    return {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", **waiting()}


def answering(work: Callable[..., Answer]) -> Callable[..., Answer]:
    """Make a worker's function answer an error: {"error": {"kind" (None: not ours), "text"}, "host"}."""

    @wraps(work)
    def answer(*given: Any) -> Answer:
        try:
            return work(*given)
        except BaseException as error:
            kind = type(error).__name__ if isinstance(error, FreedaError) else None
            text = str(error) if kind else f"{type(error).__name__}: {error}"
            return {"error": {"kind": kind, "text": text}, "host": socket.gethostname()}

    return answer


def error_of(answer: Answer, worker: str) -> FreedaError:
    """Return the error that a worker answered with, as this process raises it; another machine's says so."""
    told, host, where = answer["error"], answer["host"], ""
    if host != socket.gethostname():
        where = f" (on {host})"
        if told["kind"] in (InputError.__name__, ModelError.__name__):
            where = f" (on {host}: files and folders that are named must be there on every node)"
    kind = getattr(errors, told["kind"] or "", None)
    if isinstance(kind, type) and issubclass(kind, FreedaError):
        return kind(told["text"] + where)
    return WorkerError(f"{worker} failed: {told['text']}{where}")
