"""A new bank directory that appears whole or not at all: what merging, cleaning and importing write into."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BankError
from ..files import make_folder
from ..lock import try_lock
from .format import SHARDS


@contextmanager
def fresh_bank(out: Path, work: str | None = None) -> Iterator[Path]:
    """A hidden directory beside `out` that becomes `out` when the block ends without an error.

    On an error it is removed. What a killed process left for the same `out` is removed by the next one; a
    living one's is not, since each holds a lock on its own. With `work`, a digest of all that the bank is
    made of, shards stay however the block ends, and the next run for the same `out` and `work` finds them in
    its directory, and nothing else.

    Raises BankError where `out` is there already and not an empty directory, or another run has the same
    `work` in hand; InputError where the folder above cannot be written to.
    """
    refuse_taken(out)
    above = make_folder(out.parent)
    temp = above / f".{out.name[:200]}.{work or secrets.token_hex(4)}.partial"
    _sweep(above, out.name, temp)
    if temp.is_symlink():
        raise BankError(f"{temp}: is a link, not what a stopped run left: remove it")
    make_folder(temp)
    try:
        handle = _hold(temp)
    except BlockingIOError as error:
        raise BankError(f"{out}: another run is making it") from error
    try:
        _leave_shards(temp)
        yield temp
        refuse_taken(out)
        try:
            if out.is_dir():
                out.rmdir()
            temp.rename(out)
        except OSError as error:
            raise BankError(f"{out}: this directory cannot be made ({error.strerror})") from error
    finally:
        if work is None or not any((temp / SHARDS).glob("*.parquet")):
            shutil.rmtree(temp, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def refuse_taken(out: Path) -> None:
    """Raise BankError unless a new bank can be made there: nothing is ever written over."""
    try:
        taken = out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir())))
    except OSError as error:
        raise BankError(f"{out}: cannot be read ({error.strerror})") from error
    if taken:
        raise BankError(f"{out}: is there already: name a new directory, this one stays as it is")


def _hold(folder: Path) -> int | None:
    """An open handle with a lock that falls with this process, however it dies; None where there are no such
    locks, or no such folder any more. Raises BlockingIOError where another process has it.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        held = try_lock(handle)
    except BlockingIOError:
        os.close(handle)
        raise
    if not held:
        os.close(handle)
    return handle if held else None


def _sweep(above: Path, name: str, own: Path) -> None:
    """Remove what killed processes left for a name; where there are no locks, it stays."""
    start, end = f".{name[:200]}.", ".partial"
    for left in above.iterdir():
        middle = left.name.removeprefix(start).removesuffix(end)
        if left.name != f"{start}{middle}{end}" or "." in middle or left == own or not left.is_dir():
            continue
        with suppress(BlockingIOError):
            handle = _hold(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)


def _leave_shards(temp: Path) -> None:
    """Remove all that a stopped run left but its shards: halves of files, arrays, bank.json."""
    shards = temp / SHARDS
    if shards.is_symlink():
        shards.unlink()
    for left in (*temp.iterdir(), *shards.glob("*")):
        if left != shards and (left.parent != shards or left.suffix != ".parquet"):
            left.unlink() if left.is_symlink() or not left.is_dir() else shutil.rmtree(left)
