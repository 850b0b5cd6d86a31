"""Many photographs, one after the other: read, labelled, written as they come, continued by a rerun."""

from __future__ import annotations

import errno
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from ..errors import FreedaError, InputError, device_lost, out_of_memory
from ..files import digest_of, make_folder, sweep
from ..lock import only_writer
from ..options import SegmentOptions, to_dict
from ..options.exports import PICTURES
from ..profile import OFF, Clock
from ..show.export import record_of
from .naming import Namer
from .result import Segmentation
from .result_folder import Point, ResultFolder, explained
from .scene import Photograph, Scene
from .vocabulary import Vocabulary

T = TypeVar("T")
_OF_ONE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""What the system says of a name that it does not take."""


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph of a stream."""

    path: Path | None
    """Its file; None for an array or a PIL image."""
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
class _Job:
    """A photograph on its way: where its results belong, and what an earlier run left there."""

    path: Path | None
    stem: str = ""
    content: str | None = None
    fingerprint: str = ""
    written: Sequence[str] = ()
    """Exports that lie there for these words."""
    cards: Sequence[Point] = ()
    outdated: Sequence[Point] = ()
    """Explained pixels, of these words and of others."""
    outcome: Outcome | None = None
    """Where nothing is left to do."""


@dataclass(frozen=True)
class Stream:
    """How photographs are labelled one after the other; `run` does it."""

    read: Callable[[Any], Photograph]
    """Reads one, a path or an array. Raises InputError."""
    encode: Callable[[Iterable[Photograph]], Iterator[tuple[Photograph, Scene | Exception]]]
    label: Callable[[Scene], Segmentation]
    """Labels one with the `vocabulary`."""
    vocabulary: Vocabulary | Namer
    about: Mapping[str, Any]
    """What else makes a result what it is (options, models, dtype), as JSON values."""
    out: str | Path | None = None
    strict: bool = False
    again: bool = False
    exports: Sequence[str] = ()
    """Kinds of `freeda.options.EXPORTS` to write as well."""
    on_start: Callable[[Path], None] | None = None
    beside: bool = False
    """Label and write while the next photographs are encoded: what an accelerator gains from."""
    clock: Clock = OFF

    def run(self, images: Iterable[Any]) -> Iterator[Outcome]:
        """Label each; see `FreeDA.segment_many`."""
        recipe = {"vocabulary": self.vocabulary.digest(), **self.about}
        if isinstance(self.vocabulary, Namer) and "yolo" in self.exports:
            raise InputError(
                "yolo numbers classes, and names that are found are other ones in each photograph: segment "
                "with the names that you want (--classes)"
            )
        if self.out is None:
            yield from self._each(images, None, recipe)
            return
        out = Path(self.out)
        new = not out.exists()
        try:
            with only_writer(make_folder(out), "folder of results", InputError):
                sweep(out)
                yield from self._each(images, ResultFolder(out), recipe)
        finally:
            if new:
                with suppress(OSError):  # unless something was written
                    out.rmdir()

    def _each(
        self, images: Iterable[Any], folder: ResultFolder | None, recipe: Mapping[str, Any]
    ) -> Iterator[Outcome]:
        failed: list[Exception] = []

        def given() -> Iterator[Any]:
            try:
                yield from images
            except Exception as error:  # the caller's own, raised once what came before is done
                failed.append(error)

        prepared = (self._prepare(image, folder, recipe) for image in given())
        photographs = self._begun(ahead(prepared, AHEAD if self.beside else 1))
        with ThreadPoolExecutor(1, thread_name_prefix="results") as pool:
            pending: deque[Future[Outcome]] = deque()
            for photograph, scene in self._encoded(photographs):
                pending.append(pool.submit(self._finish, photograph.tag, scene, folder))
                del scene
                while len(pending) > self.beside:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        for error in failed:
            raise error

    def _encoded(self, photographs: Iterable[Photograph]) -> Iterator[tuple[Photograph, Scene | Exception]]:
        try:
            yield from self.encode(photographs)
        except RuntimeError as error:
            if lost := device_lost(error):
                raise lost from error
            raise

    def _begun(self, photographs: Iterable[Photograph]) -> Iterator[Photograph]:
        for photograph in photographs:
            if self.on_start is not None and photograph.tag.path is not None:
                self.on_start(photograph.tag.path)
            yield photograph

    def _prepare(self, image: Any, folder: ResultFolder | None, recipe: Mapping[str, Any]) -> Photograph:
        """Read one, unless an earlier run has labelled it already."""
        job = _Job(Path(image) if isinstance(image, (str, Path)) else None)
        try:
            if folder is not None:
                job = self._job(job.path, folder, recipe)
            if job.outcome is None:
                return replace(self.read(image), tag=job)
            return Photograph(None, SegmentOptions(), tag=job, error=InputError(""))
        except (InputError, MemoryError) as error:
            if folder is not None:  # before the next is placed, which may be of the same name
                folder.give_back(job.stem)
            return Photograph(None, SegmentOptions(), tag=replace(job, stem=""), error=error)

    def _job(self, path: Path | None, folder: ResultFolder, recipe: Mapping[str, Any]) -> _Job:
        if path is None:
            raise InputError(
                "an array has no file name that results could be called by: leave `out` out and save each "
                "outcome.result yourself"
            )
        content = digest_of(path)
        stem, record = folder.place(path, content, self.exports)
        fingerprint = sha256(json.dumps([recipe, content], sort_keys=True).encode()).hexdigest()
        if not content or record.get("fingerprint") != fingerprint:
            return _Job(path, stem, content, fingerprint, outdated=explained(record))
        # What a record does not name may lie there from an earlier run with other words.
        written, cards = record.get("exports") or [], explained(record)
        files = folder.whole(stem, self.exports) if set(self.exports) <= set(written) else None
        outcome = Outcome(path, files=files) if files and not self.again else None
        return _Job(path, stem, content, fingerprint, written, cards, outcome=outcome)

    def _finish(self, job: _Job, scene: Scene | Exception, folder: ResultFolder | None) -> Outcome:
        """Label an encoded photograph, and write it."""
        if job.outcome is not None:
            return job.outcome
        writing = False
        try:
            if isinstance(scene, Exception):
                raise scene
            result = self.label(scene)
            if folder is None:
                return Outcome(job.path, result)
            with self.clock("write"):
                writing = True
                folder.drop_cards(job.stem, job.outdated)  # of other words, and not to be taken for these
                about = {
                    "fingerprint": job.fingerprint,
                    "photograph": job.content,
                    "exports": list(dict.fromkeys([*job.written, *self.exports])),
                    "explained": job.cards,
                }
                told = record_of(result.labels, result.names, None, result.palette, result.caveats) | about
                files = result.write(folder.written, job.stem, [*self.exports, *PICTURES], told)
            return Outcome(job.path, result, files)
        except (InputError, MemoryError, RuntimeError) as error:
            named = _named(job.path, error)
            if named is None or (named is error and self.strict) or (writing and _of_all(error)):
                raise
            if self.strict or not isinstance(named, InputError):
                raise named from error
            if folder is not None:
                folder.give_back(job.stem)
            return Outcome(job.path, error=named)


AHEAD = 4
"""Photographs read ahead for an accelerator: what fills a batch of 8 windows."""


def ahead(items: Iterable[T], n: int = 1) -> Iterator[T]:
    """The items of an iterable; the `n` to come are made by a thread while one is worked on."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        coming: deque[Future[Any]] = deque(reader.submit(next, source, end) for _ in range(n))
        while (item := coming.popleft().result()) is not end:
            coming.append(reader.submit(next, source, end))
            yield item


def _of_all(error: BaseException) -> bool:
    """Whether writing the next photograph's files would meet the same: a full disk, a folder taken away."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno not in _OF_ONE


def _named(path: Path | None, error: BaseException) -> FreedaError | None:
    """The error as one about this photograph, an InputError, or about the device; None for anything else."""
    if isinstance(error, InputError):
        return error
    if out_of_memory(error):
        return InputError(
            f"{path or 'an array'}: this photograph does not fit into memory: less is needed with "
            "--batch-size 1 (windows together), --dtype auto, or a smaller --set short_side"
        )
    return device_lost(error)


def recipe(options: SegmentOptions, models: Mapping[str, Any], dtype: object) -> dict[str, Any]:
    """`Stream.about` for these options, models and dtype."""
    return {"options": to_dict(options), "models": dict(models), "dtype": str(dtype)}
