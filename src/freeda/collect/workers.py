"""Several worker processes, each with models of its own, sharing out the shards of a run.

They are started as programs of their own that talk in JSON lines, not forked or spawned by `multiprocessing`:
a script without a `__main__` guard or a notebook is never run again, and nothing is pickled.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import WorkerError
from ..options import to_dict
from ..presets import Preset
from .captions import Caption
from .runner import Job
from .shard import Tally
from .worker import error_of

# -P: nothing in the directory that the user happens to be in is imported instead of a library.
_START = "import sys; sys.path.append(sys.argv[1]); from freeda.collect.worker import main; main()"
_PATIENCE = 5.0  # seconds that a worker has to end before it is killed


def make_in_workers(
    job: Job,
    preset: Preset,
    dtype: str,
    devices: Sequence[str],
    shards: Sequence[tuple[int, Sequence[Caption]]],
    on_batch: Callable[[Tally], None],
    on_shard: Callable[[dict[str, Any]], None],
) -> None:
    """Make `shards`, each an index and its captions, in one process a device of `devices` (repeats allowed).

    Threads of the CPU are shared out evenly. `on_shard` gets every shard's line of the log, in the order in
    which they are done. The first error of a worker ends all of them and is raised as it would be without
    workers; WorkerError where one died without a word. No process is left behind, however this ends.
    """
    waiting = deque(shards)
    said: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
    threads = max(1, _threads() // len(devices))
    workers: list[_Worker] = []
    try:
        for number, device in enumerate(devices[: len(waiting)], 1):
            worker = _Worker(f"worker {number} on {device}", threads, said)
            workers.append(worker)
            begin = {"threads": threads, "device": device, "dtype": dtype, "preset": to_dict(preset)}
            worker.order(begin={**begin, "job": {**asdict(job), "options": to_dict(job.options)}})
        left = len(waiting)
        while left:
            worker, message = said.get()
            if message is None:
                raise worker.death()
            if "error" in message:
                raise error_of(message["error"], worker.name)
            if "batch" in message:
                told = dict(message["batch"])
                on_batch(Tally(**{**told, "rejected": Counter(told["rejected"])}))
                continue
            if "made" in message:
                left -= 1
                on_shard(message["made"])
            if waiting:
                index, captions = waiting.popleft()
                worker.order(make={"index": index, "captions": [asdict(c) for c in captions]})
    finally:
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.wait()


class _Worker:
    """A running worker process."""

    def __init__(
        self, name: str, threads: int, said: queue.Queue[tuple[_Worker, dict[str, Any] | None]]
    ) -> None:
        self.name = name
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"},
            # A process group of its own: Ctrl-C in a terminal goes to the parent alone, which then tells it.
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(said,), daemon=True).start()

    def order(self, **what: Any) -> None:
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

    def death(self) -> WorkerError:
        """What there is to say of a process that ended without a word."""
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        why = "; often memory ran out: fewer workers or a smaller batch size need less" if code == -9 else ""
        return WorkerError(
            f"{self.name} {how}{self._last_words()}{why}; shards made so far are kept: run the same again"
        )

    def _last_words(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        return f" ({lines[-1][:200]})" if lines else ""

    def _listen(self, said: queue.Queue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                said.put((self, json.loads(line)))
        said.put((self, None))


def _threads() -> int:
    """CPU threads that this process uses."""
    import torch

    return torch.get_num_threads()
