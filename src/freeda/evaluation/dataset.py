"""Annotated images to evaluate on: what a data set is, and those that lie in files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..images import read_image, world_of
from .layouts.files import IGNORE as IGNORE
from .layouts.files import Found, Sample, complain
from .table import BACKGROUND, DATASETS, canonical

MINIATURE = "miniature"
_ENOUGH = 20
"""After so many bad files a check ends: the rest will be alike."""


class DataSet(Protocol):
    """Images with their truth, in a fixed order."""

    @property
    def name(self) -> str:
        """As the command line calls it, "voc20"."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What the method is asked for, in label order, without a background."""

    @property
    def background(self) -> bool:
        """True: the truth has one more label, `len(classes)`, which is "background"."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """Fields of SegmentOptions that the data set's protocol sets."""

    def __len__(self) -> int: ...

    def sample_name(self, i: int) -> str:
        """Unique in the data set, and the same in every run."""

    def read_image(self, i: int) -> NDArray[np.uint8]:
        """(H, W, 3) RGB."""

    def read_truth(self, i: int) -> NDArray[np.uint8]:
        """(H, W) labels, less than `len(classes) + background`, or `IGNORE`."""

    def digest(self) -> str:
        """SHA-256, in hex, of its name, classes and samples: the same data set as before."""


@dataclass(frozen=True)
class FileDataSet:
    """A data set that lies in files. Implements `DataSet`."""

    name: str
    classes: tuple[str, ...]
    background: bool
    changes: Mapping[str, Any]
    found: Found
    """The files, in order."""
    split: str | None = None
    """None: a folder that has none."""

    def __len__(self) -> int:
        return len(self.found.samples)

    @property
    def world(self) -> str:
        """The world that all its images are of by their records (`images.world_of`), "" for any others."""
        found = world_of(self.sample(0).image) if len(self) else ""
        return found if found and all(world_of(s.image) == found for s in self.found.samples) else ""

    def sample(self, i: int) -> Sample:
        """The i-th image's name and files."""
        return self.found.samples[i]

    def sample_name(self, i: int) -> str:
        """As `Sample.name`."""
        return self.sample(i).name

    def read_image(self, i: int) -> NDArray[np.uint8]:
        """Upright. Raises InputError naming the file."""
        return read_image(self.sample(i).image)

    def read_truth(self, i: int) -> NDArray[np.uint8]:
        """(H, W) labels or `IGNORE`. Raises InputError naming the file, and the value that has no label."""
        mask = self.sample(i).mask
        return self.found.remap(self.found.read(mask), mask)

    def digest(self) -> str:
        """SHA-256 in hex of its name, split, classes and samples' names; see `contents` for the files."""
        names = [sample.name for sample in self.found.samples]
        told = [self.name, self.split, list(self.classes), self.background, names]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, in plain values: another process opens the same one."""

    opener: str
    """The function that opens it, "package.module:function"."""
    arguments: Mapping[str, Any]
    """What it is called with, JSON values."""

    def open(self) -> DataSet:
        """The data set. Errors as the function's own."""
        module, _, name = self.opener.partition(":")
        dataset: DataSet = getattr(import_module(module), name)(**self.arguments)
        return dataset


def find_origin(
    name: str,
    data: str | Path | None = None,
    split: str | None = None,
    classes: str | Path | None = None,
    limit: int | None = None,
) -> Origin:
    """The data set of a name; `data` is the folder of its files, which all but "miniature" need.

    Raises InputError for an unknown name, where `data` is missing, and for what the miniature has not.
    """
    name = canonical(name)
    if name == MINIATURE:
        for what, given in (("data", data), ("classes", classes)):
            if given is not None:
                raise InputError(f"{what} is {str(given)!r}: the miniature's scenes are drawn, leave it out")
        # Told by name: that room lies above this one, which knows nothing of it.
        return Origin("freeda.miniature.dataset:open_scenes", {"split": split, "limit": limit})
    if data is None:
        raise InputError(f"data set {name!r} needs the folder of its files: --data DIR (data=DIR)")
    listed = None if classes is None else str(classes)
    arguments = {"name": name, "data": str(data), "split": split, "classes": listed}
    return Origin("freeda.evaluation.dataset:open_dataset", arguments)


def open_dataset(
    name: str, data: str | Path, split: str | None = None, classes: str | Path | None = None
) -> FileDataSet:
    """Find a data set's images and masks, and pair them; no pixel is read yet.

    Args:
        name: one of `DATASETS` or its aliases, or "folder".
        data: the folder that holds it, in the layout of docs/evaluate.md.
        split: None for the one that is published.
        classes: other words for its classes, a text file with one a line in label order; for "folder" its
            names file.

    Raises InputError that says which files or folders were expected and which of them are missing, which
    image or mask lacks its partner or is there twice, and for a list of classes of another length.
    """
    name, root = canonical(name), Path(data)
    if name == MINIATURE:
        raise InputError("the miniature draws its own scenes: it is no data set of files")
    if split is not None and (not split.strip() or Path(split).name != split):
        raise InputError(f"split is {split!r}: the name of a folder or a list is needed, such as 'val'")
    given = None if classes is None else Path(classes)
    if name == "folder":
        from .layouts.folder import find_folder  # its names are checked by what loads torch

        found, names, background = find_folder(root, split, given)
        changes = dict(BACKGROUND) if background else {}
        return FileDataSet(name, names, background, changes, found, split)
    known = DATASETS[name]
    split = known.split if split is None else split
    found = known.find(root, split, known.background)
    names = known.classes if given is None else _other_words(given, len(known.classes))
    if given is not None:
        told = (f"{new} for {usual}" for new, usual in zip(names, known.classes, strict=True) if new != usual)
        found = replace(found, legend=f"{given}: {', '.join(told) or 'the usual names'}")
    return FileDataSet(name, names, known.background, known.changes, found, split)


def check_dataset(
    dataset: DataSet,
    on_done: Callable[[int, int], None] | None = None,
    indices: Iterable[int] | None = None,
    whole: bool = True,
) -> None:
    """What would stop a long run at its end, found before it begins.

    Names must be unique. Of a data set in files, every image and every mask is read: both must be whole and
    of one size, and the mask must hold known values only.

    Args:
        on_done: called with the images checked and all there are to check.
        indices: which images; None for all.
        whole: whether these are all that is measured: then some pixel must be of a class.

    Raises InputError for the first file at fault, in one line that also counts the others (no more than 20
    are looked for), and for a data set without images.
    """
    if len(dataset) == 0:
        raise InputError(f"{dataset.name}: this data set has no images")
    names = Counter(map(dataset.sample_name, range(len(dataset))))
    if twice := [name for name, times in names.items() if times > 1]:
        raise InputError(f"{dataset.name}: two images are called {twice[0]}: every image counts once")
    if not isinstance(dataset, FileDataSet):
        return
    chosen = range(len(dataset)) if indices is None else list(indices)
    wrong: list[str] = []
    some = False
    for done, i in enumerate(chosen, 1):
        try:
            some |= _check_sample(dataset, i)
        except InputError as error:
            wrong.append(str(error))
            if len(wrong) == _ENOUGH:
                break
        if on_done is not None:
            on_done(done, len(chosen))
    complain(wrong)
    if whole and chosen and not some:
        mask, found = dataset.sample(chosen[0]).mask, dataset.found
        held = ", ".join(map(found.remap.show, np.unique(found.read(mask))[:5].tolist()))
        raise InputError(
            f"{mask}: holds {held}, of no class, and no other mask holds any class: nothing can be measured"
            + (f" ({found.legend})" if found.legend else "")
        )


def contents(dataset: DataSet, indices: Sequence[int]) -> list[str]:
    """What the files of some images and their masks hold: a SHA-256, in hex, an image.

    It is "" for those of a data set that lies in no files. A file that cannot be read counts as none:
    `check_dataset` tells of it.
    """
    if not isinstance(dataset, FileDataSet):
        return [""] * len(indices)
    out = []
    for sample in map(dataset.sample, indices):
        told = hashlib.sha256()
        for path in (sample.image, sample.mask):
            with suppress(OSError), open(path, "rb") as file:
                told.update(hashlib.file_digest(file, "sha256").digest())
            told.update(b"/")  # what one file lacks is not made up by the next
        out.append(told.hexdigest())
    return out


def _check_sample(dataset: FileDataSet, i: int) -> bool:
    """Whether a pixel of its truth is of a class. Raises InputError for a mask that does not fit."""
    sample, truth = dataset.sample(i), dataset.read_truth(i)
    height, width = dataset.read_image(i).shape[:2]
    if truth.shape != (height, width):
        raise InputError(
            f"{sample.mask}: is {truth.shape[1]} x {truth.shape[0]} pixels, but its image "
            f"{sample.image.name} is {width} x {height}"
        )
    return bool((truth < len(dataset.classes)).any())


def _other_words(path: Path, wanted: int) -> tuple[str, ...]:
    from ..collection.names import word_list
    from ..segment.vocabulary import parse_names

    if not path.is_file():
        raise InputError(f"{path}: there is no such list of classes: one name a line is needed")
    listed = word_list(path)
    try:
        names = tuple(parse_names(listed))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if any("=" in name for name in listed):
        raise InputError(f"{path}: has synonyms: a class of a data set is asked for by one name")
    if len(names) != wanted:
        raise InputError(f"{path}: names {len(names)} classes, but {wanted} are needed, one a line")
    return names
