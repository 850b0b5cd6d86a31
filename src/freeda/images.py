"""Pictures from anywhere to one form: uint8 RGB arrays, upright."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from .errors import InputError

RGB = NDArray[np.uint8]
"""A picture: uint8 (H, W, 3), values 0 to 255, red first."""

_SHAPES = "expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"


def read_image(path: str | Path) -> RGB:
    """The picture in a file as uint8 (H, W, 3) RGB, turned upright as its EXIF orientation says.

    Every colour mode of Pillow is taken: grey, 16-bit, CMYK, Lab, palettes, bilevel; of an animation the
    first frame. Transparency is composited on white. 16-bit grey is scaled by 1/257, floating point grey
    must lie in [0, 1] or [0, 255].

    Raises InputError naming the file if it is missing, empty, not an image, truncated or too large.
    """
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise InputError(f"{path}: the file is empty (0 bytes), expected an image")
            file.seek(0)
            return _decode(file, str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: this is a folder, expected an image file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def to_image(source: Any) -> RGB:
    """Any picture as uint8 (H, W, 3) RGB.

    `source` is a path, a `PIL.Image.Image`, or an array (also whatever offers `__array__`, such as a tensor
    on the CPU) of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), channels last, alpha composited on
    white; dtype uint8 (0 to 255), bool, or floating point in [0, 1]. An array that already is uint8 (H, W,
    3) is not copied.

    Raises InputError for another shape, dtype or range, for NaN, and as `read_image` for paths.
    """
    if isinstance(source, (str, Path)):
        return read_image(source)
    if isinstance(source, Image.Image):
        return _to_rgb(_upright(source), "image")
    if not hasattr(source, "__array__"):
        raise InputError(
            f"a {type(source).__name__} is not an image: expected a path, a PIL image or an array"
        )
    return _from_array(np.asarray(source))


def _decode(file: Any, name: str) -> RGB:
    try:
        image: Image.Image = Image.open(file)
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not an image (or of a kind that Pillow cannot read)") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: this image is too large ({error})") from error
    # Decoders meet damaged bytes in many ways (OSError, SyntaxError, struct.error, EOFError, ...).
    except Exception as error:
        raise InputError(f"{name}: this image is damaged ({_line(error)})") from error
    try:
        image.load()
        upright = _upright(image)
    except MemoryError as error:
        raise InputError(f"{name}: {image.width} x {image.height} pixels do not fit into memory") from error
    except Exception as error:
        raise InputError(f"{name}: this image is truncated or damaged ({_line(error)})") from error
    return _to_rgb(upright, name)


def _upright(image: Image.Image) -> Image.Image:
    # A damaged EXIF block does not spoil the picture: it then counts as upright, as in a viewer.
    with suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def _to_rgb(image: Image.Image, name: str) -> RGB:
    """Pixels of a loaded PIL image in any mode as uint8 (H, W, 3)."""
    if image.width == 0 or image.height == 0:
        raise InputError(f"{name}: this image has no pixels ({image.width} x {image.height})")
    mode = image.mode
    if mode.startswith("I;16"):
        return _grey(np.asarray(image).astype(np.float64) / 257.0)
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
        raise InputError(f"{name}: colour mode {mode} cannot be turned into RGB ({_line(error)})") from error


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
        raise InputError(f"image array has shape {tuple(array.shape)}, {_SHAPES}")
    if array.size == 0:
        raise InputError(f"image array has shape {tuple(array.shape)}: it has no pixels")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        # `not (good)` is also true for NaN, which no comparison finds.
        if not (float(array.min()) >= 0.0 and float(array.max()) <= 1.0):
            raise InputError(
                f"image array of {array.dtype} runs from {array.min():g} to {array.max():g}, "
                "expected values in [0, 1] without NaN"
            )
        array = np.rint(array.astype(np.float64) * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"image array has dtype {array.dtype}, expected uint8 or floating point in [0, 1]")
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    elif array.shape[-1] == 4:
        alpha = array[..., 3:].astype(np.float64) / 255.0
        array = np.rint(array[..., :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(array)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
