"""One writer a folder: a lock that tells who holds it and that no dead process keeps."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import BankError, FreedaError, FreedaWarning
from .files import OWN

try:
    from fcntl import LOCK_EX, LOCK_NB, flock

    SYSTEM_LOCKS = True
except ImportError:  # not a POSIX system: the signs of life below decide alone
    SYSTEM_LOCKS = False

LOCK = ".lock"
BEAT = 10.0
"""Seconds between two signs of life, which change the file's time."""
STALE = 60.0
"""Seconds that the file of a holder who cannot be asked is watched: without a change he is taken for dead."""
_LONGEST = 4096  # bytes of such a file, at most


@contextmanager
def only_writer(folder: Path, what: str = "bank", kind: type[FreedaError] = BankError) -> Iterator[None]:
    """Be the only process that writes into a folder, which must exist, for the length of the block.

    The system's own file lock falls with the process that holds it, however it dies. Only where that lock
    does not reach (another machine on a shared disk, a file system without locks) do signs of life decide:
    they are waited for, as the clocks of two machines tell nothing.
    Raises `kind` naming the holder of this `what`: its process, machine and since when; or where the folder
    cannot be written to.
    """
    path = folder / LOCK
    handle = _acquire(path, what, kind)
    ended = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, ended), daemon=True)
    try:
        beating.start()
        yield
    finally:
        ended.set()
        # Removed while still held: whoever opened the file meanwhile sees that it is gone and starts again.
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Take the system's lock on an open file, which falls with this process; whether it was to be had.

    Raises BlockingIOError where another process has it.
    """
    if not SYSTEM_LOCKS:
        return False
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(error.errno, "locked") from error
        return False  # a file system without locks
    return True


def _acquire(path: Path, what: str, kind: type[FreedaError]) -> int:
    """An open, locked file that tells of this process."""
    try:
        while True:
            handle = os.open(path, OWN | os.O_CREAT, 0o644)
            try:
                try:
                    sure = try_lock(handle)
                except BlockingIOError as error:
                    raise kind(_held(path, _holder(path), what)) from error
                if _same_file(handle, path):
                    _refuse_living(path, sure, what, kind)
                if _same_file(handle, path):  # the holder may have finished meanwhile
                    os.ftruncate(handle, 0)
                    os.write(handle, json.dumps(_oneself()).encode())
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
    except OSError as error:
        raise kind(f"{path.parent}: cannot be written to ({error.strerror})") from error


def _same_file(handle: int, path: Path) -> bool:
    """Whether the file that was opened is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _refuse_living(path: Path, sure: bool, what: str, kind: type[FreedaError]) -> None:
    """Raise `kind` unless the process that the file tells of is gone.

    `sure`: the system's lock was had, so that no process of this machine holds it.
    """
    holder = _holder(path)
    if not holder:
        return
    here = holder.get("host") == socket.gethostname()
    if here and (sure or (os.name == "posix" and not _runs(holder.get("pid")))):
        return
    seems = f"{_held(path, holder, what)}, if it lives: waiting up to {STALE:.0f} s for a sign of that"
    warnings.warn(seems, FreedaWarning, stacklevel=4)
    before, end = _sign(path), time.monotonic() + STALE
    while (now := _sign(path)) == before and time.monotonic() < end:
        time.sleep(STALE / 100)
    if now not in (None, before):
        raise kind(_held(path, holder, what))


def _sign(path: Path) -> tuple[int, int] | None:
    """What changes about a file with every sign of life; None where it is gone.

    It is opened each time, for what a shared disk says of one that is not may be old.
    """
    with suppress(OSError), open(path, "rb") as file:
        found = os.fstat(file.fileno())
        return found.st_mtime_ns, found.st_ino
    return None


def _runs(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, TypeError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _holder(path: Path) -> dict[str, Any]:
    """What the file tells of its holder; nothing where it was not written to its end."""
    with suppress(OSError, ValueError, RecursionError), open(path, encoding="utf-8") as file:
        found = json.loads(file.read(_LONGEST))
        return found if isinstance(found, dict) else {}
    return {}


def _held(path: Path, holder: dict[str, Any], what: str) -> str:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
    return f"{path.parent}: another run is writing this {what} ({who if holder else 'just begun'})"


def _oneself() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(path)
