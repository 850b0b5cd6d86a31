"""Parts of a data set: each scored by itself, kept in a file, and added up exactly with the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, device_lost, out_of_memory
from ..files import DAMAGED_NPZ, atomic_path, atomic_write_json, make_folder, sweep
from ..identity import first_difference
from ..images import RGB
from ..profile import peak_memory
from ..segment.background import BACKGROUND
from ..segment.vocabulary import Vocabulary
from .counts import Counts
from .result import ImageRow

if TYPE_CHECKING:
    from .dataset import DataSet

RUN, PARTS, WORDS = "run.json", "parts", "vocabulary.npz"
REPORT = {
    **{"confusion": "confusion.png", "classes": "classes.png", "worst": "worst.jpg", "best": "best.jpg"},
    **{"matrix": "confusion.csv", "markdown": "report.md", "json": "report.json"},
}
"""Files that `report` writes beside them, by kind."""
_RUN_FORMAT = {"format": "freeda-evaluation", "version": 1}
_PART_FORMAT = {"format": "freeda-evaluation-part", "version": 1}
_ROW = {"miou": np.float64, "pixel_accuracy": np.float64, "seconds": np.float64, "pixels": np.int64}
_WAYS_OUT = "another --out, or begin anew (--no-resume)"

Labeller = Callable[[RGB], NDArray[Any]]
"""What is measured: a picture, uint8 (H, W, 3), to integer labels (H, W) of the data set."""


@dataclass(frozen=True)
class Piece:
    """What is to be done: JSON values, as a worker is told."""

    number: int
    images: Sequence[int]
    """Their indices in the data set."""
    files: Sequence[str]
    """What the files of each held when the run began, see `dataset.contents`."""


@dataclass(frozen=True)
class Part:
    """What was found on some images; depends on nothing but these."""

    counts: Counts
    images: tuple[ImageRow, ...]
    peak_memory: int
    """Bytes: the most that the process has held so far; 0 where the system does not tell."""


def label_names(dataset: DataSet) -> tuple[str, ...]:
    """What the truth's labels mean."""
    return (*dataset.classes, BACKGROUND) if dataset.background else tuple(dataset.classes)


def score_part(
    labeller: Labeller,
    dataset: DataSet,
    indices: Sequence[int],
    on_image: Callable[[float], None] = lambda seconds: None,
) -> Part:
    """Label images and count; `on_image` is told of each how long labelling it took.

    Raises InputError naming the image that cannot be read, labelled or counted.
    """
    counts = Counts(len(label_names(dataset)))
    rows = []
    for i, image, truth in _read_ahead(dataset, indices):
        name = dataset.sample_name(i)
        if image.shape[:2] != truth.shape:
            raise InputError(
                f"{name}: the image is {_size(image)} and its truth {_size(truth)} pixels: they must be equal"
            )
        start = time.perf_counter()
        try:
            labels = labeller(image)
        except (MemoryError, RuntimeError) as error:
            if out_of_memory(error):
                raise InputError(f"{name}: this image does not fit into memory") from error
            if lost := device_lost(error):
                raise lost from error
            raise
        seconds = time.perf_counter() - start
        alone = Counts(counts.n_labels)
        try:
            alone.update(labels, truth)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        counts.add(alone)
        rows.append(ImageRow(i, name, alone.miou(), alone.pixel_accuracy(), seconds, int(truth.size)))
        on_image(seconds)
    return Part(counts, tuple(rows), peak_memory())


def _read_ahead(dataset: DataSet, indices: Sequence[int]) -> Iterator[tuple[int, RGB, NDArray[np.uint8]]]:
    """Images with their truths; the next one is read while the present one is labelled."""

    def read(i: int) -> tuple[int, RGB, NDArray[np.uint8]]:
        return i, dataset.read_image(i), dataset.read_truth(i)

    with ThreadPoolExecutor(1) as reader:
        following: Future[tuple[int, RGB, NDArray[np.uint8]]] | None = None
        for i in [*indices, None]:
            present, following = following, None if i is None else reader.submit(read, i)
            if present is not None:
                yield present.result()


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


def write_part(path: Path, part: Part, piece: Piece, digest: str) -> None:
    """Keep a part, whole or not at all; `digest` tells the run's settings. InputError where that fails."""
    header = {
        **_PART_FORMAT,
        "settings": digest,
        "names": [row.name for row in part.images],
        "files": list(piece.files),
        "peak_memory": part.peak_memory,
    }
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "index": np.array([row.index for row in part.images], np.int64),
        **{k: np.array([getattr(row, k) for row in part.images], kind) for k, kind in _ROW.items()},
        **{f"counts.{name}": array for name, array in part.counts.arrays().items()},
    }
    with atomic_path(path) as temp, open(temp, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_part(path: Path, piece: Piece, digest: str) -> Part | None:
    """A part that was kept; None where it is missing, damaged, of other settings or of other images.

    Raises InputError, naming the image, where it is of other files of the same images.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(bytes(arrays["header"]))
        about = {key: header[key] for key in (*_PART_FORMAT, "settings")}
        index = arrays["index"].tolist()
        if about != {**_PART_FORMAT, "settings": digest} or index != list(piece.images):
            return None
        rows = zip(index, header["names"], *(arrays[k].tolist() for k in _ROW), strict=True)
        counts = Counts.from_arrays(
            {k.removeprefix("counts."): v for k, v in arrays.items() if k.startswith("counts.")}
        )
        part = Part(counts, tuple(ImageRow(*row) for row in rows), int(header["peak_memory"]))
        were = zip(header["names"], header["files"], piece.files, strict=True)
        changed = [name for name, then, now in were if then != now]
    except (*DAMAGED_NPZ, TypeError):  # TypeError: a header of something else
        return None
    if changed:
        raise InputError(f"image {changed[0]!r} or its mask has changed since it was measured")
    return part


class RunFolder:
    """What a run keeps, so that the same command goes on: how it was begun, vocabulary, parts."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        self.words = path / WORDS
        """The file of the vocabulary, which all processes and all runs share to the last bit."""

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
        for folder in (self.path, self.path / PARTS):
            sweep(folder)
        there = self._settings() if resume else None
        if there is not None and (told := first_difference(there, settings)):
            raise InputError(
                f"{self.path}: was begun with other settings ({told}): use the same again, {_WAYS_OUT}"
            )
        if there is not None:
            return
        try:
            for old in (self.words, *(self.path / PARTS).glob("*.npz")):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{old}: cannot be removed ({error.strerror})") from error
        atomic_write_json(self.path / RUN, {**_RUN_FORMAT, "settings": settings})

    def _settings(self) -> dict[str, Any] | None:
        """The settings the folder was begun with; None where it was not."""
        path = self.path / RUN
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            settings = found.pop("settings")
            if found != _RUN_FORMAT or not isinstance(settings, dict):
                raise ValueError("something else")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: damaged, or another version's: {_WAYS_OUT}") from error
        return settings

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
