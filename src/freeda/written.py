"""Which files of a folder freeda wrote, by a record kept there: nothing else is ever written over."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError
from .files import OWN, atomic_paths, make_folder, usable
from .source_file import digest_of

RECORD = ".freeda.jsonl"
"""One JSON object a line: "name" of a file and "sha256" of what was to be written to it, before it was."""


class Written:
    """The files that freeda wrote into a folder, and the only way to write more there.

    A file is ours while it holds just what was written: one of that name that came from elsewhere, or that
    somebody has corrected since, is not.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = usable(folder)
        self._known: dict[str, set[str]] = defaultdict(set)
        try:
            text = (self.folder / RECORD).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            text = ""
        except OSError as error:
            raise InputError(f"{self.folder / RECORD}: cannot be read ({error.strerror})") from error
        for line in text.splitlines():
            self._learn(line)

    def ours(self, name: str) -> bool:
        """Whether a file of that name may be written: there is none, or it is as we wrote it."""
        path = self.folder / name
        return not os.path.lexists(path) or digest_of(path) in self._known.get(name, ())

    @contextmanager
    def replace(self, *names: str) -> Iterator[list[Path]]:
        """Temporary paths that become these files, all on the disk before the first is renamed.

        Raises InputError for a name that is another's file, and as `files.atomic_paths`.
        """
        for name in names:
            if not self.ours(name):
                raise InputError(
                    f"{self.folder / name}: not written over, since freeda did not write it or somebody has "
                    "changed it: move it away, or choose another folder"
                )
        with atomic_paths(*(self.folder / name for name in names)) as temps:
            yield temps
            self._note(dict(zip(names, map(digest_of, temps), strict=True)))

    def _note(self, digests: dict[str, str | None]) -> None:
        """Claim contents before they appear, so that a killed run's files are known as ours."""
        lines = [json.dumps({"name": name, "sha256": digest}) for name, digest in digests.items()]
        path = make_folder(self.folder) / RECORD
        try:
            handle = os.open(path, OWN | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(handle).st_size
                torn = size and os.pread(handle, 1, size - 1) != b"\n"  # by a full disk, or a crash
                os.write(handle, ("\n" * bool(torn) + "\n".join(lines) + "\n").encode())
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
        for line in lines:
            self._learn(line)

    def _learn(self, line: str) -> None:
        try:
            entry = json.loads(line)
            self._known[entry["name"]].add(entry["sha256"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return  # torn or somebody's: what it meant to tell is not ours then
