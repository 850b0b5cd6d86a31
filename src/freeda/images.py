"""Pictures from anywhere to one form: uint8 RGB arrays, upright."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from .errors import InputError, extra, no_such_file, one_line
from .sources import RAW

RGB = NDArray[np.uint8]
"""A picture: uint8 (H, W, 3), values 0 to 255, red first."""

WORLD = "freeda-world"
"""Keyword of the PNG text chunk, and key in `Image.info`, that says which world a drawn picture is of."""
_SHAPES = "expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
_SLACK = 1e-5  # how far beyond [0, 1] resized or normalised floats may lie by rounding
_TURNS = {  # EXIF 2.3, tag Orientation: what lays the stored rows and columns upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")


def read_image(path: str | Path) -> RGB:
    """The picture in a file as uint8 (H, W, 3) RGB, turned upright as its EXIF orientation says.

    Every colour mode of Pillow is taken: grey, 16-bit, CMYK, Lab, palettes, bilevel; of an animation or of a
    file of many pages the first one. Transparency is composited on white. 16-bit grey is scaled by 1/257,
    floating point grey must lie in [0, 1] or [0, 255]. Embedded colour profiles are not applied.

    Raises InputError naming the file if it is missing, empty, not an image, truncated or too large (more than
    twice `PIL.Image.MAX_IMAGE_PIXELS`, that is 179 million pixels unless you change it).
    """
    name = str(path)
    if not name:
        raise InputError("the image's path is empty")
    try:
        kind = Path(path).stat().st_mode
        if stat.S_ISDIR(kind):
            raise InputError(f"{name}: this is a folder, expected an image file")
        if not stat.S_ISREG(kind):  # reading a pipe or a device could wait for ever
            raise InputError(f"{name}: this is a pipe or a device, expected an image file")
        if Path(path).suffix.lower() in RAW:
            raise InputError(f"{name}: this is a camera's raw file: develop it to JPEG, PNG or TIFF first")
        with open(path, "rb") as file:
            head = file.read(512)
            if not head:
                raise InputError(f"{name}: the file is empty (0 bytes), expected an image")
            file.seek(0)
            return _decode(file, head, name)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(no_such_file(name)) from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # a NUL character, or one that no file name can hold
        raise InputError(f"{name}: not the path of a file ({one_line(error)})") from error


def to_image(source: Any) -> RGB:
    """Any picture as uint8 (H, W, 3) RGB.

    `source` is a path, a `PIL.Image.Image`, or an array (also whatever offers `__array__`, such as a tensor
    on the CPU) of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), channels last, alpha composited on
    white; dtype uint8 (0 to 255), bool, or floating point in [0, 1] (1e-5 beyond passes as rounding). An
    array that already is uint8 (H, W, 3) is not copied.

    Raises InputError for another shape, dtype or range, for NaN, and as `read_image` for paths.
    """
    if isinstance(source, (str, Path)):
        return read_image(source)
    if isinstance(source, Image.Image):
        return _to_rgb(_loaded(source, "image"), "image")
    if not hasattr(source, "__array__"):
        raise InputError(
            f"a {type(source).__name__} is not an image: expected a path, a PIL image or an array"
        )
    try:
        array = np.asarray(source)
    except Exception as error:  # a tensor on another device, of bfloat16, with a gradient, ...
        raise InputError(
            f"this {type(source).__name__} cannot be read as an image array ({one_line(error)})"
        ) from error
    return _from_array(array)


def of_world(pixels: RGB, world: str) -> Image.Image:
    """A drawn picture with a record of the world that it is of, which PNG files keep (`show.write_image`)."""
    image = Image.fromarray(pixels)
    image.info[WORLD] = f"{_digest(pixels, world)} {world}"
    return image


def world_of(source: Any, pixels: RGB | None = None) -> str:
    """The world that a picture is of by its record; "" where it has none, or one of other pixels.

    `source` is a path, a PIL picture or anything else, which has no record; `pixels` are those of the
    picture where they are at hand. A name tells nothing, and whoever changes the picture ends the record.
    """
    info: Any = getattr(source, "info", None)
    if isinstance(source, (str, Path)):
        with silence(), suppress(Exception), Image.open(source) as header:  # of what is none, others tell
            info = header.info
    told = info.get(WORLD) if isinstance(info, dict) else None
    if not isinstance(told, str):
        return ""
    digest, _, world = told.partition(" ")
    return world if digest == _digest(to_image(source) if pixels is None else pixels, world) else ""


@contextmanager
def silence() -> Iterator[None]:
    """Pillow warns of large pictures and of untidy metadata; neither spoils the pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def reading_mask(path: str | Path) -> Iterator[None]:
    """Whatever decoding a mask raises becomes one InputError that names the file."""
    with silence():
        try:
            yield
        except InputError:
            raise
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except Image.DecompressionBombError as error:
            raise too_large(path, error) from error
        except Exception as error:  # decoders meet damaged bytes in many ways
            raise InputError(f"{path}: this mask cannot be read ({one_line(error)})") from error


def _digest(pixels: RGB, world: str) -> str:
    return sha256(f"{world}\n{pixels.shape}\n".encode() + pixels.tobytes()).hexdigest()


def _decode(file: Any, head: bytes, name: str) -> RGB:
    with silence():
        try:
            if _is_heif(head):
                with suppress(ImportError):
                    from pillow_heif import register_heif_opener

                    register_heif_opener()
            image: Image.Image = Image.open(file)
        except UnidentifiedImageError as error:
            raise InputError(f"{name}: {_foreign(head)}") from error
        except Image.DecompressionBombError as error:
            raise too_large(name, error) from error
        # Decoders meet damaged bytes in many ways (OSError, SyntaxError, struct.error, EOFError, ...).
        except Exception as error:
            raise InputError(f"{name}: this image is damaged ({one_line(error)})") from error
        if image.format in ("EPS", "WMF"):  # Pillow would hand them to another program to be drawn
            raise InputError(f"{name}: {_foreign(head)}")
        return _to_rgb(_loaded(image, name), name)


def _loaded(image: Image.Image, name: str) -> Image.Image:
    """The image with its pixels decoded, upright."""
    try:
        image.load()
        return _upright(image)
    except MemoryError as error:
        raise InputError(f"{name}: {image.width} x {image.height} pixels do not fit into memory") from error
    except Image.DecompressionBombError as error:
        raise too_large(name, error) from error
    except Exception as error:
        raise InputError(f"{name}: this image is truncated or damaged ({one_line(error)})") from error


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF


def _foreign(head: bytes) -> str:
    """What a file that Pillow does not read is, as far as its first bytes tell."""
    if _is_heif(head):
        return f"this is a HEIC or AVIF photograph: {extra('heif')}, or export it as PNG or JPEG"
    text = head.lower()
    for what, found in (
        ("a video", head[4:8] == b"ftyp" or head.startswith(b"\x1aE\xdf\xa3")),
        ("a PDF document", head.startswith(b"%PDF")),
        ("a PostScript drawing", head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6"))),
        ("a Windows metafile", head.startswith((b"\xd7\xcd\xc6\x9a", b"\x01\0\0\0"))),
        ("an SVG drawing", b"<svg" in text),
        ("a web page", b"<html" in text or text.lstrip().startswith(b"<!doctype html")),
        ("an archive", head.startswith((b"PK\3\4", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!"))),
        ("a NumPy file", head.startswith(b"\x93NUMPY")),
    ):
        if found:
            return f"this is {what}, not an image that can be read: export it as PNG or JPEG"
    return "not an image (or of a kind that Pillow cannot read)"


def too_large(name: str | Path, error: Image.DecompressionBombError) -> InputError:
    """The error for a picture that Pillow refuses by its size, which it tells in its message alone."""
    pixels = re.search(r"\d+", str(error))
    has = f"{int(pixels[0]):,} pixels" if pixels else "very many pixels"
    most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    return InputError(
        f"{name}: this image is too large: {has}, at most {most:,} are read: reduce it, or raise "
        "PIL.Image.MAX_IMAGE_PIXELS"
    )


def _upright(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose: it also writes the EXIF block anew, and fails where another tag is damaged.
    turn: Any = None
    with suppress(Exception):
        turn = _TURNS.get(image.getexif().get(0x0112, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, name: str) -> RGB:
    """Pixels of a loaded PIL image in any mode as uint8 (H, W, 3)."""
    if image.width == 0 or image.height == 0:
        raise InputError(f"{name}: this image has no pixels ({image.width} x {image.height})")
    mode = image.mode
    if mode.startswith("I;16"):
        samples = np.asarray(image)
        grey = _grey(samples.astype(np.float64) / 257.0)
        if isinstance(image.info.get("transparency"), int):
            grey[samples == image.info["transparency"]] = 255
        return grey
    if mode in ("I", "F"):
        return _grey(_guess_range(np.asarray(image).astype(np.float64), mode, name))
    if mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    try:
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
            return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
        if mode == "LAB":
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
            assert converted is not None  # only with inPlace=True
            image = converted
        return np.array(image.convert("RGB"))
    except (ValueError, OSError, ImageCms.PyCMSError) as error:
        raise InputError(
            f"{name}: colour mode {mode} cannot be turned into RGB ({one_line(error)})"
        ) from error


def _guess_range(values: NDArray[np.float64], mode: str, name: str) -> NDArray[np.float64]:
    """32-bit samples carry no range of their own: 16-bit for integers, [0, 1] or [0, 255] for floats."""
    low, high = float(values.min()), float(values.max())
    if mode == "I" and low >= 0 and high <= 65535:
        return values / 257.0
    if mode == "F" and low >= 0 and high <= 255:
        return values * 255.0 if high <= 1 else values
    wanted = "0 to 65535" if mode == "I" else "0 to 1 or 0 to 255"
    raise InputError(f"{name}: 32-bit grey values run from {low:g} to {high:g}, expected {wanted}")


def _grey(values: NDArray[np.float64]) -> RGB:
    grey = np.rint(values).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _from_array(array: NDArray[Any]) -> RGB:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; channels come last: transpose(1, 2, 0)" if first else ""
        raise InputError(f"image array has shape {array.shape}, {_SHAPES}{hint}")
    if array.size == 0:
        raise InputError(f"image array has shape {tuple(array.shape)}: it has no pixels")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        # `not (good)` is also true for NaN, which no comparison finds.
        low, high = float(array.min()), float(array.max())
        if not (low >= -_SLACK and high <= 1.0 + _SLACK):
            raise InputError(
                f"image array of {array.dtype} runs from {low:g} to {high:g}, "
                "expected values in [0, 1] without NaN"
            )
        array = np.rint(array.astype(np.float64).clip(0.0, 1.0) * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"image array has dtype {array.dtype}, expected uint8 or floating point in [0, 1]")
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    elif array.shape[-1] == 4:
        alpha = array[..., 3:].astype(np.float64) / 255.0
        array = np.rint(array[..., :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(array)
