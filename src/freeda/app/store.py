"""Where a workspace's events and accepted label maps lie: in memory, or in FOLDER/.freeda/, killed or not."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from ..files import OWN, atomic_write_bytes, atomic_write_text, make_folder, sweep, to_json
from .state import Event

FOLDER = ".freeda"
_LOG, _DOUBTS = "log.jsonl", "labelled.jsonl"


class Memory:
    """Keeps nothing beyond its life."""

    log = "the log"
    """How errors call it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.warnings: list[str] = []
        self.doubts: dict[str, tuple[str, float]] = {}
        """By picture: what it was labelled by (a digest), and its uncertainty."""
        self._files: dict[str, bytes] = {}

    def doubt(self, picture: str, by: str, uncertainty: float) -> None:
        """Remember a picture's uncertainty; nothing is lost with it but time."""

    def append(self, events: Sequence[Event]) -> None:
        """The workspace itself remembers them."""

    def save(self, name: str, data: bytes) -> None:
        """Keep a file."""
        self._files[name] = data

    def load(self, name: str) -> bytes:
        """A file that was saved. Raises InputError where it is gone."""
        if name not in self._files:
            raise InputError(f"{name} is gone")
        return self._files[name]

    def close(self) -> None:
        """Nothing is open."""


class Disk(Memory):
    """In a folder of its own, which only one process may use (`lock.only_writer`).

    An event is on the disk when `append` returns. A torn last line, of an answer that nobody got, is dropped.
    Raises InputError for a log that is damaged elsewhere, and where the system refuses.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, path = folder, folder / _LOG
        self.log = str(path)
        sweep(make_folder(folder / "accepted"))
        try:
            self._log = os.open(path, OWN | os.O_CREAT | os.O_APPEND, 0o644)
            whole = path.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]
            if len(kept) < len(whole):
                os.ftruncate(self._log, len(kept))
                self.warnings.append(f"{_LOG}: its last line was torn, as of a killed server, and is dropped")
            os.fsync(self._log)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from error
        for number, line in enumerate(kept.splitlines(), start=1):
            try:
                self.events.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: line {number} is damaged ({error})") from error
        self._read_doubts()

    def _read_doubts(self) -> None:
        path = self.folder / _DOUBTS
        with suppress(OSError, ValueError, TypeError):  # what it tells can be found out again
            for line in path.read_text("utf-8").splitlines():
                picture, by, uncertainty = json.loads(line)
                self.doubts[str(picture)] = str(by), float(uncertainty)
        kept = "".join(to_json([id, *told], indent=None) for id, told in self.doubts.items())
        self._doubts = os.fdopen(os.open(atomic_write_text(path, kept), OWN | os.O_APPEND), "a")

    def doubt(self, picture: str, by: str, uncertainty: float) -> None:
        """Remember a picture's uncertainty; nothing is lost with it but time."""
        self.doubts[picture] = by, uncertainty
        with suppress(OSError):
            self._doubts.write(to_json([picture, by, uncertainty], indent=None))
            self._doubts.flush()

    def append(self, events: Sequence[Event]) -> None:
        """Write events behind the others, all or none."""
        data = "".join(to_json(event, indent=None) for event in events).encode()
        size = os.fstat(self._log).st_size
        try:
            while data:
                data = data[os.write(self._log, data) :]
            os.fsync(self._log)
        except OSError as error:
            os.ftruncate(self._log, size)
            raise InputError(f"{_LOG} cannot be written ({error.strerror}): nothing was changed") from error

    def save(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all."""
        atomic_write_bytes(self.folder / "accepted" / name, data)

    def load(self, name: str) -> bytes:
        """A file that was saved. Raises InputError where it is gone."""
        try:
            return (self.folder / "accepted" / Path(name).name).read_bytes()
        except OSError as error:
            raise InputError(f"{FOLDER}/accepted/{name}: cannot be read ({error.strerror})") from error

    def close(self) -> None:
        """Close its files."""
        os.close(self._log)
        self._doubts.close()
