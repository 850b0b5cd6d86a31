"""Folders of pictures with masks, in the layouts that people have."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..collection.names import NAMES_FILES, NO_CLASS, Names, class_word, find_names
from ..errors import InputError, no_such_file
from ..sources import SUFFIXES, files_below, find_images
from .annotated import AnnotatedFolder, AnnotatedPicture, Pairs

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "photos", "pictures")
MASK_FOLDERS = (
    *("masks", "mask", "annotations", "labels", "segmentationclasspng", "segmentationclass"),
    *("segmentation", "gt"),
)
"""Where masks are looked for, in any case; without such folders pictures and masks lie side by side."""
MASK_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".pbm"})
"""Files that keep every value as it was; JPEG and its like do not."""
IGNORED = (0, 255)
"""Values of a label map that stand for nothing, unless they have a name."""
_ENDINGS = ("_mask", ".mask", "_labels", ".labels", "_label", "_gt")


def open_folder(
    folder: str | Path,
    names: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    ignore: Iterable[int] = (),
) -> AnnotatedFolder:
    """Find the pictures of an annotated folder and the masks that belong to them; no pixel is read yet.

    A mask belongs to the picture P.jpg if, under the folder of masks, it is P.png (a label map; P_mask.png
    and the like too), CLASS/P.png or P/CLASS.png (a mask of that class: 0 outside, one other value inside);
    P may lie in folders of folders. Label maps need a names file.

    Args:
        folder: what holds pictures and masks.
        names: the names file, by itself or in `folder`; None looks for one of `NAMES_FILES` (docs/words.md).
        images, masks: their folders, by themselves or within `folder`; None looks for the usual names, and
            takes `folder` itself where there are none.
        ignore: values of label maps that stand for nothing, besides `IGNORED` and names such as "background".

    Raises InputError, one line, where something is missing or no picture has a mask.
    """
    pairs, folder = pair_folder(folder, images, masks), Path(folder)
    if not pairs.pictures:
        raise InputError(
            f"{folder}: no picture in {pairs.images} has a mask in {pairs.masks}: for P.jpg, P.png (with a "
            "names file), CLASS/P.png or P/CLASS.png is needed; --images and --masks name other folders"
        )
    known = find_names([folder], None if names is None else Path(names))
    if known is None and any(word is None for p in pairs.pictures for _, word in p.masks):
        raise InputError(
            f"{folder}: its label maps need a names file that says which class each value is: "
            f'{NAMES_FILES[0]} such as {{"1": "cat"}}, or --names FILE'
        )
    ignore = list(ignore)
    for value in ignore:
        if type(value) is not int or value < 0:
            raise InputError(f"ignore holds {value!r}: values of a mask are whole numbers")
    nothing = (value for value, name in (known or {}).items() if name in NO_CLASS)
    return AnnotatedFolder(pairs, known, frozenset([*unnamed(known), *nothing, *ignore]))


def unnamed(names: Names | None) -> set[int]:
    """Values that stand for nothing since they have no name: 0 and 255, or black."""
    usual = (0,) if names is not None and names.coloured else IGNORED
    return {value for value in usual if names is None or value not in names}


def pair_folder(
    folder: str | Path, images: str | Path | None = None, masks: str | Path | None = None
) -> Pairs:
    """The pictures of a folder that have masks, found and paired as `open_folder` says; names aside."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(no_such_file(folder, "there is no such folder"))
    image_place, mask_place = _place(folder, images, IMAGE_FOLDERS), _place(folder, masks, MASK_FOLDERS)
    paths = find_images(image_place, recursive=True)
    mask_paths = sorted(p for p in files_below(mask_place) if _is_mask(p))
    # By their names, not by where links lead: data sets are often put together of links.
    images_at, masks_at = _plain(image_place), _plain(mask_place)
    if images_at == masks_at:
        paths, mask_paths = _side_by_side(paths)
    elif images_at in masks_at.parents:
        paths = [p for p in paths if masks_at not in _plain(p).parents]
    elif masks_at in images_at.parents:
        mask_paths = [p for p in mask_paths if images_at not in _plain(p).parents]
    by_key: dict[str, Path] = {}
    for path in paths:
        key = _key(path, image_place)
        if any("\ud800" <= c <= "\udfff" for c in key):  # what Python makes of bytes that are no text
            raise InputError(f"{path}: its name is not UTF-8 text: rename it")
        if key in by_key:
            raise InputError(f"{path}: {by_key[key].name} has the same name: no mask could tell them apart")
        by_key[key] = path
    found: dict[str, list[tuple[Path, str | None]]] = {key: [] for key in sorted(by_key)}
    orphans = []
    for path in mask_paths:
        owner, word = _belongs(_key(path, mask_place), found)
        if owner is None:
            orphans.append(path)
        else:
            found[owner].append((path, None if word is None else class_word(word, f"{path}: ")))
    pictures = [
        AnnotatedPicture(by_key[key].relative_to(image_place).as_posix(), by_key[key], tuple(files))
        for key, files in found.items()
        if files
    ]
    left = [path for key, path in by_key.items() if not found[key]]
    return Pairs(pictures, left, orphans, image_place, mask_place)


def _place(folder: Path, given: str | Path | None, usual: Sequence[str]) -> Path:
    if given is not None:
        # A folder's own comes first: "--masks masks" means the one in it, wherever one stands.
        for place in (folder / given, Path(given)):
            if place.is_dir():
                return place
        raise InputError(f"{folder / given}: there is no such folder")
    there = {p.name.lower(): p for p in sorted(folder.iterdir(), reverse=True) if p.is_dir()}
    return next((there[name] for name in usual if name in there), folder)


def _plain(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - without "..", and with links as they are called


def _is_mask(path: Path) -> bool:
    return path.suffix.lower() in MASK_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _side_by_side(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Pictures and masks of one folder: a mask says so in its name, or a picture of its name lies there."""
    lossy = {p.with_suffix("") for p in paths if p.suffix.lower() in SUFFIXES - MASK_SUFFIXES}
    masks = [p for p in paths if _is_mask(p) and (_bare(p.stem) != p.stem or p.with_suffix("") in lossy)]
    chosen = set(masks)
    return [p for p in paths if p not in chosen], masks


def _key(path: Path, place: Path) -> str:
    return path.relative_to(place).with_suffix("").as_posix()


def _bare(stem: str) -> str:
    return next((stem.removesuffix(end) for end in _ENDINGS if stem.endswith(end)), stem)


def _belongs(key: str, pictures: Mapping[str, object]) -> tuple[str | None, str | None]:
    """The picture a mask belongs to, and its class (None: a label map); (None, None) where it has none."""
    for whole in (key, _bare(key)):
        if whole in pictures:
            return whole, None
        first, _, rest = whole.partition("/")
        if rest in pictures:
            return rest, first
        parent, _, last = whole.rpartition("/")
        if parent in pictures:
            return parent, last
    return None, None
