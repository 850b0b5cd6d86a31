"""What shares out the pieces of a long run: worker processes of this machine, or Ray's actors on a cluster.

A kind of work is a module with one function, `begin(first) -> make`: it loads what the work needs and returns
`make(order, note) -> made`, which does one piece and keeps it in files under the folder first["out"]. Such a
function knows nothing of who calls it. Orders, notes and what was made are JSON values. A piece depends on
nothing but its order and the first one, so every engine makes the same files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .. import errors
from ..errors import FreedaError, InputError, WorkerError

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


@dataclass(frozen=True)
class Work:
    """What all workers of a run are told."""

    module: str
    """The kind of work: "freeda.collect.worker"."""
    first: Order
    """What the run is about. A worker's own has "device", "threads" and "out" besides."""
    out: Path
    """The folder that the pieces' files end up in."""
    kept: str
    """What is not lost when a worker dies, as its error says: "shards made so far"."""
    reads: tuple[str, ...] = ()
    """Files of `out` that workers read."""


class Engine(Protocol):
    """Who does the work."""

    @property
    def here(self) -> bool:
        """Whether this process may as well do it alone."""

    @property
    def device(self) -> str:
        """The device of models that this process loads itself."""

    @property
    def about(self) -> dict[str, Any]:
        """What a report says of it, as JSON values."""

    def dtype(self, name: str | torch.dtype) -> torch.dtype:
        """What the workers compute in, see `precision.choose_dtype`."""

    def drawing_dtype(self, name: str | torch.dtype | None) -> torch.dtype:
        """What they draw in, see `precision.drawing_dtype`: one for all of them."""

    def share_out(self, work: Work, pieces: Sequence[Order], on_made: Note, on_note: Note) -> None:
        """Have all pieces made, each by the next worker that is free.

        `on_made` and `on_note` get what a worker says of a finished piece, whose files are then in
        `work.out`, and in between. The first error of a worker ends all of them and is raised as it would be
        without workers; WorkerError where one died and no other could take its place. Nobody is left behind,
        however this ends.
        """


def find_engine(
    name: str, device: str | torch.device, workers: int | None, gpus_per_worker: float = 1.0
) -> Engine:
    """The engine of that name (`ENGINES`) with so many workers; nothing is started yet.

    Raises InputError for an unknown one, for a device that is not there, and where Ray is not installed.
    """
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


def tell_error(error: BaseException) -> dict[str, Any]:
    """An error as a worker tells of it: its kind, if it is one of freeda's, and its line."""
    kind = type(error).__name__ if isinstance(error, FreedaError) else None
    return {"kind": kind, "text": str(error) if kind else f"{type(error).__name__}: {error}"}


def error_of(told: dict[str, Any], worker: str, where: str = "") -> FreedaError:
    """The error that a worker told of, as this process raises it; `where` is added to its line."""
    kind = getattr(errors, told["kind"] or "", None)
    if isinstance(kind, type) and issubclass(kind, FreedaError):
        return kind(told["text"] + where)
    return WorkerError(f"{worker} failed: {told['text']}{where}")
