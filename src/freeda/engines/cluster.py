"""The Ray cluster of a run: finding it, or beginning one on this machine, and what it can do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError

ADDRESS = "RAY_ADDRESS"
QUIETLY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # as it will be anyway; spares a warning
    "RAY_worker_niceness": "0",  # of a cluster begun here: workers are what the machine is for
}
"""Settings of Ray's that hold unless the environment has others."""


@contextmanager
def connected(workers: int | None) -> Iterator[None]:
    """Be connected to Ray for the length of the block.

    A connection that is there already is used, and kept. Else it is to the cluster that RAY_ADDRESS names,
    else to the one that runs on this machine, else to one that is begun here and ends with the block, with
    room for so many workers. InputError where RAY_ADDRESS leads nowhere.
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
        if named == "local" or not _joined(named or "auto", quietly, bool(named)):
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


def _joined(address: str, quietly: Mapping[str, Any], must: bool) -> bool:
    """Connect to a cluster that runs; False where none does, unless it `must`."""
    import ray

    try:
        _knock(address)
        ray.init(address, **quietly)
    except (OSError, RuntimeError, ValueError) as error:
        if must:
            raise InputError(f"{ADDRESS} is '{address}': no Ray cluster answers there") from error
        return False
    return True


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nobody listens: Ray itself would try for minutes."""
    if address != "auto":
        parts = urlsplit(address if "://" in address else f"//{address}")
        socket.create_connection((parts.hostname or "", parts.port or 6379), timeout=10).close()


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
