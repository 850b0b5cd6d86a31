"""The engine for a cluster: Ray's actors, each given the next piece as soon as it is free.

What a piece made comes back with its answer and is written by this process, so that no disk is shared and at
most one piece a worker is ever held in memory. A worker that dies, alone or with its node, gives its piece
back, and another takes its place as soon as the cluster has room for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError, extra
from . import Note, Order, Work
from .cluster import connected, resources
from .crew import Crew
from .processes import check_workers

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")


class OnRay:
    """Actors of the cluster that `cluster.connected` finds."""

    here = False

    def __init__(self, device: str | torch.device, workers: int | None, gpus_per_worker: float) -> None:
        """Raises InputError for what cannot be, and where Ray is not installed."""
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InputError(f"engine 'ray' needs Ray: {extra('ray')}") from error
        self._wanted = str(device)
        if self._wanted not in DEVICES:
            raise InputError(f"device is '{device}': with engine 'ray' use one of {', '.join(DEVICES)}")
        if not (0 < gpus_per_worker <= 1 or gpus_per_worker in range(2, 65)):
            raise InputError(f"gpus_per_worker is {gpus_per_worker}: give a share up to 1, or a whole number")
        check_workers(workers)
        self._workers, self._gpus = workers, gpus_per_worker
        self.about: dict[str, Any] = {"engine": "ray", "device": self._wanted, "workers": workers}

    @property
    def device(self) -> str:
        """See `engines.Engine`: this process is no worker, and may have another device than they."""
        return "auto"

    def dtype(self, name: str | torch.dtype) -> torch.dtype:
        """See `engines.Engine`. "auto" is bfloat16 on GPUs and float32 on CPUs: all nodes must agree.

        InputError for "auto" on a device that is "auto": what the rows depend on must be the same every time.
        """
        import torch

        from ..precision import choose_dtype

        if str(name) != "auto":
            return choose_dtype(name)
        if self._wanted == "auto":
            raise InputError("dtype 'auto' and device 'auto': with engine 'ray' name one of the two")
        return torch.bfloat16 if self._wanted == "cuda" else torch.float32

    def drawing_dtype(self, name: str | torch.dtype | None) -> torch.dtype:
        """See `engines.Engine`: in half precision unasked only with device "cuda"."""
        import torch

        from ..precision import drawing_dtype

        unasked = "cuda" if self._wanted == "cuda" else "cpu"
        return drawing_dtype(None, torch.device(unasked)) if name is None else self.dtype(name)

    def share_out(self, work: Work, pieces: Sequence[Order], on_made: Note, on_note: Note) -> None:
        """See `engines.Engine`. Without a number of workers: as many as fit on the cluster's GPUs, or one
        for every two cores where there are none. InputError where GPUs are asked for and there are none.
        """
        with connected(self._workers):
            there = resources()
            cuda = self._wanted == "cuda" or (self._wanted == "auto" and there.gpus > 0)
            gpus = self._gpus if cuda else 0.0
            if cuda and not there.gpus and self._workers is None:
                raise InputError("device is 'cuda' and this Ray cluster has no GPU (yet?): say --workers")
            workers = self._workers or max(1, there.fit(1, gpus) if cuda else there.cpus // 2)
            threads = there.threads(workers, gpus)
            first = {**work.first, "device": "cuda" if cuda else "cpu", "threads": threads}
            crew = Crew(work, first, pieces, gpus)
            try:
                crew.work(min(workers, len(pieces)), on_made, on_note)
            finally:
                crew.dismiss()
