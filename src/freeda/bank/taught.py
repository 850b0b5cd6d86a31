"""Lessons: what people said regions are, in memory or in a file that only grows; each can be taken back."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ADDRESS, BankError, InputError, shortened
from ..files import make_folder
from ..identity import difference
from .format import SHARDS, Pair, caption_digest, shard_name, write_shard
from .manifest import finish_bank

_FORMAT, _VERSION = "freeda-lessons", 1
_VECTORS = ("key", "prototype", "value")
Vector = npt.NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A region of a picture that somebody gave a word."""

    id: str
    """Its number in its `Taught`, from "1" on."""
    word: str
    picture: str
    """What the picture is called."""
    area: float
    """Share of the picture, 0 to 1."""
    key: Vector
    """(dk,) the word's embedding, L2-normalised."""
    prototype: Vector
    """(dp,) mean of the region's dense features, un-normalised."""
    value: Vector | None = None
    """(dk,) its image-text feature, L2-normalised, where the picture was encoded with such."""


class Taught:
    """Lessons that count until they are taken back. Its methods may be called from any thread.

    A file holds one JSON line a change, each with its digest, and is on disk when a method returns. What a
    stopped process left of a last line counts as not there; any other damage is refused. Any number may read
    it; one process may write it at a time (`freeda.lock`): one that finds it changed refuses to go on.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """`path` is read where it is there, and made with the first lesson; None keeps them in memory.

        Raises BankError for a file that is damaged or something else.
        """
        if not isinstance(path, (str, Path, NoneType)) or ADDRESS.match(str(path)):
            raise InputError(f"{shortened(path)} is no file of lessons: name one on this machine")
        self.path = None if path is None else Path(path)
        self.models: dict[str, Any] = {}
        """Which models see them (`Encoders.identity`); empty before the first lesson."""
        self.version = 0
        """How many changes there were."""
        self._all: dict[str, Lesson] = {}
        self._held: list[str] = []
        self._undone: list[str] = []
        self._size = 0
        """Bytes of the file that are whole lines of these lessons."""
        self._torn = 0
        """Bytes behind them that a stopped process left."""
        self._last = 0
        """The last number given."""
        self._lock = Lock()
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def reserve(self, number: int) -> None:
        """Give no lesson a number up to this: others remember such lessons, and their file is lost."""
        self._last = max(self._last, number)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """Those that hold, in the order in which they came to."""
        return tuple(self._all[one] for one in list(self._held))

    def add(self, models: Mapping[str, Any], word: str, picture: str, area: float, **vectors: Any) -> Lesson:
        """One more lesson; `vectors` are its key, prototype and value (see `Lesson`).

        Raises InputError for vectors that are not finite and for other models than the lessons' before, and
        where the file cannot be written.
        """
        self.check_models(models)
        kept = {name: None if v is None else np.asarray(v, np.float16) for name, v in vectors.items()}
        if not all(v is None or np.isfinite(v).all() for v in kept.values()):
            raise InputError(f"{picture}: the features of this region are not finite: it teaches nothing")
        with self._lock:
            lesson = Lesson(str(self._last + 1), word, picture, float(area), **kept)  # type: ignore[arg-type]
            told = {n: _text(v) if isinstance(v, np.ndarray) else v for n, v in asdict(lesson).items()}
            first = {"format": _FORMAT, "version": _VERSION, "models": dict(models)}
            self._write([*([] if self.models else [first]), {"teach": told}])
            self.models = dict(models)
            self._apply("teach", lesson)
        return lesson

    def undo(self, id: str | None = None) -> Lesson | None:
        """Take a lesson back, None: the last; it is returned. None where no such lesson holds."""
        return self._change("undo", self._held, id)

    def redo(self, id: str | None = None) -> Lesson | None:
        """Let a lesson that was taken back hold again, None: the last such; as `undo`."""
        return self._change("redo", self._undone, id)

    def check_models(self, models: Mapping[str, Any]) -> None:
        """Raise InputError unless lessons may be taught and used with the models of this identity."""
        if self.models and (told := difference(self.models, models)):
            raise InputError(
                f"{self.path or 'these lessons'}: made with {told}: they teach these models nothing"
            )

    def to_bank(self, out: str | Path) -> Path:
        """Write the lessons as a new bank of references from pictures; it can be merged and pushed as any.

        Raises BankError where there is none, InputError where `out` is there or cannot be written to.
        """
        out, held = Path(out), self.lessons
        if not held:
            raise BankError("there are no lessons: nothing was taught yet")
        if out.exists():
            raise InputError(f"{out}: is there already: name a new folder for the bank")
        make_folder(out / SHARDS)
        pairs = [
            Pair(
                *(
                    # the digest, as another file's lesson of this number is no copy, and must outlive a merge
                    f"image:{one.picture}#{one.id}-{hashlib.sha256(one.prototype.tobytes()).hexdigest()[:16]}",
                    one.picture,
                    one.word.lower(),
                    (),
                    0,
                    one.key,
                    one.prototype,
                ),
                area=one.area,
                contrast=0.0,
                agreement=0.0
                if one.value is None
                else float(one.value.astype(np.float32) @ one.key.astype(np.float32)),
            )
            for one in held
        ]
        about = {"models": self.models, "source": "images", "references": {"pictures": 0, "pairs": len(held)}}
        digest = caption_digest((pair.caption_id, pair.noun) for pair in pairs)
        told = {"captions": len(pairs), "pictures": 0, "rejected": {}, "failed": []}
        write_shard(out / shard_name(0), pairs, {"settings": about, "digest": digest, **told})
        finish_bank(out, 1, about)
        return out

    def _change(self, what: str, among: list[str], id: str | None) -> Lesson | None:
        with self._lock:
            if not among or (id is not None and id not in among):
                return None
            lesson = self._all[among[-1] if id is None else id]
            self._write([{what: lesson.id}])
            self._apply(what, lesson)
            return lesson

    def _apply(self, what: str, lesson: Lesson) -> None:
        self.version += 1
        if what == "teach":
            self._all[lesson.id] = lesson
            self._last = max(self._last, int(lesson.id))
            self._undone.clear()
            self._held.append(lesson.id)
        else:
            source, target = (self._held, self._undone) if what == "undo" else (self._undone, self._held)
            source.remove(lesson.id)
            target.append(lesson.id)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self.path is None:
            return
        data = left = b"".join(map(_line, lines))
        try:
            with open(self.path, "r+b" if self._size else "ab", buffering=0) as file:
                if (size := file.seek(0, os.SEEK_END)) not in (self._size, self._size + self._torn):
                    raise InputError(
                        f"{self.path}: something else has written it since it was read ({size} bytes "
                        f"now, {self._size} then): nothing was changed; load it again"
                    )
                self._torn = 0
                file.truncate(file.seek(self._size))
                try:
                    while left:
                        left = left[file.write(left) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(self._size)
                    raise
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._size += len(data)

    def _read(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BankError(f"{path}: cannot be read ({error.strerror})") from error
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(keepends=True), start=1):
            try:
                told = json.loads(line)
                if _line({k: v for k, v in told.items() if k != "sha256"}) != line:
                    raise ValueError("its digest is another")
                self._take(told, number)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise BankError(
                    f"{path}: line {number} is damaged, or these are no lessons ({error})"
                ) from error
        self._size, self._torn = len(whole), len(data) - len(whole)

    def _take(self, told: dict[str, Any], number: int) -> None:
        if number == 1:
            if (told["format"], told["version"]) != (_FORMAT, _VERSION):
                raise ValueError(f"{told['format']} {told['version']}")
            self.models = dict(told["models"])
        elif "teach" in told:
            given: dict[str, Any] = dict(told["teach"])
            given |= {name: _vector(given[name]) for name in _VECTORS if given[name] is not None}
            if int(given["id"]) <= self._last:
                raise ValueError(f"lesson {given['id']} is told after lesson {self._last}")
            self._apply("teach", Lesson(**given))
        else:
            what = "undo" if "undo" in told else "redo"
            self._apply(what, self._all[told[what]])


def _line(told: dict[str, Any]) -> bytes:
    text = json.dumps(told, sort_keys=True)
    return (
        json.dumps({**told, "sha256": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True).encode()
        + b"\n"
    )


def _text(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")


def _vector(text: str) -> Vector:
    found = np.frombuffer(base64.b64decode(text, validate=True), "<f2").astype(np.float16)
    if not found.size or not np.isfinite(found).all():
        raise ValueError("a vector that is not finite")
    return found
