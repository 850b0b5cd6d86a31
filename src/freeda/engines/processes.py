"""The local engine: worker processes of this machine, spawned by `multiprocessing`, each with a pipe.

A pool of `concurrent.futures` tells of a death neither whose it was nor at which piece, passes on no notes
and ends no busy worker. A worker runs freeda alone: a script without a `__main__` guard or a notebook is
never run again. It ends at once with the process that gave the orders, however that dies. A piece is written
whole or not at all, so nothing is lost but the one at hand.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from threading import RLock, Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from . import Answer, Engine, Note, Order, Work, answering, environment
from .actor_pool import make_all

if TYPE_CHECKING:
    import torch


class Processes(Engine):
    """Worker processes, each with models of its own and its share of the processor's threads."""

    def __init__(self, device: str | torch.device, workers: int | None) -> None:
        """Raise InputError as `deal_devices`."""
        self.devices = deal_devices(device, workers)
        self.device = self.devices[0]
        self.here = len(self.devices) == 1
        self.about: dict[str, Any] = {"devices": self.devices}

    def dtype(self, name: str | torch.dtype) -> torch.dtype:
        import torch

        from ..precision import choose_dtype

        return choose_dtype(name, torch.device(self.device))

    def drawing_dtype(self, name: str | torch.dtype | None) -> torch.dtype:
        """See `Engine`: in half precision only where no worker is on a CPU."""
        import torch

        from ..precision import drawing_dtype

        unasked = torch.device("cpu" if "cpu" in self.devices else self.device)
        return drawing_dtype(None, unasked) if name is None else self.dtype(name)

    def share_out(self, work: Work, pieces: Sequence[Order], on_made: Note, on_note: Note) -> None:
        import torch

        threads = max(1, torch.get_num_threads() // len(self.devices))

        def begin(number: int) -> _Worker:
            own = {"device": self.devices[number], "threads": threads, "out": str(work.out)}
            return _Worker(number, work.module, {**work.first, **own})

        make_all(work, pieces, begin, len(self.devices), on_made, on_note)


def deal_devices(device: str | torch.device, workers: int | None) -> list[str]:
    """The device of each worker, dealt in turn; InputError for one not there or without a worker."""
    import torch

    from ..precision import choose_device

    names = [name.strip() for name in str(device).split(",") if name.strip()]
    if names == ["auto"] and workers is not None and workers > 1 and torch.cuda.is_available():
        names = [f"cuda:{i}" for i in range(min(workers, torch.cuda.device_count()))]
    names = [str(choose_device(name)) for name in names or ["auto"]]
    count = len(names) if workers is None else workers
    if count < len(names):
        raise InputError(f"{len(names)} devices need as many workers: workers is {count}")
    return [names[i % len(names)] for i in range(count)]


class _Worker:
    """A running worker process (see `actor_pool.Worker`)."""

    there = True
    lost = (EOFError, OSError)

    def __init__(self, number: int, module: str, first: Order) -> None:
        self.number, self.name = number, f"worker {number + 1} on {first['device']}"
        handle, said = tempfile.mkstemp(prefix="freeda-said-")
        self._words, self._said, self._notes = os.fdopen(handle, "rb"), Path(said), list[Any]()
        context = get_context("spawn")
        self._orders, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, said, module, first), daemon=True)
        with _alone():
            self.process.start()
        theirs.close()  # so that this end hears when the other one is gone
        self._asking = ThreadPoolExecutor(1)

    def ready(self) -> Future[Answer]:
        return self._asking.submit(self._answer)

    def make(self, piece: int, order: Order) -> Future[Answer]:
        self._notes = []
        return self._asking.submit(self._answer, order)

    def _answer(self, *orders: Order) -> Answer:
        for order in orders:
            self._orders.send(order)
        while "note" in (answer := self._orders.recv()):
            self._notes.append(answer["note"])
        return answer

    def notes(self) -> list[Any]:
        return self._notes

    def death(self, error: Exception) -> str:
        self.process.join(5)
        code = self.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        lines = self._words.read().decode("utf-8", "replace").strip().splitlines()
        return f"{self.name} {how}" + (f" ({lines[-1][:200]})" if lines else "")

    def leave(self) -> None:
        self.process.kill()

    def end(self) -> None:
        self.process.join()
        self._asking.shutdown()
        self._orders.close()
        self._words.close()
        self._said.unlink(missing_ok=True)


@contextmanager
def _alone() -> Iterator[None]:
    """A process begun in this block does not run the user's script, and never hears Ctrl-C in a terminal."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        if sys.platform == "win32":
            yield
            return
        resource_tracker.ensure_running()  # which would else begin in this block, and hear again
        heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    finally:
        sys.modules["__main__"] = main


def _serve(orders: Connection, said: str, module: str, first: Order) -> None:
    """Be a worker, until nobody gives orders any more."""
    handle = os.open(said, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)  # whatever libraries print is nobody's business, but for the last words
    os.dup2(handle, 2)
    with suppress(OSError):
        Path(said).unlink()  # both have it open: nothing is left, whoever is killed
    parent = parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        parent.join()
        os._exit(1)

    Thread(target=leave_with_parent, daemon=True).start()
    os.environ.update(environment(first["threads"]))

    @answering
    def load() -> Answer:
        import torch
        from tqdm import tqdm

        tqdm.set_lock(RLock())  # its own is the system's, of which a killed process leaves something behind
        torch.set_num_threads(first["threads"])
        return {"work": import_module(module).begin(first)}

    @answering
    def make(order: Order) -> Answer:
        return {"made": work(order, lambda note: orders.send({"note": note}))}

    with suppress(EOFError, OSError):
        work = (loaded := load()).pop("work", None)
        orders.send(loaded)
        while work:
            orders.send(make(orders.recv()))
