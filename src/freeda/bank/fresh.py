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


@contextmanager
def fresh_bank(out: Path) -> Iterator[Path]:
    """A hidden directory beside `out` that becomes `out` when the block ends without an error.

    On an error it is removed. What a killed process left for the same `out` is removed by the next one; a
    living one's is not, since each holds a lock on its own. Raises BankError where `out` is there already
    and not an empty directory, InputError where the folder above cannot be written to.
    """
    refuse_taken(out)
    above = make_folder(out.parent)
    _sweep(above, out.name)
    temp = make_folder(above / f".{out.name[:200]}.{secrets.token_hex(4)}.partial")
    handle = _hold(temp)
    try:
        yield temp
        refuse_taken(out)
        try:
            if out.is_dir():
                out.rmdir()
            temp.rename(out)
        except OSError as error:
            raise BankError(f"{out}: this directory cannot be made ({error.strerror})") from error
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(temp, ignore_errors=True)


def refuse_taken(out: Path) -> None:
    """Raise BankError unless a new bank can be made there: nothing is ever written over."""
    try:
        taken = out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir())))
    except OSError as error:
        raise BankError(f"{out}: cannot be read ({error.strerror})") from error
    if taken:
        raise BankError(f"{out}: is there already: name a new directory, this one stays as it is")


def _hold(folder: Path) -> int | None:
    """An open handle with a lock that falls with this process, however it dies; None where there is none.

    Another process has it or has just removed the folder, or there are no such locks here: what a killed
    process left then stays.
    """
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        with suppress(BlockingIOError):
            if try_lock(handle):
                return handle
        os.close(handle)
    return None


def _sweep(above: Path, name: str) -> None:
    start = f".{name[:200]}."
    for left in above.iterdir():
        if left.name.startswith(start) and left.name.endswith(".partial") and left.is_dir():
            handle = _hold(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)
