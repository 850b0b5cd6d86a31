"""The folder of a run: what it was begun with, the vocabulary, the parts that are done."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import atomic_write_json, make_folder
from ..identity import first_difference
from ..segment.vocabulary import Vocabulary
from .part import Part, Piece, read_part, write_part

RUN, PARTS, WORDS = "run.json", "parts", "vocabulary.npz"
REPORT = {
    **{"confusion": "confusion.png", "classes": "classes.png", "worst": "worst.jpg", "best": "best.jpg"},
    **{"matrix": "confusion.csv", "markdown": "report.md", "json": "report.json"},
}
"""Files that `report` writes beside them, by kind."""
FORMAT, VERSION = "freeda-evaluation", 1
_WAYS_OUT = "another --out, or begin anew (--no-resume)"


class RunFolder:
    """What a run keeps, so that the same command goes on where it was."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest

    def begin(self, settings: dict[str, Any], resume: bool) -> None:
        """Make the folder ready for a run with these settings, which all figures depend on.

        Raises InputError where it holds a run with others, unless `resume` is off: then that run is removed;
        and where it holds files of such names that are no run's.
        """
        kept = [f"{PARTS}/{path.name}" for path in (self.path / PARTS).glob("*.npz")]
        strange = kept or [name for name in (WORDS, *REPORT.values()) if (self.path / name).exists()]
        if strange and not (self.path / RUN).exists():
            raise InputError(
                f"{self.path / strange[0]}: no evaluation's: it would be lost, so give another --out"
            )
        make_folder(self.path / PARTS)
        for temp in (*self.path.glob(".*.tmp"), *(self.path / PARTS).glob(".*.tmp")):  # what a kill left
            with suppress(OSError):
                temp.unlink()
        there = _read(self.path / RUN) if resume else None
        if there is not None and (told := first_difference(there, settings)):
            raise InputError(
                f"{self.path}: was begun with other settings ({told}): use the same again, {_WAYS_OUT}"
            )
        if there is not None:
            return
        try:
            for old in (self.path / WORDS, *(self.path / PARTS).glob("*.npz")):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{old}: cannot be removed ({error.strerror})") from error
        atomic_write_json(self.path / RUN, {"format": FORMAT, "version": VERSION, "settings": settings})

    @property
    def words(self) -> Path:
        """The file of the vocabulary, which all processes and all runs share to the last bit."""
        return self.path / WORDS

    def vocabulary(self) -> Vocabulary | None:
        """The kept vocabulary; None where there is none, or a damaged one."""
        try:
            return Vocabulary.load(self.words)
        except InputError:
            return None

    def read(self, piece: Piece) -> Part | None:
        """A part that is done; None where it is not, or for other images.

        Raises InputError where an image or its mask is another one now.
        """
        try:
            return read_part(self._part(piece), piece, self.digest)
        except InputError as error:
            raise InputError(f"{self.path}: {error}: {_WAYS_OUT}") from error

    def write(self, piece: Piece, part: Part) -> None:
        """Keep a part. Raises InputError where writing fails."""
        write_part(self._part(piece), part, piece, self.digest)

    def _part(self, piece: Piece) -> Path:
        """Its file; a part that `limit` cuts short has one of its own beside the longer one's."""
        return self.path / PARTS / f"{piece.number:05d}-{len(piece.images)}.npz"


def digest_of(settings: dict[str, Any]) -> str:
    """SHA-256 (hex) of settings."""
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """The settings a folder was begun with; None where it was not."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        settings = found["settings"]
        if found["format"] != FORMAT or found["version"] != VERSION or not isinstance(settings, dict):
            raise ValueError("something else")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: damaged, or another version's: {_WAYS_OUT}") from error
    return settings
