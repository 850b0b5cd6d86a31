"""Every kind of picture comes out as upright uint8 RGB, or as one clear error."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from freeda.errors import InputError
from freeda.images import read_image, to_image
from freeda.references.annotated import read_values

RAMP = np.linspace(0, 255, 12 * 17 * 3).astype(np.uint8).reshape(12, 17, 3)


def saved(tmp_path: Path, image: Image.Image, name: str = "x.png", **settings: Any) -> Path:
    path = tmp_path / name
    image.save(path, **settings)
    return path


def test_rgb_is_returned_as_it_is(tmp_path: Path) -> None:
    out = read_image(saved(tmp_path, Image.fromarray(RAMP)))
    assert out.dtype == np.uint8 and out.flags.c_contiguous and out.flags.writeable
    np.testing.assert_array_equal(out, RAMP)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"]
)
@pytest.mark.parametrize("size", [(1, 1), (7, 3)])
def test_every_mode_gives_rgb(mode: str, size: tuple[int, int]) -> None:
    source = Image.new("RGB", size, (200, 100, 50))
    if mode == "I;16":
        image = Image.fromarray(np.full(size[::-1], 40000, np.uint16))
    elif mode == "LAB":
        image = Image.new("LAB", size, (150, 140, 120))
    elif mode in ("LA", "PA"):
        image = source.convert("L" if mode == "LA" else "P").convert(mode)
    else:
        image = source.convert(mode)
    out = to_image(image)
    assert out.shape == (size[1], size[0], 3) and out.dtype == np.uint8


def test_files_of_many_formats(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "a.gif", "a.tif", "a.ppm", "a.webp"):
        out = read_image(saved(tmp_path, Image.fromarray(RAMP), name))
        assert out.shape == RAMP.shape, name


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP), "png.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(path), RAMP)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    out = read_image(saved(tmp_path, Image.fromarray(values)))
    assert out[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (out[..., 0] == out[..., 1]).all() and (out[..., 0] == out[..., 2]).all()


def test_16_bit_rgb_png(tmp_path: Path) -> None:
    # Pillow cannot write these, so the file is put together by hand (PNG specification, colour type 2,
    # depth 16).
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = np.array([[[65535, 0, 32896], [257, 514, 771]]], ">u2")
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" + pixels.tobytes()))
        + chunk(b"IEND", b"")
    )
    assert read_image(path).tolist() == [[[255, 0, 128], [1, 2, 3]]]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    out = read_image(saved(tmp_path, image, "x.jpg", quality=95))
    assert np.abs(out.astype(int) - [255, 0, 0]).max() < 12


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8))
    assert read_image(saved(tmp_path, image)).tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]]


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    path = saved(tmp_path, image, transparency=1)
    assert read_image(path).tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    path = saved(tmp_path, image, transparency=bytes([255, 128, 0]))
    assert read_image(path).tolist() == [[[255, 0, 0], [127, 255, 127], [255, 255, 255]]]


def test_grey_with_a_transparent_value(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([[7, 9]], np.uint8)), transparency=9)
    assert read_image(path).tolist() == [[[7] * 3, [255] * 3]]


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    red, blue = (Image.new("RGB", (4, 4), c) for c in ("red", "blue"))
    path = saved(tmp_path, red, "a.gif", save_all=True, append_images=[blue], duration=50)
    assert (read_image(path) == [255, 0, 0]).all()


# What each EXIF orientation says about how the stored rows and columns must be laid, written with plain
# numpy.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"lossless": True} if suffix == ".webp" else {}
    path = saved(tmp_path, Image.fromarray(RAMP), f"x{suffix}", exif=exif, **settings)
    np.testing.assert_array_equal(read_image(path), UPRIGHT[orientation](RAMP))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage that is no TIFF", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_does_not_spoil_the_picture(tmp_path: Path, exif: bytes) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP), "x.jpg", exif=exif)
    assert read_image(path).shape == RAMP.shape


@given(st.integers(0, 70), st.binary(min_size=1, max_size=3))
@settings(max_examples=300)
def test_a_damaged_tag_does_not_cost_the_orientation(at: int, garbage: bytes) -> None:
    """Whatever befalls the other tags, a picture whose orientation can be read stands upright."""
    import io
    import tempfile
    import warnings

    exif = Image.Exif()
    exif[0x0112], exif[0x0132], exif[0x8769] = 6, "2020", {0x9003: "2020", 0x829A: 0.5}
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2)).save(buffer, "JPEG", exif=exif)
    data = bytearray(buffer.getvalue())
    start = data.index(b"Exif") + 6 + at
    data[start : start + len(garbage)] = garbage
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wanted = Image.open(io.BytesIO(bytes(data))).getexif().get(0x0112)
        except Exception:
            wanted = None
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.jpg").write_bytes(data)
        shape = read_image(Path(folder, "x.jpg")).shape
    assert shape == ((4, 2, 3) if wanted in (5, 6, 7, 8) else (2, 4, 3))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jpg: no such file"):
        read_image(tmp_path / "nowhere.jpg")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        read_image(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "zero.png").touch()
    with pytest.raises(InputError, match=r"zero\.png: the file is empty"):
        read_image(tmp_path / "zero.png")


def test_text_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("This is not a pipe.")
    with pytest.raises(InputError, match=r"text\.jpg: not an image"):
        read_image(tmp_path / "text.jpg")


@pytest.mark.parametrize("name", ["t.jpg", "t.png", "t.tif", "t.webp", "t.gif", "t.bmp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_file_names_itself(tmp_path: Path, name: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputError, match=rf"t\.{name[2:]}: ") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@given(st.binary(min_size=1, max_size=200), st.integers(0, 400))
def test_damaged_bytes_never_escape_as_another_error(garbage: bytes, at: int) -> None:
    import io
    import tempfile

    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[at : at + len(garbage)] = garbage
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.png")
        path.write_bytes(data)
        try:
            out = read_image(path)
        except InputError as error:
            assert "x.png" in str(error) and "\n" not in str(error)
        else:
            assert out.ndim == 3


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.new("L", (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    told = "this image is too large: 90,000 pixels, at most 2,000 are read: reduce it, or raise"
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value) == f"{path}: {told} PIL.Image.MAX_IMAGE_PIXELS"
    with pytest.raises(InputError) as caught:
        read_values(path)
    assert str(caught.value) == f"{path}: {told} PIL.Image.MAX_IMAGE_PIXELS"


def test_a_large_photograph_is_read_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow warns above half its limit; the warning is about attacks, not about the photograph."""
    import warnings

    path = saved(tmp_path, Image.new("L", (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (300, 300, 3)
        assert read_values(path).shape == (300, 300)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\0\0\0\x18ftypheic", "a HEIC or AVIF photograph"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<?xml version='1.0'?><svg>", "an SVG drawing"),
        (b"<!doctype html>", "a web page"),
        (b"PK\3\4", "an archive"),
        (b"\x93NUMPY", "a NumPy file"),
        (b"", "not an image (or of a kind"),
    ],
)
def test_what_a_file_is_instead(tmp_path: Path, head: bytes, says: str) -> None:
    (tmp_path / "x.jpg").write_bytes(head + b"?" * 600)
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / "x.jpg")
    assert says in str(caught.value)


def test_heic_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read where the package for it is there; else the line says how to have it."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    path = tmp_path / "phone.heic"
    Image.fromarray(np.full((32, 48, 3), (200, 60, 20), np.uint8)).save(path, quality=90)
    assert np.abs(read_image(path).astype(int) - (200, 60, 20)).max() < 6
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for known in (Image.OPEN, Image.EXTENSION, Image.MIME):
        for name in [n for n, what in known.items() if "HEIF" in (n, what)]:
            monkeypatch.delitem(known, name)
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    with pytest.raises(InputError, match=r"phone\.heic: this is a HEIC .*'\.\[heif\]'"):
        read_image(path)


def test_a_raw_file_s_thumbnail_is_not_the_photograph(tmp_path: Path) -> None:
    """A camera's raw file is a TIFF whose first page is a thumbnail, which Pillow would read."""
    Image.fromarray(RAMP).save(tmp_path / "DSC1.NEF", "TIFF")
    with pytest.raises(InputError, match=r"DSC1\.NEF: this is a camera's raw file: develop it"):
        read_image(tmp_path / "DSC1.NEF")


def test_postscript_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow knows EPS, but hands it to Ghostscript; a photograph's name must not start a program."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    path = saved(tmp_path, Image.fromarray(RAMP), "x.eps")
    with pytest.raises(InputError, match=r"x\.eps: this is a PostScript drawing"):
        read_image(path)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(InputError, match="a pipe or a device"):
            read_image(path)


def test_16_bit_grey_with_a_transparent_value(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([[257, 514]], np.uint16)), transparency=514)
    assert read_image(path).tolist() == [[[1] * 3, [255] * 3]]


def test_lazy_pil_images_are_loaded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="image: this image is truncated"):
        to_image(Image.open(path))


def test_long_strip(tmp_path: Path) -> None:
    assert read_image(saved(tmp_path, Image.new("L", (20000, 10)))).shape == (10, 20000, 3)


def test_float_tiff(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "x.tif")
    assert read_image(path)[0, :, 0].tolist() == [0, 128, 255]
    path = saved(tmp_path, Image.fromarray(np.array([[0.0, np.nan]], np.float32)), "y.tif")
    with pytest.raises(InputError, match=r"y\.tif: 32-bit grey values"):
        read_image(path)


# --- arrays


def test_arrays_of_each_shape() -> None:
    assert to_image(RAMP) is not None and np.shares_memory(to_image(RAMP), RAMP)
    np.testing.assert_array_equal(to_image(RAMP[..., 0]), np.repeat(RAMP[..., :1], 3, -1))
    np.testing.assert_array_equal(to_image(RAMP[..., :1]), np.repeat(RAMP[..., :1], 3, -1))
    opaque = np.concatenate([RAMP, np.full((12, 17, 1), 255, np.uint8)], -1)
    np.testing.assert_array_equal(to_image(opaque), RAMP)
    assert (to_image(np.zeros((2, 2, 4), np.uint8)) == 255).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_scaled_by_255(dtype: type) -> None:
    assert to_image(np.array([[0, 0.25, 1]], dtype))[0, :, 0].tolist() == [0, 64, 255]


def test_rounding_beyond_the_range_passes() -> None:
    assert to_image(np.array([[-1e-6, 1 + 1e-6]]))[0, :, 0].tolist() == [0, 255]
    with pytest.raises(InputError, match="runs from"):
        to_image(np.array([[0, 1.001]]))


def test_bools_are_black_and_white() -> None:
    assert to_image(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]


def test_views_become_contiguous() -> None:
    out = to_image(RAMP[::2, ::-1])
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, RAMP[::2, ::-1])


def test_paths_and_pil_images(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RAMP))
    for source in (path, str(path), Image.fromarray(RAMP)):
        np.testing.assert_array_equal(to_image(source), RAMP)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros((3, 8, 8), np.uint8), "channels come last"),
        (np.zeros((8, 8, 2), np.uint8), "shape"),
        (np.zeros(8, np.uint8), "shape"),
        (np.zeros((1, 8, 8, 3), np.uint8), "shape"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.zeros((8, 8, 3), np.uint16), "dtype uint16"),
        (np.zeros((8, 8, 3), np.int64), "dtype int64"),
        (np.full((8, 8, 3), 2.0), "expected values in"),
        (np.full((8, 8, 3), -0.1), "expected values in"),
        (np.full((8, 8, 3), np.nan), "NaN"),
        (np.full((8, 8), np.inf), "expected values in"),
        (np.array([["a"]]), "dtype"),
        (None, "NoneType"),
        ([[1, 2], [3, 4]], "list"),
    ],
)
def test_what_is_no_image_says_so(bad: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        to_image(bad)
