"""Many photographs, one after the other: found, labelled, written as they come, continued by a rerun."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from ..errors import FreedaError, InputError, device_lost, out_of_memory
from ..options import SegmentOptions, to_dict
from .result import Segmentation
from .scene import Scene
from .shelf import Point, Shelf, explained
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph of a stream."""

    path: Path
    result: Segmentation | None = None
    """None where the photograph could not be read, or was labelled by an earlier run."""
    files: dict[str, Path] = field(default_factory=dict)
    """What was written, or found written, by kind: "labels", "overlay", "json" and exports."""
    error: InputError | None = None
    """Why the photograph could not be read."""

    @property
    def kept(self) -> bool:
        """Whether an earlier run had labelled it just so already."""
        return self.result is None and self.error is None


@dataclass(frozen=True)
class Stream:
    """How photographs are labelled one after the other; `run` does it."""

    encode: Callable[[Path], Scene]
    """Reads and encodes one file."""
    vocabulary: Vocabulary
    about: Mapping[str, Any]
    """What else makes a result what it is (options, models, dtype), as JSON values."""
    out: str | Path | None = None
    strict: bool = False
    again: bool = False
    exports: Sequence[str] = ()
    """Kinds of `freeda.options.EXPORTS` to write as well."""
    on_start: Callable[[Path], None] | None = None

    def run(self, paths: Iterable[Path]) -> Iterator[Outcome]:
        """Label each file; see `FreeDA.segment_many`."""
        shelf = None if self.out is None else Shelf(self.out)
        recipe = {"vocabulary": self.vocabulary.digest(), **self.about}
        for path in paths:
            if self.on_start is not None:
                self.on_start(path)
            yield self._one(path, shelf, recipe)

    def _one(self, path: Path, shelf: Shelf | None, recipe: Mapping[str, Any]) -> Outcome:
        content, stem, fingerprint = _content(path), "", ""
        there, cards, outdated = list[str](), list[Point](), list[Point]()
        if shelf is not None:
            stem, record = shelf.place(path, content)
            fingerprint = sha256(json.dumps([recipe, content], sort_keys=True).encode()).hexdigest()
            if record and content and record.get("fingerprint") == fingerprint:
                # What a record does not name may lie there from an earlier run with other words.
                there, cards = record.get("exports", []), explained(record)
                files = shelf.whole(stem, self.exports) if set(self.exports) <= set(there) else None
                if files and not self.again:
                    return Outcome(path, files=files)
            else:
                outdated = explained(record)
        try:
            scene = self.encode(path)
        except (InputError, MemoryError, RuntimeError) as error:
            told = _told(path, error)
            if told is None:
                raise
            if self.strict or not isinstance(told, InputError):
                raise told from error
            if shelf is not None:
                shelf.give_back(stem)
            return Outcome(path, error=told)
        result = scene.segment(self.vocabulary)
        if shelf is None:
            return Outcome(path, result)
        with scene.clock("write"):
            shelf.drop_cards(stem, outdated)  # of other words, and not to be taken for these
            files = result.export(shelf.folder, self.exports, stem) if self.exports else {}
            # The JSON appears last: where it is, all is there.
            exports = list(dict.fromkeys([*there, *self.exports]))
            about = {
                "fingerprint": fingerprint,
                "photograph": content,
                "exports": exports,
                "explained": cards,
            }
            files |= result.write(shelf.folder, stem, None, about)
        return Outcome(path, result, files)


def _content(path: Path) -> str | None:
    """SHA-256 (hex) of a file's bytes; None for what is no plain readable file."""
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _told(path: Path, error: BaseException) -> FreedaError | None:
    """The error as one about this photograph, an InputError, or about the device; None for anything else."""
    if isinstance(error, InputError):
        return error
    if out_of_memory(error):
        return InputError(
            f"{path}: this photograph does not fit into memory: less is needed with --batch-size 1 (windows "
            "together), --dtype auto, or a smaller --set short_side"
        )
    return device_lost(error)


def recipe(options: SegmentOptions, models: Mapping[str, Any], dtype: object) -> dict[str, Any]:
    """`Stream.about` for these options, models and dtype."""
    return {"options": to_dict(options), "models": dict(models), "dtype": str(dtype)}
