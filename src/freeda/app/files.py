"""The page's own folder: uploads and files to download are there, and nothing else is ever served."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from .limits import Limits

_VARIABLE = "GRADIO_TEMP_DIR"
_PAUSE = 20
"""Seconds from one tidying to the next."""


class OwnFolder:
    """A new private folder of one server: a thread keeps it small, and `remove` removes it with all in it."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Gradio is told of it, so this must come before the page is built."""
        self._limits, self._over = limits or Limits(), threading.Event()
        self.path = Path(tempfile.mkdtemp(prefix="freeda-app-")).resolve()
        self._before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = str(self.path)
        threading.Thread(target=self._tidying, name="freeda-app-tidying", daemon=True).start()

    def new(self) -> Path:
        """A new folder inside it, for one file to download."""
        return Path(tempfile.mkdtemp(prefix="file-", dir=self.path))

    def upload(self, path: str) -> Path:
        """An upload's path. Raises InputError for one that is not in this folder."""
        found = Path(path)
        if "\0" in path or not found.is_absolute() or not found.resolve().is_relative_to(self.path):
            raise InputError("this is no photograph that was sent to the page")
        if not found.is_file():
            raise InputError("the photograph that was sent is gone: send it again")
        return found.resolve()

    def tidy(self, now: float | None = None) -> None:
        """Remove files that are too old, the oldest while all together are too large, and empty folders.

        `now` is in seconds since the epoch. The bounds are `Limits.minutes` and `Limits.folder_megabytes`.
        """
        now = time.time() if now is None else now
        found = []
        for path in self.path.rglob("*"):
            with suppress(OSError):  # somebody else was faster
                if path.is_file() or path.is_symlink():
                    told = path.lstat()
                    found.append((told.st_mtime, told.st_size, path))
                elif path.stat().st_mtime < now - 60:  # younger ones may be about to be filled
                    path.rmdir()  # fails, as it should, unless it is empty
        total, most = 0, self._limits.folder_megabytes * 1_000_000
        for changed, size, path in sorted(found, reverse=True):
            total += size
            if total > most or changed < now - 60 * self._limits.minutes:
                with suppress(OSError):
                    path.unlink()

    def _tidying(self) -> None:
        while not self._over.wait(_PAUSE):
            with suppress(OSError):  # a folder went while it was listed, as all do when the page ends
                self.tidy()

    def remove(self) -> None:
        """Remove the folder; Gradio is told of whatever it knew before."""
        self._over.set()
        shutil.rmtree(self.path, ignore_errors=True)
        if os.environ.get(_VARIABLE) == str(self.path):
            os.environ.pop(_VARIABLE)
            if self._before is not None:
                os.environ[_VARIABLE] = self._before
