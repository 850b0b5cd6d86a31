"""A worker's own temporary folder, and the tidying up after workers that were killed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from ..lock import SYSTEM_LOCKS, try_lock

PREFIX = "freeda-"
OWNER = "owner.json"
WORK = "work"


class OwnFolder:
    """A new folder for this process alone; where its owner was killed, the next one made here removes it.

    Its file `owner.json` is locked for as long as the process lives. The system drops that lock with the
    process, however it dies, and the number of a process that is used again misleads nobody.
    """

    def __init__(self) -> None:
        """Made where `tempfile` makes them."""
        tidy(Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.path = self._folder / WORK
        """To work in; empty."""
        self.path.mkdir()
        # Under its name only once it is locked: at no moment does it look like a dead worker's.
        early = self._folder / "owner.tmp"
        self._lock = os.open(early, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(self._lock, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
        if _locked(self._lock):
            early.rename(self._folder / OWNER)

    def remove(self) -> None:
        """All of it, and of those whose owners died."""
        _clear(self._folder)
        with suppress(OSError):
            os.close(self._lock)
        tidy(self._folder.parent)


def tidy(parent: Path) -> None:
    """Remove the folders in `parent` whose owners were processes of this user and machine and are gone."""
    if not SYSTEM_LOCKS:  # nobody can tell whose folder is in use, so all of them stay
        return
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError, RecursionError):
            if not folder.is_symlink() and folder.stat().st_uid == os.getuid():
                _remove_if_dead(folder)


def _remove_if_dead(folder: Path) -> None:
    """Raises OSError or ValueError for a folder that is not one of ours."""
    handle = os.open(folder / OWNER, os.O_RDWR | os.O_NOFOLLOW)
    try:
        # A lock may not be seen from another machine, on a disk that both have.
        told = json.loads(os.read(handle, 1000))
        if isinstance(told, dict) and told.get("host") == socket.gethostname() and _locked(handle):
            _clear(folder)
    finally:
        os.close(handle)


def _clear(folder: Path) -> None:
    """Remove all of it, `owner.json` only once the rest is gone: what is left can still be found.

    Something is left where a piece is still being written there.
    """
    shutil.rmtree(folder / WORK, ignore_errors=True)
    if not (folder / WORK).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _locked(handle: int) -> bool:
    """Whether the file is locked now, by this handle."""
    try:
        return try_lock(handle)
    except BlockingIOError:
        return False
