"""The engine for a cluster: Ray's actors, each given the next piece as soon as it is free.

What a piece made comes back with its answer and is written by this process, so that no disk is shared and at
most one piece a worker is ever held in memory.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import InputError, WorkerError, counted, extra, first_line
from ..lock import SYSTEM_LOCKS, try_lock
from . import Answer, Engine, Make, Note, Order, Work, answering, environment
from .actor_pool import make_all

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
ADDRESS = "RAY_ADDRESS"
QUIETLY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be anyway; spares a warning
    "RAY_worker_niceness": "0",  # of a cluster begun here: workers are what the machine is for
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # of every death: the run tells of those that matter
}
"""Settings of Ray's that hold unless the environment has others; some are read when it is imported."""
KNOCK = 10.0
"""Seconds that a cluster's head may take to answer at all."""
PATIENCE = 900.0
"""Seconds that the first worker may take to be there; what it then loads takes as long as it takes."""
TOLD = 120.0
"""Seconds without any worker after which that is told of; at once where the cluster lacks what one needs."""
_GOODBYE = 2.0  # seconds that a worker has to clean up after itself
# What folders of this machine begin with: another's locks may not be seen, on a disk that both have.
_PREFIX = f"freeda-worker-{socket.gethostname()}-"
# What a gRPC client says first and what a server answers: a frame (length, kind, flags, stream) of settings.
_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5


class OnRay(Engine):
    """Actors of the cluster that `connected` finds."""

    here = False
    device = "auto"  # this process is no worker, and may have another device than they

    def __init__(self, device: str | torch.device, workers: int | None, gpus_per_worker: float) -> None:
        """Raise InputError for what cannot be, and where Ray is not installed."""
        for name, value in QUIETLY.items():
            os.environ.setdefault(name, value)
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InputError(f"engine 'ray' needs Ray: {extra('ray')}") from error
        self._wanted = str(device)
        if self._wanted not in DEVICES:
            raise InputError(f"device is '{device}': with engine 'ray' use one of {', '.join(DEVICES)}")
        if not (0 < gpus_per_worker <= 1 or gpus_per_worker in range(2, 65)):
            raise InputError(f"gpus_per_worker is {gpus_per_worker}: give a share up to 1, or a whole number")
        self._workers, self._gpus = workers, gpus_per_worker
        self.about: dict[str, Any] = {"engine": "ray", "device": self._wanted, "workers": workers}

    def dtype(self, name: str | torch.dtype) -> torch.dtype:
        """See `Engine`; "auto" is bfloat16 on GPUs, float32 on CPUs: all nodes must agree."""
        import torch

        from ..precision import choose_dtype

        if str(name) != "auto":
            return choose_dtype(name)
        if self._wanted == "auto":
            raise InputError("dtype 'auto' and device 'auto': with engine 'ray' name one of the two")
        return torch.bfloat16 if self._wanted == "cuda" else torch.float32

    def drawing_dtype(self, name: str | torch.dtype | None) -> torch.dtype:
        """See `Engine`: unasked in half precision only with device "cuda"."""
        import torch

        half = name is None and self._wanted == "cuda"
        return torch.float16 if half else self.dtype(name or "float32")

    def share_out(self, work: Work, pieces: Sequence[Order], on_made: Note, on_note: Note) -> None:
        """See `Engine`. Without a number of workers: as many as fit on the cluster's GPUs, or one for every
        two cores where there are none. InputError where GPUs are asked for and there are none.
        """
        import ray

        with connected(self._workers):
            there = Resources.now()
            cuda = self._wanted == "cuda" or (self._wanted == "auto" and there.gpus > 0)
            gpus = self._gpus if cuda else 0.0
            if cuda and not there.gpus and self._workers is None:
                raise InputError("device is 'cuda' and this Ray cluster has no GPU (yet?): say --workers")
            workers = self._workers or max(1, there.fit(1, gpus) if cuda else there.cpus // 2)
            threads = there.threads(workers, gpus)
            first = {**work.first, "device": "cuda" if cuda else "cpu", "threads": threads}
            reads = ray.put({name: (work.out / name).read_bytes() for name in work.reads})
            told, room = False, there.fit(threads, gpus)

            def wait(seconds: float) -> None:
                nonlocal told
                each, now = counted(threads, "CPU"), Resources.now()
                each += f" and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else ""
                lacks = (
                    f"each asks for {each} of one node, and the Ray cluster has {now.cpus} CPUs and "
                    f"{now.gpus:g} GPUs in all; `ray status` tells what is in use"
                )
                if seconds >= PATIENCE:
                    raise WorkerError(f"no worker was there after {PATIENCE:.0f} s: {lacks}")
                if not told and seconds >= (TOLD if room else 0):
                    print(f"no room for a worker yet: {lacks}", file=sys.stderr, flush=True)
                    told = True

            kind = ray.remote(
                num_cpus=threads,
                num_gpus=gpus,
                # A call that Ray repeats waits for its actor, which may never come back when its node is
                # gone: here the next free one takes the piece.
                max_restarts=0,
                max_concurrency=2,  # a second thread, to ask while the first one works
                runtime_env={"env_vars": environment(threads)},
            )(Actor)

            def begin(number: int) -> _Worker:
                return _Worker(number, kind.remote(work.module, first, reads))

            make_all(work, pieces, begin, workers, on_made, on_note, wait)


class _Worker:
    """An actor (see `actor_pool.Worker`)."""

    name = "a worker"

    def __init__(self, number: int, actor: Any) -> None:
        import ray

        self.number, self.there, self._ray, self._actor = number, False, ray, actor
        self._left: list[Any] = []
        self.lost = ray.exceptions.RayError
        self._piece, self._notes = -1, list[Any]()
        self._asked = actor.notes.remote()  # answered as soon as it is there, before anything is loaded

    def ready(self) -> Future[Answer]:
        return self._actor.ready.remote(version("freeda")).future()

    def make(self, piece: int, order: Order) -> Future[Answer]:
        self._piece, self._notes = piece, []
        return self._actor.make.remote(piece, order).future()

    def notes(self) -> list[Any]:
        if self._ray.wait([self._asked], timeout=0)[0]:
            with suppress(self.lost):
                piece, notes = self._ray.get(self._asked)
                self.there, self._notes = True, notes if piece == self._piece else []
                self._asked = self._actor.notes.remote()
        return self._notes

    def death(self, error: Exception) -> str:
        """Ray's account of it, in few words."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = next((line for line in lines if "because" in line), lines[0] if lines else "")
        return f"{type(error).__name__}: {told.split('. ')[0]}"[:200]

    def leave(self) -> None:
        self._left = [self._actor.leave.remote()] if self.there else []

    def end(self) -> None:
        with suppress(self.lost):
            if self._left:
                self._ray.wait(self._left, timeout=_GOODBYE)
            self._ray.kill(self._actor)


@contextmanager
def connected(workers: int | None) -> Iterator[None]:
    """Be connected to Ray for the length of the block.

    A connection that is there already is used, and kept. Else it is to the cluster that RAY_ADDRESS names,
    else to the one that `ray start` began on this machine, else to one that is begun here and ends with the
    block, with room for so many workers. InputError where a cluster cannot be used.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    named = os.environ.get(ADDRESS)
    begun = "" if named else _begun_here()
    address, what = named or begun, f"{ADDRESS} is '{named}'" if named else f"{begun}, begun by `ray start`"
    try:
        if address in ("", "local"):
            cpus = max(os.cpu_count() or 1, workers or 1)
            ray.init("local", num_cpus=cpus, include_dashboard=False, **quietly)
        else:
            try:
                if address != "auto":
                    _knock(address)
                ray.init(address, **quietly)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                line = str(getattr(error, "strerror", None) or first_line(error))[:200]
                no = "no Ray cluster answers there, or it cannot be used"
                raise InputError(f"{what}: {no} ({line})") from error
        yield
    finally:
        ray.shutdown()


def _begun_here() -> str:
    """The address of the cluster that `ray start` began on this machine; "" where none answers.

    Only `ray start` notes one. That of another program's `ray.init`, which Ray itself would also find, ends
    with that program.
    """
    temporary = os.environ.get("TMPDIR") if sys.platform == "linux" else None  # as Ray's manual says
    noted = Path(os.environ.get("RAY_TMPDIR") or temporary or "/tmp") / "ray" / "ray_current_cluster"
    with suppress(OSError, ValueError):
        address = noted.read_text(encoding="utf-8").strip()
        _knock(address)
        return address
    return ""


def _knock(address: str) -> None:
    """Raise OSError or ValueError where no Ray answers: Ray itself would try for many minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    port = parts.port or (10001 if parts.scheme else 6379)
    with socket.create_connection((parts.hostname or "", port), KNOCK) as there:
        if parts.scheme or os.environ.get("RAY_USE_TLS", "0") != "0":
            return  # Ray Client gives up by itself; and a TLS port understands no greeting in the open
        there.sendall(_GREETING)
        answer = there.makefile("rb").read(9)
    if answer[3:4] != _SETTINGS:
        raise ConnectionError("what listens there is something else")


@dataclass
class Resources:
    """What the nodes of a cluster have, used or not."""

    nodes: tuple[tuple[float, float], ...]
    """CPUs and GPUs of each."""

    def __post_init__(self) -> None:
        self.cpus, self.gpus = int(sum(c for c, _ in self.nodes)), sum(g for _, g in self.nodes)

    @classmethod
    def now(cls) -> Resources:
        """Return what the nodes that are alive have."""
        import ray

        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return cls(tuple((there.get("CPU", 0.0), there.get("GPU", 0.0)) for there in alive))

    def fit(self, threads: int, gpus: float) -> int:
        """How many workers of so many CPUs and (shares of) GPUs there is room for."""
        rooms = [(c // threads, g // gpus if gpus else c // threads) for c, g in self.nodes]
        return int(sum(min(room) for room in rooms))

    def threads(self, workers: int, gpus: float) -> int:
        """CPUs for each of so many workers: as many as leave room for all of them, at least 1."""
        most = int(max((c for c, g in self.nodes if g >= gpus), default=1))
        return next((n for n in range(most, 1, -1) if self.fit(n, gpus) >= workers), 1)


class Actor:
    """What works in a process of Ray's, in a folder of its own."""

    def __init__(self, module: str, first: Order, reads: Mapping[str, bytes]) -> None:
        """Load nothing yet. `reads` are files that the work expects in its folder."""
        self._module, self._first, self._reads = module, first, reads
        self._work: Make | None = None
        self._own: WorkerFolder | None = None
        self._noted: tuple[int | None, list[Any]] = None, []

    @answering
    def ready(self, freeda: str) -> Answer:
        """Load what the work needs; `freeda` is the version of the process that gives the orders."""
        if (here := version("freeda")) != freeda:
            raise WorkerError(f"freeda {here} there, {freeda} here: they must be the same")
        self._own = WorkerFolder()
        for name, content in self._reads.items():
            (self._own.path / name).write_bytes(content)
        self._work = import_module(self._module).begin({**self._first, "out": str(self._own.path)})
        self._own.clear()
        return {}

    @answering
    def make(self, piece: int, order: Order) -> Answer:
        """Make a piece: {"made", "files": {path in the folder: bytes}, "notes"}."""
        assert self._work is not None and self._own is not None
        folder, notes = self._own.path, list[Any]()
        self._noted = piece, notes
        try:
            made = self._work(order, notes.append)
            found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
            return {"made": made, "files": files, "notes": notes}
        finally:
            self._own.clear()

    def notes(self) -> tuple[int | None, list[Any]]:
        """Return the number of the piece at hand and its notes so far; called from a second thread."""
        return self._noted

    def leave(self) -> None:
        if self._own is not None:
            self._own.remove()


class WorkerFolder:
    """A new folder for this process alone; where its owner was killed, the next one made here removes it.

    It is locked for as long as the process lives. The system drops that lock with the process, however it
    dies, and the number of a process that is used again misleads nobody.
    """

    def __init__(self) -> None:
        """Make it where `tempfile` makes them."""
        parent = Path(tempfile.gettempdir())
        tidy(parent)
        # Under its name only once it is locked: at no moment does it look like a dead worker's.
        early = Path(tempfile.mkdtemp(prefix="new-", dir=parent))
        self._lock = _locked(early) if SYSTEM_LOCKS else None
        self.path = early if self._lock is None else early.rename(parent / f"{_PREFIX}{early.name[4:]}")
        """To work in; empty."""

    def clear(self) -> None:
        """Remove what is in it."""
        for path in self.path.glob("*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def remove(self) -> None:
        """Remove it, and those whose owners died."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
        tidy(self.path.parent)


def tidy(parent: Path) -> None:
    """Remove the folders in `parent` whose owners were processes of this user and machine and are gone."""
    if not SYSTEM_LOCKS:  # nobody can tell whose folder is in use, so all of them stay
        return
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """A handle that holds the folder's lock; None where that is not to be had. OSError for no folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    with suppress(BlockingIOError):
        if try_lock(handle):
            return handle
    os.close(handle)
    return None
