"""Photographs from the usual to the absurd: each gives the right result or one clear error."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bad_input.common import NOISE, SIZE, WORDS, one_line
from commands import run
from freeda.errors import InputError, printable

GREY = NOISE[..., 0]


def save(image: Image.Image | np.ndarray, **settings: Any) -> Callable[[Path], None]:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return lambda path: picture.save(path, **settings)


def content(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def cut(image: np.ndarray, share: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        Image.fromarray(image).save(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return write


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 60_000
    Image.fromarray(NOISE).save(path, exif=exif)


def pages(path: Path) -> None:
    first, second = Image.fromarray(NOISE), Image.new("RGB", SIZE[::-1])
    first.save(path, save_all=True, append_images=[second])


def bomb(path: Path) -> None:
    """A PNG of a few hundred bytes that says it has 60000 x 60000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def palette_with_alpha(path: Path) -> None:
    picture = Image.fromarray(NOISE).quantize(16)
    picture.save(path, transparency=bytes(range(0, 256, 16)))


# What is written under the name, and the (height, width) labelled or what the error says.
PHOTOGRAPHS: dict[str, tuple[Callable[[Path], Any], tuple[int, int] | str]] = {
    "plain.jpg": (save(NOISE), SIZE),
    "cmyk.jpg": (save(Image.fromarray(NOISE).convert("CMYK")), SIZE),
    "deep.png": (save(GREY.astype(np.uint16) * 257), SIZE),
    "deep.tif": (save(GREY.astype(np.uint16) * 257), SIZE),
    "float.tif": (save(GREY.astype(np.float32) / 255), SIZE),
    "nan.tif": (save(np.full(SIZE, np.nan, np.float32)), "nan"),
    "beyond.tif": (save(np.full(SIZE, 900, np.float32)), "0 to 1 or 0 to 255"),
    "palette.png": (palette_with_alpha, SIZE),
    "alpha.webp": (save(Image.fromarray(NOISE).convert("RGBA")), SIZE),
    "greyalpha.png": (save(Image.fromarray(NOISE).convert("LA")), SIZE),
    "bilevel.tif": (save(Image.fromarray(NOISE).convert("1")), SIZE),
    "turned.jpg": (turned, SIZE[::-1]),
    "animated.gif": (pages, SIZE),
    "pages.tif": (pages, SIZE),
    "animated.webp": (pages, SIZE),
    "pixel.png": (save(NOISE[:1, :1]), (1, 1)),
    "row.png": (save(NOISE[:1]), (1, 44)),
    "strip.png": (save(Image.new("RGB", (20_000, 10), "red")), (10, 20_000)),
    "png.jpg": (save(NOISE, format="PNG"), SIZE),
    "blank.bmp": (save(Image.new("L", (50, 20))), (20, 50)),
    "café 犬 🦊.png": (save(NOISE), SIZE),
    "[bold]x[red].png": (save(NOISE), SIZE),
    "zero.jpg": (content(b""), "empty (0 bytes)"),
    "half.png": (cut(NOISE, 0.5), "truncated"),
    "tenth.jpg": (cut(NOISE, 0.1), "damaged"),
    "text.png": (content(b"no picture"), "not an image"),
    "page.jpg": (content(b"<!DOCTYPE html><html>404"), "a web page"),
    "phone.jpg": (content(b"\0\0\0\x18ftypheic" + bytes(50)), "HEIC"),
    "drawing.png": (content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "PostScript"),
    "bomb.png": (bomb, "too large"),
    "loop.png": (lambda path: path.symlink_to(path), "symbolic links"),
    "gone.png": (lambda path: path.symlink_to(path.parent / "nowhere"), "no such file"),
    "folder.png": (Path.mkdir, "folder"),
    "pipe.png": (os.mkfifo, "pipe"),
    "two\nlines\x1b[31m.png": (content(b""), r"two\nlines\x1b[31m.png: the file is empty"),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(tmp_path: Path, tiny_model: Any, name: str) -> None:
    write, expected = PHOTOGRAPHS[name]
    write(tmp_path / name)
    if isinstance(expected, str):
        with pytest.raises(InputError) as caught:
            tiny_model.segment(tmp_path / name, WORDS)
        one_line(caught.value, printable(name), expected)
    else:
        result = tiny_model.segment(tmp_path / name, WORDS)
        assert result.labels.shape == expected and 0 <= result.labels.min() <= result.labels.max() < 3
        assert sum(result.shares.values()) == pytest.approx(1)


def test_a_folder_of_all_of_them(tmp_path: Path, preset_file: Path, tiny_bank: Path) -> None:
    """The command labels what it can, tells of each other file in one line, and ends with 1."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name, (write, _) in PHOTOGRAPHS.items():
        write(photos / name)
    listed = [photos / name for name in PHOTOGRAPHS if name not in ("folder.png", "loop.png", "gone.png")]
    arguments = ("--classes", ",".join(WORDS), "--model", preset_file, "--bank", tiny_bank, "--out", out)
    done = run("segment", *listed, *arguments, "--device", "cpu")
    assert done.exit_code == 1, (done.output, done.exception)
    lines = done.stderr.splitlines()
    for path in listed:
        expected = PHOTOGRAPHS[path.name][1]
        told = [line for line in lines if f"{printable(str(path))}: " in line and "could not be" not in line]
        assert len(told) == isinstance(expected, str), (path, lines)
        assert not told or (isinstance(expected, str) and expected in told[0])
    written = sum(not isinstance(PHOTOGRAPHS[path.name][1], str) for path in listed)
    assert len(list(out.glob("*.json"))) == written
    assert "Traceback" not in done.output and "\x1b[31m" not in done.output


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((9, 9, 3), np.nan), "without NaN"),
        (np.full((9, 9, 3), np.inf, np.float32), "without NaN"),
        (np.full((9, 9, 3), 255.0), "expected values in [0, 1]"),
        (np.zeros((9, 9, 3), np.uint16), "dtype uint16"),
        (np.zeros((9, 9, 3), np.int64), "dtype int64"),
        (np.zeros((9, 9, 3), complex), "dtype complex128"),
        (np.zeros((9, 9, 3), object), "dtype object"),
        (np.zeros((3, 9, 9), np.uint8), "transpose(1, 2, 0)"),
        (np.zeros((2, 9, 9, 3), np.uint8), "shape (2, 9, 9, 3)"),
        (np.zeros((0, 9, 3), np.uint8), "no pixels"),
        (np.float32(1), "shape ()"),
        ([[0, 1]], "a list is not an image"),
        (None, "a NoneType is not an image"),
        (b"photo.jpg", "a bytes is not an image"),
        ("", "path is empty"),
        ("a\0b.jpg", "not the path of a file"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_what_is_no_picture(tiny_model: Any, array: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny_model.encode(array)
    one_line(caught.value, says)


def test_tensors_that_are_no_array(tiny_model: Any) -> None:
    import torch

    for tensor in (torch.zeros(9, 9, 3, requires_grad=True), torch.zeros(9, 9, 3, dtype=torch.bfloat16)):
        with pytest.raises(InputError, match="this Tensor cannot be read as an image array"):
            tiny_model.encode(tensor)
