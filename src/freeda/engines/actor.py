"""One of Ray's actors at work: pieces in, the bytes of their files out. Nothing here imports Ray."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any

from ..errors import WorkerError
from . import Make, Order, tell_error
from .own_folder import OwnFolder

Answer = dict[str, Any]


class Actor:
    """Makes pieces in a folder of its own machine; no disk is shared.

    `ready` and `make` never raise: an error is an answer, {"error": {"kind", "text"}, "host"}, so that it
    arrives as itself and not wrapped. `notes` and `leave` are called from a second thread.
    """

    def __init__(self, module: str, first: Order, reads: Mapping[str, bytes]) -> None:
        """Nothing is loaded yet. `reads` are files that the work expects in its folder."""
        self._module, self._first, self._reads = module, first, reads
        self._work: Make | None = None
        self._piece = -1
        self._notes: list[Any] = []
        self._own: OwnFolder | None = None

    def ready(self, freeda: str) -> Answer:
        """Load what the work needs; `freeda` is the version of the process that gives the orders."""
        try:
            if (here := version("freeda")) != freeda:
                raise WorkerError(f"freeda {here} there, {freeda} here: they must be the same")
            self._own = OwnFolder()
            folder = self._own.path
            for name, content in self._reads.items():
                (folder / name).write_bytes(content)
            self._work = import_module(self._module).begin({**self._first, "out": str(folder)})
            return {}
        except BaseException as error:
            return _told(error)
        finally:
            self._clear()

    def make(self, piece: int, order: Order) -> Answer:
        """Make a piece: {"made", "files": {path in the folder: bytes}, "since": 0, "notes"}."""
        assert self._work is not None and self._own is not None
        folder = self._own.path
        self._piece, self._notes = piece, []
        try:
            made = self._work(order, self._notes.append)
            found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
            return {"made": made, "files": files, "since": 0, "notes": self._notes}
        except BaseException as error:
            return _told(error)
        finally:
            self._clear()

    def notes(self, piece: int | None, since: int) -> Answer:
        """The notes of a piece that is being made, but the first `since`: {"since", "notes"}.

        Asked of no piece, the answer only tells that the actor is there.
        """
        return {"since": since, "notes": self._notes[since:] if piece == self._piece else []}

    def leave(self) -> None:
        """Clean up: nothing more is to be done."""
        if self._own is not None:
            self._own.remove()

    def _clear(self) -> None:
        for path in self._own.path.glob("*") if self._own is not None else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _told(error: BaseException) -> Answer:
    return {"error": tell_error(error), "host": socket.gethostname()}
