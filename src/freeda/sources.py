"""Image files by path, folder or pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import ADDRESS, InputError, no_such_file
from .options.exports import is_own

RAW = frozenset(
    {".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".srf", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f"}
)
"""A camera's own formats: of some of them Pillow would read the thumbnail."""
Images = str | Path | Iterable[str | Path]
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".dib", ".apng", ".mpo"}
    | {".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".heic", ".heif", ".hif"}
    | RAW
)
"""What counts as an image in a folder, also where reading it fails, which is then told; a file that is named
may have any suffix."""


def find_images(images: Images, recursive: bool = False) -> list[Path]:
    """Files named by paths, folders (`recursive`: with theirs) and globs, each once, folders' files sorted.

    Links are followed, and count by their own names: two links to one file are two photographs.

    In a folder, and where a glob leaves the suffix open, only files with an image's suffix count, and neither
    hidden files nor the pictures that freeda itself writes do. Raises InputError for a path that is not there
    and for a folder or glob without images.
    """
    given = [images] if isinstance(images, (str, Path)) else list(images)
    found: dict[str, Path] = {}
    for item in given:
        if not isinstance(item, (str, Path)):
            raise InputError(f"a {type(item).__name__} names no image file: expected paths")
        if not str(item):
            raise InputError("an image's path is empty")
        for path in _expand(Path(item), recursive):
            found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - two links are two photographs
    if not found:
        raise InputError("no images were given: name files, folders or patterns such as 'photos/*.jpg'")
    return list(found.values())


def every_image(images: Images | Iterable[Any], recursive: bool = False) -> Iterable[Any]:
    """`find_images`; images that are no files (arrays, PIL's) are taken as they are, one by one.

    An iterator, or what makes one, is asked only for what is needed next, and its paths are taken as they are
    where they name no image. Raises InputError as `find_images`.
    """
    if isinstance(images, (str, Path)):
        return find_images(images, recursive)
    if is_one(images):
        return [images]
    if not hasattr(images, "__iter__"):
        raise InputError(f"a {type(images).__name__} names no image file: expected paths, or images")
    if not isinstance(images, Collection):
        return (one for item in images for one in _in_its_turn(item, recursive))
    given = list(images)
    if all(isinstance(item, (str, Path)) for item in given):
        return find_images(given, recursive)
    return [one for item in given for one in _one_or_more(item, recursive)]


def is_one(images: Any) -> bool:
    """Whether this is one image (a path, or an array, tensor or picture of PIL's), not any number of them."""
    arrays = ("__array__", "__array_interface__")
    pixels = any(hasattr(images, name) for name in arrays) and getattr(images, "ndim", 3) in (0, 2, 3)
    return pixels or isinstance(images, (str, Path))


def _one_or_more(item: Any, recursive: bool) -> list[Any]:
    return find_images(item, recursive) if isinstance(item, (str, Path)) else [item]


def _in_its_turn(item: Any, recursive: bool) -> list[Any]:
    """The same for an item of an iterator: a path that is not there is told when it is read."""
    try:
        return _one_or_more(item, recursive)
    except InputError:
        return [item]


def files_below(folder: Path, deep: bool = True) -> Iterator[Path]:
    """The files of a folder, `deep` those of its folders too, but for hidden folders; sorted in each.

    Linked folders are entered (data sets are often put together of links), except one that leads back to a
    folder that it lies in. Raises OSError for a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    above = {str(folder): frozenset({os.path.realpath(folder)})}
    for place, inner, files in os.walk(folder, onerror=refuse, followlinks=True):
        yield from (Path(place, name) for name in sorted(files))
        own, inner[:] = above.pop(place), sorted(inner) if deep else []
        for name in list(inner):
            real = os.path.realpath(Path(place, name))
            if name.startswith(".") or real in own:
                inner.remove(name)
            else:
                above[os.path.join(place, name)] = own | {real}  # noqa: PTH118 - as os.walk calls it


def _expand(path: Path, recursive: bool) -> list[Path]:
    try:
        if path.is_dir():
            inside = sorted(p for p in files_below(path, recursive) if _is_image(p))
            if not inside:
                raise InputError(
                    f"{path}: this folder holds no images (.jpg, .png, ...)"
                    + ("" if recursive else "; folders in it are looked into only with recursive")
                )
            return inside
        if path.exists():
            return [path]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not glob.has_magic(str(path)) or ADDRESS.match(str(path)):
        raise InputError(no_such_file(path))
    any_suffix = glob.has_magic(path.suffix) or not path.suffix
    # Not Path.glob: that takes no absolute patterns.
    matched = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    files = [p for p in matched if p.is_file() and (_is_image(p) if any_suffix else not is_own(p.name))]
    if not files:
        raise InputError(f"{path}: no image file fits this pattern")
    return files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not is_own(path.name)
