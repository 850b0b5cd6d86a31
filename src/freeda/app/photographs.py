"""Photographs that visitors send, or a folder holds: bounds told before decoding, plain names, samples."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from ..errors import InputError
from ..images import RGB, of_world, read_image, silence, to_image
from ..miniature.scenes import HELD_OUT, render
from ..presets import DRAWN
from ..show.tiles import enlarge
from ..source_file import SourceFile, source_file
from .limits import Limits, Refused

_CHOSEN = (25, 11, 38, 28, 22, 16)  # of both kinds: in the last two, something small is missed
_ONCE = Lock()
_LARGER = 4  # scenes are 128 pixels wide, which is little for a page


def size_of(path: Path, name: str, limits: Limits) -> tuple[int, int]:
    """(height, width) of a photograph, upright. Raises Refused (413) for too many pixels, InputError for what
    is no image; both call it `name`, as no visitor need know our folders.
    """
    if not path.is_file():  # opening a pipe would wait for ever
        read(path, name)
    try:
        with silence(), Image.open(path) as header:
            width, height = header.size
            turned = header.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except Image.DecompressionBombError as error:
        raise Refused(413, f"{name} has far too many megapixels: at most {limits.megapixels}") from error
    except Exception:  # a format that has to be asked otherwise, or no image, which is told there
        height, width = read(path, name).shape[:2]
        turned = False
    if (millions := width * height / 1e6) > limits.megapixels:
        raise Refused(413, f"{name} has {millions:.1f} megapixels: at most {limits.megapixels}")
    return (width, height) if turned else (height, width)


def stat_of(path: Path) -> tuple[int, int]:
    """Bytes and time of change of a file; (-1, 0) where there is none."""
    try:
        told = path.stat()
    except OSError:
        return -1, 0
    return told.st_size, told.st_mtime_ns


def read(path: Path, name: str) -> RGB:
    """Its pixels (H, W, 3). Raises InputError, which calls it `name`."""
    try:
        return read_image(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error


def reduced(pixels: RGB, limits: Limits) -> RGB:
    """A picture with at most `Limits.working_megapixels`, as it is where it has no more."""
    height, width = pixels.shape[:2]
    scale = (limits.working_megapixels * 1e6 / (height * width)) ** 0.5
    if scale >= 1:
        return pixels
    size = max(1, int(width * scale)), max(1, int(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def small_jpeg(path: Path, name: str, side: int) -> bytes:
    """A photograph as JPEG, upright, at most `side` pixels long."""
    try:
        with silence(), Image.open(path) as file:
            file.draft("RGB", (side, side))  # a large JPEG is decoded at a fraction of its size
            pixels = to_image(file)
    except Exception:
        pixels = read(path, name)  # or its error
    image, out = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def file_of(path: Path, name: str, size: tuple[int, int]) -> SourceFile:
    """What is remembered of its file: its name and its place on a map, but no folder of ours."""
    place = source_file(path, size).place
    if place is not None:
        place = replace(place, problem=place.problem.replace(str(path.absolute()), name))
    return SourceFile(name, None, place)


def safe_stem(name: str) -> str:
    """A plain file name made of whatever a file was called: letters, digits, - and _."""
    stem = re.sub(r"[^\w-]+", "-", Path(name).stem, flags=re.ASCII).strip("-_")
    return stem[:60] or "photograph"


def plain_name(name: str | None) -> str:
    """What a sent photograph is called: the last part of its name, cut to a length that can be shown."""
    return (name or "").replace("\\", "/").rpartition("/")[2][-100:] or "photograph"


@dataclass(frozen=True)
class SampleScene:
    """A scene and what is in it."""

    name: str
    image: RGB
    words: str

    @property
    def picture(self) -> Image.Image:
        """The image with the record of the world that it is of."""
        return of_world(self.image, DRAWN)


def samples() -> tuple[SampleScene, ...]:
    """The bundled scenes, the one shown first in front. No model has seen them in training."""
    with _ONCE:  # not by every visitor of the first second
        return _rendered()


@lru_cache(maxsize=1)
def _rendered() -> tuple[SampleScene, ...]:
    found = []
    for number, index in enumerate(_CHOSEN, start=1):
        scene = render(HELD_OUT, index)
        words = ", ".join((scene.backdrop, scene.ground, *(thing.kind for thing in scene.things)))
        found.append(SampleScene(f"scene-{number}.png", enlarge(scene.image, _LARGER), words))
    return tuple(found)
