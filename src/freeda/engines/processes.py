"""The local engine: worker processes of this machine.

They are started as programs of their own that talk in JSON lines, not forked or spawned by `multiprocessing`:
a script without a `__main__` guard or a notebook is never run again, and nothing is pickled.

A worker reads orders from its standard input and answers on its standard output. The first order says what
the run is about, every further one is a piece of work. Answers are {"ready"}, {"note": ...} as often as it
likes, {"made": ...} for a finished piece and, at the end of it all, {"error": {"kind", "text"}}. The end of
the input means that nobody waits for an answer any more, be it that the work is done or that the process that
gave it is dead: the worker then ends at once. A piece is written whole or not at all, so nothing is lost but
the one at hand.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, WorkerError
from . import Note, Order, Work, environment, error_of, tell_error

if TYPE_CHECKING:
    import torch

_PATIENCE = 5.0  # seconds that a worker has to end before it is killed


class Processes:
    """Worker processes, each with models of its own and its share of the processor's threads."""

    def __init__(self, device: str | torch.device, workers: int | None) -> None:
        """Raises InputError as `deal_devices`."""
        self.devices = deal_devices(device, workers)
        self.device = self.devices[0]
        self.here = len(self.devices) == 1
        self.about: dict[str, Any] = {"devices": self.devices}

    def dtype(self, name: str | torch.dtype) -> torch.dtype:
        """See `engines.Engine`."""
        import torch

        from ..precision import choose_dtype

        return choose_dtype(name, torch.device(self.device))

    def drawing_dtype(self, name: str | torch.dtype | None) -> torch.dtype:
        """See `engines.Engine`: in half precision unasked only where no worker is on a CPU."""
        import torch

        from ..precision import drawing_dtype

        unasked = "cpu" if "cpu" in self.devices else self.device
        return drawing_dtype(None, torch.device(unasked)) if name is None else self.dtype(name)

    def share_out(self, work: Work, pieces: Sequence[Order], on_made: Note, on_note: Note) -> None:
        """See `engines.Engine`."""
        threads = max(1, _threads() // len(self.devices))
        waiting, left = deque(pieces), len(pieces)
        said: queue.Queue[tuple[_Worker, Order | None]] = queue.Queue()
        workers: list[_Worker] = []
        try:
            for number, device in enumerate(self.devices[:left], 1):
                workers.append(_Worker(f"worker {number} on {device}", program(work.module), threads, said))
                own = {"device": device, "threads": threads, "out": str(work.out)}
                workers[-1].order({**work.first, **own})
            while left:
                worker, message = said.get()
                if message is None:
                    raise worker.death(work.kept)
                if "error" in message:
                    raise error_of(message["error"], worker.name)
                if "note" in message:
                    on_note(message["note"])
                    continue
                if "made" in message:
                    left -= 1
                    on_made(message["made"])
                if waiting:
                    worker.order(waiting.popleft())
        finally:
            for worker in workers:
                worker.dismiss()
            for worker in workers:
                worker.wait()


def deal_devices(device: str | torch.device, workers: int | None) -> list[str]:
    """The device of each worker: those named ("cuda:0,cuda:1"), dealt in turn; all of them for "auto".

    Without `workers` there is one for every device named. Raises InputError for a device that is not there,
    and for fewer workers than devices.
    """
    import torch

    from ..precision import choose_device

    check_workers(workers)
    names = [name.strip() for name in str(device).split(",") if name.strip()]
    if names == ["auto"] and workers is not None and workers > 1 and torch.cuda.is_available():
        names = [f"cuda:{i}" for i in range(min(workers, torch.cuda.device_count()))]
    names = [str(choose_device(name)) for name in names or ["auto"]]
    count = len(names) if workers is None else workers
    if count < len(names):
        raise InputError(f"{len(names)} devices need as many workers: workers is {count}")
    return [names[i % len(names)] for i in range(count)]


def check_workers(workers: int | None) -> None:
    """Raise InputError for a number of workers that cannot be."""
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}: it must be at least 1")


def program(module: str) -> str:
    """What a worker process runs: `serve` of this module, found where this freeda is."""
    return f"import sys; sys.path.append(sys.argv[1]); from {__name__} import serve; serve({module!r})"


class _Worker:
    """A running worker process."""

    def __init__(
        self, name: str, start: str, threads: int, said: queue.Queue[tuple[_Worker, Order | None]]
    ) -> None:
        self.name = name
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            # -P: nothing in the directory that the user happens to be in is imported instead of a library.
            [sys.executable, "-P", "-c", start, str(Path(__file__).resolve().parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **environment(threads)},
            # A process group of its own: Ctrl-C in a terminal goes to the parent alone, which then tells it.
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(said,), daemon=True).start()

    def order(self, what: Order) -> None:
        """Tell the process what to do."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which the listener tells
            self._process.stdin.write((json.dumps(what) + "\n").encode())
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Nothing more is to be done: the process ends at once, whatever it is at."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        with suppress(OSError):
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the process is gone, and see to it that it goes."""
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._complaints.close()

    def death(self, kept: str) -> WorkerError:
        """What there is to say of a process that ended without a word."""
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        why = "; often memory ran out: fewer workers or a smaller batch size need less" if code == -9 else ""
        return WorkerError(f"{self.name} {how}{self._last_words()}{why}; {kept} are kept: run the same again")

    def _last_words(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return f" ({lines[-1][:200]})" if lines else ""

    def _listen(self, said: queue.Queue[tuple[_Worker, Order | None]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, suppress(ValueError):  # half a line of one that was killed
            for line in lines:
                said.put((self, json.loads(line)))
        said.put((self, None))


def serve(module: str) -> None:
    """Be a worker of that kind of work until the input ends. Never returns."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever libraries print must not come between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that gives orders
    orders: queue.Queue[Order] = queue.Queue()
    threading.Thread(target=_take_orders, args=(orders,), daemon=True).start()

    def answer(**said: Any) -> None:
        answers.write((json.dumps(said) + "\n").encode())

    try:
        import torch

        first = orders.get()
        torch.set_num_threads(first["threads"])
        make = import_module(module).begin(first)
        answer(ready=True)
        while True:
            answer(made=make(orders.get(), lambda note: answer(note=note)))
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:
        answer(error=tell_error(error))
        os._exit(1)


def _take_orders(orders: queue.Queue[Order]) -> None:
    with os.fdopen(0, "rb") as lines:
        for line in lines:
            orders.put(json.loads(line))
    os._exit(0)


def _threads() -> int:
    """CPU threads that this process uses."""
    import torch

    return torch.get_num_threads()
