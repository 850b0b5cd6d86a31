"""Finding a benchmark's folder, pairing its images with their masks, and turning masks' values to labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, no_such_file
from ...references.annotated import read_values
from ...sources import files_below
from ..metric import IGNORE as IGNORE

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
MOST_LABELS = 254
"""As many labels, a background included, as one data set can have beside `IGNORE`."""
_UNKNOWN = -1


class Remap:
    """Which label each value of a mask file stands for."""

    def __init__(self, labels: Mapping[int, int], expected: str, show: Callable[[int], str] = str) -> None:
        """`labels`: value in the file, 0 to 2^24 - 1 -> label or `IGNORE`; any other value is an error.

        `expected` ends the message about such a value ("0 to 20, or 255 for pixels that do not count");
        `show` writes a value for it.
        """
        self.expected, self.show = expected, show
        self._table = np.full(max(labels, default=0) + 1, _UNKNOWN, dtype=np.int16)
        self._table[list(labels)] = list(labels.values())

    def __call__(self, values: NDArray[np.int64], path: Path) -> NDArray[np.uint8]:
        """(H, W) values of the mask file `path` as (H, W) labels. InputError for an unknown value."""
        inside = (values >= 0) & (values < len(self._table))
        found = self._table[values if inside.all() else np.where(inside, values, 0)]
        unknown = ~inside | (found == _UNKNOWN)
        if unknown.any():
            value = int(values[unknown].min())
            raise InputError(f"{path}: holds {self.show(value)}, expected {self.expected}")
        return found.astype(np.uint8)


def in_order(values: Sequence[int], more: Mapping[int, int], expected: str) -> Remap:
    """`values` stand for the labels 0, 1, 2, ... in their order; `more` says what other values stand for."""
    return Remap({**{value: i for i, value in enumerate(values)}, **more}, expected)


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
class MaskFiles:
    """One of the forms that a data set's masks may have."""

    folder: str
    """Within the data set."""
    ending: str
    """A mask is called as its image, with this ending."""
    remap: Remap
    read: Callable[[Path], NDArray[np.int64]] = read_values


def no_folder(data: Path) -> str:
    """How a message begins about `data` that is no folder."""
    if data.exists():
        return f"{data}: this is a file, not a folder"
    return no_such_file(data, "there is no such folder")


def find_samples(
    data: Path,
    title: str,
    places: Sequence[str],
    images: str,
    forms: Sequence[MaskFiles],
    lists: Sequence[str] = (),
    ending: str = "",
    aside: Sequence[str] = (),
) -> Found:
    """The images of a benchmark with their masks, in the order of its list of names, else sorted.

    Args:
        data: the folder that holds it, or one of `places` in it.
        title: its name, for messages.
        images: the folder of its images.
        forms: of these the one is taken that most images have, the first where several have as many; one
            image must not be without it.
        lists: files of image names, one a line, of which the first that is there is taken; none: all images
            and all masks must have each other.
        ending: what images' names end in, in folders of folders; "": any of `IMAGE_ENDINGS`, in one folder.
        aside: endings of masks that may lie there in a form that is not taken.

    Raises InputError that says what is expected and which part of it is missing; or names the first file that
    has no partner or is there twice, and says how many more there are.
    """
    name = "CITY/NAME" if ending else "NAME"
    masks = " or ".join(f"{form.folder}/{name}{form.ending}" for form in forms)
    expected = [f"{images}/{name}{ending or '.jpg'}", masks, *([" or ".join(lists)] if lists else [])]
    told = f"{title} is {', '.join(expected[:-1])} and {expected[-1]}"
    folders = tuple(dict.fromkeys(form.folder for form in forms))
    root = _find_root(data, told, places, [(images,), folders, *([lists] if lists else [])])
    there = list_files(root / images, (ending,) if ending else IMAGE_ENDINGS, bool(ending))
    path, names = read_list([root / one for one in lists]) if lists else (None, sorted(there))
    listed = [
        list_files(root / form.folder, (form.ending,), bool(ending)) if (root / form.folder).is_dir() else {}
        for form in forms
    ]
    have = [sum(name in files for name in names) for files in listed]
    best = have.index(max(have))
    form, found = forms[best], listed[best]
    folder = root / form.folder
    if not have[best]:
        what = f"{len(names)} images, but no mask" if names else "no images"
        raise InputError(f"{folder}: {what}: masks are expected as {masks}")
    wrong: list[str] = []
    samples = []
    for name in names:
        pictures, own = there.get(name, []), found.get(name, [])
        if not pictures:
            wrong.append(f"{path}: lists {name}, but there is no such image")
        elif not own:
            wrong.append(f"{pictures[0]}: has no mask {folder / name}{form.ending}")
        elif len(pictures) + len(own) > 2:
            first, second = (pictures if len(pictures) > 1 else own)[:2]
            wrong.append(f"{second}: there is {first.name} too, two files for one image: remove one")
        else:
            samples.append(Sample(name, pictures[0], own[0]))
    if not lists:
        others = tuple(one for one in aside if one != form.ending)
        loose = (file for key in found if key not in there for file in found[key])
        wrong += [f"{file}: has no image" for file in loose if not file.name.endswith(others)]
    complain(wrong)
    return Found(tuple(samples), form.remap, form.read)


def _find_root(data: Path, told: str, places: Sequence[str], needed: Sequence[Sequence[str]]) -> Path:
    """`data` or one of `places` in it, whichever holds one of each of the files and folders `needed`."""
    if not data.is_dir():
        raise InputError(f"{no_folder(data)}; {told} in it")
    roots = [data, *(data / place for place in places)]
    lacking = [
        [" or ".join(names) for names in needed if not any((root / name).exists() for name in names)]
        for root in roots
    ]
    missing = min(lacking, key=len)
    root = roots[lacking.index(missing)]
    if missing:
        also = "" if root != data else f" (or in its {' or '.join(places)})"
        raise InputError(f"{root}: has no {', '.join(missing)}: {told} in this folder{also}")
    return root


def read_list(paths: Sequence[Path]) -> tuple[Path, list[str]]:
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
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"{path}: lists {twice[0]} twice: every image counts once")
    return path, names


def list_files(folder: Path, endings: Sequence[str], deep: bool) -> dict[str, list[Path]]:
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


def complain(wrong: Sequence[str]) -> None:
    """Raise InputError with the first of the messages and the number of the others; nothing for none."""
    if wrong:
        more = f" (and {len(wrong) - 1} more such problems)" if len(wrong) > 1 else ""
        raise InputError(wrong[0] + more)
