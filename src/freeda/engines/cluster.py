"""The Ray cluster of a run: finding it, or beginning one on this machine, and what it can do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError, first_line

ADDRESS = "RAY_ADDRESS"
QUIETLY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be anyway; spares a warning
    "RAY_worker_niceness": "0",  # of a cluster begun here: workers are what the machine is for
}
"""Settings of Ray's that hold unless the environment has others."""


PATIENCE = 10.0
"""Seconds that a cluster's head may take to answer at all."""
# What a gRPC client says first and what a server answers: a frame (length, kind, flags, stream) of settings.
_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5


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
    for name, value in QUIETLY.items():
        os.environ.setdefault(name, value)
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    named = os.environ.get(ADDRESS)
    try:
        _hush()
        if named and named != "local":
            _join(named, f"{ADDRESS} is '{named}'", quietly)
        elif not named and (begun := _begun_here()):
            _join(begun, f"{begun}, begun by `ray start`", quietly)
        else:
            cpus = max(os.cpu_count() or 1, workers or 1)
            ray.init("local", num_cpus=cpus, include_dashboard=False, **quietly)
        yield
    finally:
        ray.shutdown()


def _hush() -> None:
    """Keep what Ray tells of every dead worker off stdout: the run tells of those that matter."""
    # No setting of Ray's does this; where a later Ray has no such function, it is as talkative as it is.
    with suppress(ImportError, AttributeError):
        from ray._private import worker

        if callable(worker.print_to_stdstream):
            worker.print_to_stdstream = lambda *_, **__: None


def _join(address: str, what: str, quietly: Mapping[str, Any]) -> None:
    """Connect to a cluster that runs. InputError where that cannot be; `what` names it there."""
    import ray

    try:
        if address != "auto":
            _knock(address)
    except (OSError, ValueError) as error:
        raise InputError(f"{what}: no Ray cluster answers there ({_line(error)})") from error
    try:
        ray.init(address, **quietly)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise InputError(f"{what}: this Ray cluster cannot be used ({_line(error)})") from error


def _begun_here() -> str:
    """The address of the cluster that `ray start` began on this machine; "" where none answers.

    Only `ray start` notes one. That of another program's `ray.init`, which Ray itself would also find, ends
    with that program.
    """
    with suppress(ImportError, AttributeError, OSError, ValueError):
        from ray._common.utils import get_ray_address_file

        address = Path(get_ray_address_file(None)).read_text(encoding="utf-8").strip()
        _knock(address)
        return address
    return ""


def _knock(address: str) -> None:
    """Raise OSError or ValueError where no Ray answers: Ray itself would try for many minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    port = parts.port or (10001 if parts.scheme else 6379)
    with socket.create_connection((parts.hostname or "", port), PATIENCE) as there:
        if parts.scheme or os.environ.get("RAY_USE_TLS", "0") != "0":
            return  # Ray Client gives up by itself; and a TLS port understands no greeting in the open
        there.sendall(_GREETING)
        answer = b""
        while len(answer) < 9:
            if not (more := there.recv(9 - len(answer))):
                break
            answer += more
    if answer[3:4] != _SETTINGS:
        raise ConnectionError("what listens there is something else")


def _line(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or first_line(error))[:200]


@dataclass(frozen=True)
class Resources:
    """What the nodes of a cluster have, used or not."""

    nodes: tuple[tuple[float, float], ...]
    """CPUs and GPUs of each."""

    @property
    def cpus(self) -> int:
        """Of all nodes."""
        return int(sum(cpus for cpus, _ in self.nodes))

    @property
    def gpus(self) -> float:
        """Of all nodes."""
        return sum(gpus for _, gpus in self.nodes)

    def fit(self, threads: int, gpus: float) -> int:
        """How many workers of so many CPUs and (shares of) GPUs there is room for."""
        rooms = [(c // threads, g // gpus if gpus else c // threads) for c, g in self.nodes]
        return int(sum(min(room) for room in rooms))

    def threads(self, workers: int, gpus: float) -> int:
        """CPUs for each of so many workers: as many as leave room for all of them, at least 1."""
        most = int(max((c for c, g in self.nodes if g >= gpus), default=1))
        return next((n for n in range(most, 1, -1) if self.fit(n, gpus) >= workers), 1)


def resources() -> Resources:
    """What the nodes that are alive have."""
    import ray

    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Resources(tuple((there.get("CPU", 0.0), there.get("GPU", 0.0)) for there in alive))
