"""One of Ray's actors at work: pieces in, the bytes of their files out. Nothing here imports Ray."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import WorkerError
from ..lock import SYSTEM_LOCKS, try_lock
from . import Answer, Make, Order, answering


class Actor:
    """Makes pieces in a folder of its own; no disk is shared. `notes` is called from a second thread."""

    def __init__(self, module: str, first: Order, reads: Mapping[str, bytes]) -> None:
        """Load nothing yet. `reads` are files that the work expects in its folder."""
        self._module, self._first, self._reads = module, first, reads
        self._work: Make | None = None
        self._own: OwnFolder | None = None
        self._noted: tuple[int | None, list[Any]] = None, []

    @answering
    def ready(self, freeda: str) -> Answer:
        """Load what the work needs; `freeda` is the version of the process that gives the orders."""
        if (here := version("freeda")) != freeda:
            raise WorkerError(f"freeda {here} there, {freeda} here: they must be the same")
        self._own = OwnFolder()
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
        """Return the number of the piece at hand and its notes so far."""
        return self._noted

    def leave(self) -> None:
        """Clean up: nothing more is to be done."""
        if self._own is not None:
            self._own.remove()


class OwnFolder:
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
        self.path = early if self._lock is None else early.rename(parent / f"{_prefix()}{early.name[4:]}")
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
    for folder in parent.glob(f"{_prefix()}*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and (lock := _locked(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _prefix() -> str:
    """What folders of this machine begin with: another's locks may not be seen, on a disk that both have."""
    return f"freeda-worker-{socket.gethostname()}-"


def _locked(folder: Path) -> int | None:
    """A handle that holds the folder's lock; None where that is not to be had. OSError for no folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    with suppress(BlockingIOError):
        if try_lock(handle):
            return handle
    os.close(handle)
    return None
