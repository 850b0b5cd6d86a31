"""Many photographs, one after the other: found, labelled, written as they come, continued by a rerun."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import FreedaError, InputError, device_lost, out_of_memory
from ..files import digest_of, make_folder, sweep
from ..lock import only_writer
from ..options import SegmentOptions, to_dict
from ..options.exports import PICTURES
from ..profile import OFF, Clock
from ..show.export import record_of
from .result import Segmentation
from .result_folder import Point, ResultFolder, explained
from .vocabulary import Vocabulary

_OF_ONE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""What the system says of a name that it does not take."""


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph of a stream."""

    path: Path
    result: Segmentation | None = None
    """None where the photograph could not be read, or was labelled by an earlier run."""
    files: dict[str, Path] = field(default_factory=dict)
    """What was written, or found written, by kind: "labels", "overlay", "json" and exports."""
    error: InputError | None = None
    """Why the photograph could not be read, labelled or written."""

    @property
    def kept(self) -> bool:
        """Whether an earlier run had labelled it just so already."""
        return self.result is None and self.error is None


@dataclass(frozen=True)
class Stream:
    """How photographs are labelled one after the other; `run` does it."""

    segment: Callable[[Path], Segmentation]
    """Reads and labels one file with the `vocabulary`."""
    vocabulary: Vocabulary
    about: Mapping[str, Any]
    """What else makes a result what it is (options, models, dtype), as JSON values."""
    out: str | Path | None = None
    strict: bool = False
    again: bool = False
    exports: Sequence[str] = ()
    """Kinds of `freeda.options.EXPORTS` to write as well."""
    on_start: Callable[[Path], None] | None = None
    clock: Clock = OFF

    def run(self, paths: Iterable[Path]) -> Iterator[Outcome]:
        """Label each file; see `FreeDA.segment_many`."""
        recipe = {"vocabulary": self.vocabulary.digest(), **self.about}
        if self.out is None:
            yield from self._each(paths, None, recipe)
            return
        out = Path(self.out)
        new = not out.exists()
        try:
            with only_writer(make_folder(out), "folder of results", InputError):
                sweep(out)
                yield from self._each(paths, ResultFolder(out), recipe)
        finally:
            if new:
                with suppress(OSError):  # unless something was written
                    out.rmdir()

    def _each(
        self, paths: Iterable[Path], folder: ResultFolder | None, recipe: Mapping[str, Any]
    ) -> Iterator[Outcome]:
        for path in paths:
            if self.on_start is not None:
                self.on_start(path)
            yield self._one(path, folder, recipe)

    def _one(self, path: Path, folder: ResultFolder | None, recipe: Mapping[str, Any]) -> Outcome:
        content, stem, fingerprint = digest_of(path), "", ""
        there, cards, outdated = list[str](), list[Point](), list[Point]()
        writing = False
        try:
            if folder is not None:
                stem, record = folder.place(path, content, self.exports)
                fingerprint = sha256(json.dumps([recipe, content], sort_keys=True).encode()).hexdigest()
                if content and record.get("fingerprint") == fingerprint:
                    # What a record does not name may lie there from an earlier run with other words.
                    there, cards = record.get("exports") or [], explained(record)
                    files = folder.whole(stem, self.exports) if set(self.exports) <= set(there) else None
                    if files and not self.again:
                        return Outcome(path, files=files)
                else:
                    outdated = explained(record)
            result = self.segment(path)
            if folder is None:
                return Outcome(path, result)
            with self.clock("write"):
                writing = True
                folder.drop_cards(stem, outdated)  # of other words, and not to be taken for these
                about = {
                    "fingerprint": fingerprint,
                    "photograph": content,
                    "exports": list(dict.fromkeys([*there, *self.exports])),
                    "explained": cards,
                }
                told = record_of(result.labels, result.names, None, result.palette, result.caveats) | about
                files = result.write(folder.written, stem, [*self.exports, *PICTURES], told)
            return Outcome(path, result, files)
        except (InputError, MemoryError, RuntimeError) as error:
            told_error = _told(path, error)
            if told_error is None or (told_error is error and self.strict) or (writing and _of_all(error)):
                raise
            if self.strict or not isinstance(told_error, InputError):
                raise told_error from error
            if folder is not None:
                folder.give_back(stem)
            return Outcome(path, error=told_error)


def _of_all(error: BaseException) -> bool:
    """Whether writing the next photograph's files would meet the same: a full disk, a folder taken away."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno not in _OF_ONE


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
