"""A folder kept in object storage: worked on here, its files stored there as they are finished.

s3://, gs:// and the like through Arrow's file systems, whatever else fsspec knows through fsspec.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .errors import InputError, first_line
from .files import cache_folder, make_folder


class Place:
    """A folder of this machine, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, *names: str) -> None:
        """Keep these files of the folder where the whole folder is kept."""

    def reopen(self, *names: str) -> None:
        """Before anything changes: take these files away there, which say that all is whole."""


class RemotePlace(Place):
    """A copy of a folder in object storage; what is stored there is what counts."""

    def __init__(self, url: str, folder: Path) -> None:
        """Raises InputError where the address cannot be used."""
        super().__init__(folder)
        self._url = url
        with self._told("used"):
            self._there, self._root = _file_system(url)

    def names(self) -> list[str]:
        """Paths, within the folder, of all files there."""
        from pyarrow.fs import FileSelector, FileType

        with self._told("read"):
            found = self._there.get_file_info(FileSelector(self._root, allow_not_found=True, recursive=True))
        return [f.path[len(self._root) :].lstrip("/") for f in found if f.type == FileType.File]

    def fetch(self) -> None:
        """Copy all that is there."""
        from pyarrow.fs import LocalFileSystem, copy_files

        if self.names():
            with self._told("read"):
                copy_files(self._root, str(self.folder), self._there, LocalFileSystem())

    def store(self, *names: str) -> None:
        """Raises InputError where that fails; a stored file is whole, or not there."""
        for name in names:
            with (
                self._told("written"),
                open(self.folder / name, "rb") as content,
                self._there.open_output_stream(f"{self._root}/{name}") as stored,
            ):
                shutil.copyfileobj(content, stored, 2**20)

    def reopen(self, *names: str) -> None:
        """Raises InputError where nothing can be stored or taken away there, before any work is done."""
        there, probe = self.names(), f"{self._root}/.freeda"
        with self._told("written"):
            with self._there.open_output_stream(probe) as stored:
                stored.write(b"whether this works")
            self._there.delete_file(probe)
        for name in names:
            if name in there:
                with self._told("written"):
                    self._there.delete_file(f"{self._root}/{name}")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, ImportError) as error:
            raise InputError(f"{self._url}: cannot be {what} ({first_line(error)[:200]})") from error


def is_remote(place: str | Path) -> bool:
    """Whether a folder is named by an address and not by a path of this machine."""
    return "://" in str(place) and not str(place).startswith("file://")


@contextmanager
def opened(place: str | Path, check: Callable[[list[str]], None]) -> Iterator[Place]:
    """The folder of that path or address, for the length of the block.

    What is stored at an address is first copied to a folder of `files.cache_folder`, which stays. `check` may
    refuse what is there by raising; it gets the files' paths. One process at a time works on an address on
    this machine; others are not seen. InputError where the address cannot be used.
    """
    if not is_remote(place):
        text = str(place)
        yield Place(Path(unquote(urlsplit(text).path) if text.startswith("file://") else text))
        return
    from .lock import only_writer

    url = str(place)
    own = make_folder(cache_folder() / "remote" / sha256(url.encode()).hexdigest()[:16])
    with only_writer(own, f"copy of {url}", InputError):
        shutil.rmtree(own / "folder", ignore_errors=True)
        there = RemotePlace(url, make_folder(own / "folder"))
        check(there.names())
        there.fetch()
        yield there


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it. Raises ValueError, ImportError or OSError."""
    import pyarrow
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        found, path = FileSystem.from_uri(url)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):  # not one of those built into Arrow
        from fsspec.core import url_to_fs

        other, path = url_to_fs(url)
        found = PyFileSystem(FSSpecHandler(other))
    return found, path.rstrip("/")
