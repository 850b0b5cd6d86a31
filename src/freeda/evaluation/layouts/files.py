"""Finding a benchmark's folder and pairing its images with their masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, no_such_file
from ...references.annotated import read_values
from ...sources import files_below
from .remap import Remap

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Sample:
    """An image and its mask."""

    name: str
    """Unique in its data set: the image's path within its folder, without the ending."""
    image: Path
    mask: Path


@dataclass(frozen=True)
class Found:
    """The files of a data set, and how its masks are read."""

    samples: tuple[Sample, ...]
    remap: Remap
    read: Callable[[Path], NDArray[np.int64]] = read_values
    """Path of a mask -> its values (H, W), not remapped yet."""
    legend: str = ""
    """What a names file says, in a line; "" where there is none."""


@dataclass(frozen=True)
class Masks:
    """One of the forms that a data set's masks may have."""

    folder: Path
    ending: str
    """A mask is called as its image, with this ending."""
    remap: Remap
    read: Callable[[Path], NDArray[np.int64]] = read_values


def no_folder(data: Path) -> str:
    """How a message begins about `data` that is no folder."""
    if data.exists():
        return f"{data}: this is a file, not a folder"
    return no_such_file(data, "there is no such folder")


def find_root(
    data: Path, title: str, places: Sequence[str], needed: Sequence[tuple[str, ...]], expected: str
) -> Path:
    """The folder of a data set: `data` itself or one of `places` in it, whichever holds all that is needed.

    Args:
        needed: files and folders, each as a tuple of names of which one must be there.
        title, expected: the data set's name and the layout of its files, for messages.

    Raises InputError that says what is expected and which part of it is missing.
    """
    if not data.is_dir():
        raise InputError(f"{no_folder(data)}; {title} is {expected} in it")
    lacking = []
    for root in (data, *(data / place for place in places)):
        missing = [names for names in needed if not any((root / name).exists() for name in names)]
        if not missing:
            return root
        lacking.append((len(missing), root, missing))
    _, root, missing = min(lacking, key=lambda entry: entry[0])
    told = ", ".join(" or ".join(names) for names in missing)
    also = "" if root != data else f" (or in its {' or '.join(places)})"
    raise InputError(f"{root}: has no {told}: {title} is {expected} in this folder{also}")


def read_split(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """The first of `paths` that is there, and the image names in it, one a line.

    Raises InputError for a file that cannot be read, lists nothing, or lists a name twice.
    """
    path = next((p for p in paths if p.is_file()), paths[0])
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such list of images") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this list of images cannot be read ({error})") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(f"{path}: this list of images is empty: one name a line is needed")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{path}: lists {name} twice: every image counts once")
        seen.add(name)
    return path, names


def list_files(folder: Path, endings: Iterable[str], deep: bool = False) -> dict[str, list[Path]]:
    """Path within `folder` without its ending -> the files that have it, for files with one of `endings`.

    `deep` looks into folders of folders. Hidden files are left out. Raises InputError for a folder that is
    not there or cannot be read.
    """
    if not folder.is_dir():
        raise InputError(no_such_file(folder, "there is no such folder"))
    out: dict[str, list[Path]] = {}
    try:
        for path in files_below(folder, deep):
            ending = next((e for e in endings if path.name.lower().endswith(e.lower())), None)
            if ending is not None and not path.name.startswith("."):
                key = path.relative_to(folder).as_posix()[: -len(ending)]
                out.setdefault(key, []).append(path)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    return out


def pair(
    images: Mapping[str, list[Path]],
    forms: Sequence[Masks],
    names: tuple[Path, Sequence[str]] | None = None,
    deep: bool = False,
    aside: tuple[str, ...] = (),
) -> Found:
    """Samples in the order of `names` (a list file and what it lists), else sorted, with their masks.

    Of the forms of masks, the one that most images have is taken, the first where several have as many; one
    image must not be without it. Without `names` all images and all masks must have each other; masks that
    end in one of `aside` belong to another form and may lie there as well.

    Raises InputError that names the first file that is missing, has no partner or is there twice, and says
    how many more there are.
    """
    wanted = list(names[1]) if names else sorted(images)
    listed = [list_files(form.folder, [form.ending], deep) if form.folder.is_dir() else {} for form in forms]
    have = [sum(name in files for name in wanted) for files in listed]
    best = have.index(max(have))
    form, masks = forms[best], listed[best]
    if not wanted or not have[best]:
        endings = " or ".join(f"{f.folder}/NAME{f.ending}" for f in forms)
        what = f"{len(wanted)} images, but no mask" if wanted else "no images"
        raise InputError(f"{form.folder}: {what}: masks are expected as {endings}")
    wrong: list[str] = []
    samples = []
    for name in wanted:
        here, there = images.get(name, []), masks.get(name, [])
        if not here:
            wrong.append(f"{names[0] if names else name}: lists {name}, but there is no such image")
        elif not there:
            wrong.append(f"{here[0]}: has no mask {form.folder / name}{form.ending}")
        elif len(here) + len(there) > 2:
            first, second = (here if len(here) > 1 else there)[:2]
            wrong.append(f"{second}: there is {first.name} too, two files for one image: remove one")
        else:
            samples.append(Sample(name, here[0], there[0]))
    if names is None:
        others = tuple(ending for ending in aside if ending != form.ending)
        loose = (path for key in masks if key not in images for path in masks[key])
        wrong += [f"{path}: has no image" for path in loose if not path.name.endswith(others)]
    complain(wrong)
    return Found(tuple(samples), form.remap, form.read)


def complain(wrong: Sequence[str]) -> None:
    """Raise InputError with the first of the messages and the number of the others; nothing for none."""
    if wrong:
        more = f" (and {len(wrong) - 1} more such problems)" if len(wrong) > 1 else ""
        raise InputError(wrong[0] + more)
