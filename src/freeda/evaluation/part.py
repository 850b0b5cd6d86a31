"""A part of a data set: scored by itself, kept in one file, and added up exactly with the others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, device_lost, out_of_memory
from ..files import DAMAGED_NPZ, atomic_path
from ..images import RGB
from ..profile import peak_memory
from .counts import Counts
from .protocol import Labeller, label_names
from .result import ImageRow

if TYPE_CHECKING:
    from .dataset import DataSet

FORMAT, VERSION = "freeda-evaluation-part", 1
_ROW = {"miou": np.float64, "pixel_accuracy": np.float64, "seconds": np.float64, "pixels": np.int64}


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


def score_part(
    labeller: Labeller,
    dataset: DataSet,
    indices: Sequence[int],
    on_image: Callable[[ImageRow], None] | None = None,
) -> Part:
    """Label images and count. Raises InputError naming the image that cannot be read, labelled or counted."""
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
        try:
            score = counts.update(labels, truth)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        rows.append(ImageRow(i, name, score.miou, score.pixel_accuracy, seconds, int(truth.size)))
        if on_image is not None:
            on_image(rows[-1])
    return Part(counts, tuple(rows), peak_memory())


def _read_ahead(dataset: DataSet, indices: Sequence[int]) -> Iterator[tuple[int, RGB, NDArray[np.uint8]]]:
    """Images with their truths; the next one is read while the present one is labelled."""

    def read(i: int) -> tuple[int, RGB, NDArray[np.uint8]]:
        return i, dataset.read_image(i), dataset.read_truth(i)

    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(read, i) for i in indices[:1]]
        for following in [*indices[1:], None]:
            if not waiting:
                return
            present = waiting.pop().result()
            if following is not None:
                waiting.append(reader.submit(read, following))
            yield present


def write_part(path: Path, part: Part, piece: Piece, digest: str) -> None:
    """Keep a part, whole or not at all; `digest` tells the run's settings. InputError where that fails."""
    header = {
        "format": FORMAT,
        "version": VERSION,
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
        about = (header["format"], header["version"], header["settings"], arrays["index"].tolist())
        if about != (FORMAT, VERSION, digest, list(piece.images)):
            return None
        rows = zip(
            arrays["index"].tolist(), header["names"], *(arrays[k].tolist() for k in _ROW), strict=True
        )
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


def _size(array: NDArray[Any]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
