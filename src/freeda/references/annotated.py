"""Folders of pictures with masks, in the layouts that people have, read as one mask a class."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..collection.names import NAMES_FILES, NO_CLASS, Names, class_word, find_names
from ..errors import InputError, no_such_file
from ..images import RGB, read_image, reading_mask, to_image
from ..sources import SUFFIXES, files_below, find_images
from .shapes import Mask, Shape

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


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture and the files that say what is where in it."""

    name: str
    """Its path within the folder of pictures, with forward slashes."""
    image: Path
    """Its file, or the LabelMe file that holds it."""
    masks: tuple[tuple[Path, str | None], ...] = ()
    """Each file with the class it is the mask of; None: a label map."""
    names: Names | None = None
    """Which class each value of its label maps is; None: as in all of the folder."""
    shapes: tuple[Shape, ...] = ()
    """What other tools' files say of it, in the order in which they paint."""
    size: tuple[int, int] | None = None
    """(height, width) that those files tell."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the picture's file, in hex: the same picture, wherever it lies."""
        return _digest([_bytes(self.image)])

    def digest_of_all(self) -> str:
        """SHA-256, in hex, of the picture and of all that says what is where in it."""
        told = [list((self.names or {}).items()), [(s.word, s.rule, s.data) for s in self.shapes]]
        shapes = [json.dumps(told).encode()] if any(told) else []
        return _digest([_bytes(self.image), *(_bytes(path) for path, _ in self.masks), *shapes])

    def pixels(self) -> RGB:
        """The picture, upright. Raises InputError."""
        if self.image.suffix != ".json":
            return read_image(self.image)
        with reading_mask(self.image), Image.open(io.BytesIO(_bytes(self.image))) as image:
            return to_image(image)

    def upright_size(self) -> tuple[int, int]:
        """(height, width). Raises InputError where the files tell another."""
        found = self.pixels().shape[:2] if self.image.suffix == ".json" else upright_size(self.image)
        if self.size is not None:
            _check_size(
                self.shapes[0].place if self.shapes else str(self.masks[0][0]), self.size, self, found
            )
        return found[0], found[1]


@dataclass(frozen=True)
class Pairs:
    """The pictures of a folder with their masks, and what is left over."""

    pictures: list[AnnotatedPicture]
    """Those that have a mask, sorted by name."""
    without_mask: list[Path]
    without_image: list[Path]
    images: Path
    """The folder in which pictures were looked for; the folder itself where none has a usual name."""
    masks: Path


@dataclass(frozen=True)
class AnnotatedFolder:
    """The pictures of a folder with their masks, and the classes that its label maps name."""

    pairs: Pairs
    names: Names | None
    """What the names file says."""
    ignored: frozenset[int]
    """Values in a label map that stand for no class."""
    told: str = ""
    """What was read, in a line."""
    layered: bool = False
    """Whether a shape covers those before it: then a pixel has one class."""
    left: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """What was left out -> how often, and where first."""

    def masks(self, picture: AnnotatedPicture) -> dict[str, Mask]:
        """Class -> its mask, in the order of the files and of the values in them; (H, W) of the picture.

        A class whose mask file is empty is there with an empty mask. Raises InputError, one line, naming the
        file, for one that cannot be read, whose size is not the picture's, or whose values are not known.
        """
        size = picture.upright_size()
        names = self.names if picture.names is None else picture.names
        out: dict[str, Mask] = {}
        for path, word in picture.masks:
            coloured = word is None and names is not None and names.coloured
            values = read_coloured(path) if coloured else read_values(path)
            _check_size(str(path), values.shape, picture, size)
            split = self._split(path, values, names) if word is None else [_inside(path, word, values)]
            for name, mask in split:
                out[name] = out[name] | mask if name in out else mask
        for shape in picture.shapes:
            top, left, mask = shape.window(size)
            place = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
            for below in out.values() if self.layered else ():
                below[place] &= ~mask
            if shape.word not in NO_CLASS:
                out.setdefault(shape.word, np.zeros(size, dtype=bool))[place] |= mask
        return out

    def _split(
        self, path: Path, values: npt.NDArray[np.int64], names: Names | None
    ) -> Iterator[tuple[str, Mask]]:
        for value in np.unique(values).tolist():
            if value in self.ignored or (names or {}).get(value) in NO_CLASS:
                continue
            if names is None or value not in names:
                shown = f"value {value}" if names is None else names.show(value)
                if names is not self.names and names is not None:
                    raise InputError(f"{path}: holds {shown}, which is no segment's in {names.path}")
                raise InputError(
                    f"{path}: holds {shown}, which has no name: add it to the names file, or ignore it "
                    f"(--ignore {value})"
                )
            yield names[value], values == value


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
    told = "" if known is None else str(known)
    return AnnotatedFolder(pairs, known, frozenset([*unnamed(known), *ignore]), told)


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
    image_place, mask_place = (
        folder_place(folder, images, IMAGE_FOLDERS),
        folder_place(folder, masks, MASK_FOLDERS),
    )
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


def folder_place(folder: Path, given: str | Path | None, usual: Sequence[str]) -> Path:
    """The folder `given`, by itself or within `folder`; None: the first `usual` one, or `folder` itself."""
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


def read_coloured(path: Path) -> npt.NDArray[np.int64]:
    """(H, W) colours of a mask's pixels, red * 65536 + green * 256 + blue; transparency is left aside."""
    with reading_mask(path), Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB")).astype(np.int64)
    return (rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2]


def read_values(path: Path) -> npt.NDArray[np.int64]:
    """The values of a mask's pixels (H, W). Raises InputError for what is no mask."""
    with reading_mask(path), Image.open(path) as image:
        image.load()
        if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.int64)
        if image.mode in ("RGB", "RGBA", "LA"):
            channels = np.asarray(image)[..., : 1 if image.mode == "LA" else 3]
            if (channels == channels[..., :1]).all():
                return channels[..., 0].astype(np.int64)
        mode = image.mode
    raise InputError(
        f"{path}: its colours are no class values ({mode}): a mask is a grey or palette PNG of them, or the "
        "names file gives the colours of a label map"
    )


def _check_size(place: str, told: Sequence[int], picture: AnnotatedPicture, size: Sequence[int]) -> None:
    if tuple(told) != tuple(size):
        said = f"{place}: is {told[1]} x {told[0]} pixels, but its picture "
        said += f"{picture.image.name} is {size[1]} x {size[0]}"
        if tuple(told) == tuple(size[::-1]):
            said += " once upright by its EXIF orientation: a mask is needed for the upright picture"
        raise InputError(said)


def _inside(path: Path, word: str, values: npt.NDArray[np.int64]) -> tuple[str, Mask]:
    inside = values != 0
    found = np.unique(values[inside])
    if len(found) > 1:
        listed = ", ".join(map(str, found[:4].tolist())) + (", ..." if len(found) > 4 else "")
        raise InputError(
            f"{path}: holds the values {listed} besides 0: the mask of one class ({word!r}) has one"
        )
    return word, inside


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as `read_image` gives it, as a rule without decoding its pixels."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # whatever it is, reading the picture tells it better
        pixels = read_image(path)
        return pixels.shape[0], pixels.shape[1]


def _bytes(path: Path) -> bytes:
    """A file's bytes; of a LabelMe file those of the picture that it holds."""
    try:
        data = path.read_bytes()
        return base64.b64decode(json.loads(data)["imageData"]) if path.suffix == ".json" else data
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: holds no picture: imageData is no base64") from error


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for data in parts:
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()
