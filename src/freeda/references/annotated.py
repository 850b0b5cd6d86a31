"""Pictures with masks, read as one mask a class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import InputError
from ..images import read_image, reading_mask

if TYPE_CHECKING:
    from ..collection.names import Names

Mask = npt.NDArray[np.bool_]
"""(H, W), true inside."""


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture and the files that say what is where in it."""

    name: str
    """Its path within the folder of pictures, with forward slashes."""
    image: Path
    masks: tuple[tuple[Path, str | None], ...]
    """Each file with the class it is the mask of; None: a label map."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the picture's file, in hex: the same picture, wherever it lies."""
        return _digest([self.image])

    def digest_of_all(self) -> str:
        """SHA-256 of the picture's and its masks' files, in hex."""
        return _digest([self.image, *(path for path, _ in self.masks)])


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

    def masks(self, picture: AnnotatedPicture) -> dict[str, Mask]:
        """Class -> its mask, in the order of the files and of the values in them; (H, W) of the picture.

        A class whose mask file is empty is there with an empty mask. Raises InputError, one line, naming the
        file, for one that cannot be read, whose size is not the picture's, or whose values are not known.
        """
        size = upright_size(picture.image)
        out: dict[str, Mask] = {}
        for path, word in picture.masks:
            coloured = word is None and self.names is not None and self.names.coloured
            values = read_coloured(path) if coloured else read_values(path)
            if values.shape != size:
                said = f"{path}: is {values.shape[1]} x {values.shape[0]} pixels, but its picture "
                said += f"{picture.image.name} is {size[1]} x {size[0]}"
                if values.shape == size[::-1]:
                    said += " once upright by its EXIF orientation: a mask is needed for the upright picture"
                raise InputError(said)
            for name, mask in self._split(path, values) if word is None else [_inside(path, word, values)]:
                out[name] = out[name] | mask if name in out else mask
        return out

    def _split(self, path: Path, values: npt.NDArray[np.int64]) -> Iterator[tuple[str, Mask]]:
        for value in np.unique(values).tolist():
            if value in self.ignored:
                continue
            if self.names is None or value not in self.names:
                shown = f"value {value}" if self.names is None else self.names.show(value)
                raise InputError(
                    f"{path}: holds {shown}, which has no name: add it to the names file, or ignore it "
                    f"(--ignore {value})"
                )
            yield self.names[value], values == value


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


def _digest(paths: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()
