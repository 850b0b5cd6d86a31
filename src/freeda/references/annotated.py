"""Pictures with masks, read as one mask a class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
class Picture:
    """A picture and the files that say what is where in it."""

    name: str
    """Its path within the folder of pictures, with forward slashes."""
    image: Path
    masks: tuple[tuple[Path, str | None], ...]
    """Each file with the class it is the mask of; None: a label map."""

    def digest(self) -> str:
        """SHA-256 of the picture's file, in hex: the same picture, wherever it lies."""
        return _digest([self.image])

    def digest_of_all(self) -> str:
        """SHA-256 of the picture's and its masks' files, in hex."""
        return _digest([self.image, *(path for path, _ in self.masks)])


@dataclass(frozen=True)
class AnnotatedFolder:
    """The pictures of a folder that have masks, and the classes that its label maps name."""

    pictures: list[Picture]
    """Sorted by name."""
    names: Mapping[int, str]
    """Value in a label map -> class."""
    ignored: frozenset[int]
    """Values in a label map that stand for no class."""
    without_mask: int
    """Pictures left out because no mask belongs to them."""
    without_image: int
    """Masks left out because they belong to no picture."""
    said: Names | None = None
    """All that the names file says."""

    def masks(self, picture: Picture) -> dict[str, Mask]:
        """Class -> its mask, in the order of the files and of the values in them; (H, W) of the picture.

        A class whose mask file is empty is there with an empty mask. Raises InputError, one line, naming the
        file, for one that cannot be read, whose size is not the picture's, or whose values are not known.
        """
        size = upright_size(picture.image)
        out: dict[str, Mask] = {}
        for path, word in picture.masks:
            coloured = word is None and self.said is not None and self.said.coloured
            values = read_coloured(path) if coloured else read_values(path)
            if values.shape != size:
                raise InputError(_other_size(path, values.shape, picture.image, size))
            found = {word: _inside(path, word, values)} if word else self._split(path, values)
            for name, mask in found.items():
                out[name] = out[name] | mask if name in out else mask
        return out

    def _split(self, path: Path, values: npt.NDArray[np.int64]) -> dict[str, Mask]:
        out: dict[str, Mask] = {}
        for value in np.unique(values).tolist():
            if value in self.ignored:
                continue
            if value not in self.names:
                shown = f"value {value}" if self.said is None else self.said.show(value)
                raise InputError(
                    f"{path}: holds {shown}, which has no name: add it to the names file, or ignore it "
                    f"(--ignore {value})"
                )
            name, mask = self.names[value], values == value
            out[name] = out[name] | mask if name in out else mask
        return out


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


def _inside(path: Path, word: str, values: npt.NDArray[np.int64]) -> Mask:
    inside = values != 0
    found = np.unique(values[inside])
    if len(found) > 1:
        listed = ", ".join(map(str, found[:4].tolist())) + (", ..." if len(found) > 4 else "")
        raise InputError(
            f"{path}: holds the values {listed} besides 0: the mask of one class ({word!r}) has one"
        )
    return inside


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as `read_image` gives it, as a rule without decoding its pixels."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # whatever it is, reading the picture tells it better
        pixels = read_image(path)
        return pixels.shape[0], pixels.shape[1]


def _other_size(path: Path, mask: tuple[int, ...], image: Path, size: tuple[int, int]) -> str:
    said = f"{path}: is {mask[1]} x {mask[0]} pixels, but its picture {image.name} is {size[1]} x {size[0]}"
    if mask == size[::-1]:
        said += " once upright by its EXIF orientation: a mask is needed for the upright picture"
    return said


def _digest(paths: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()
