"""What a user hands over, from the usual to the absurd: each gives the right result or one clear error.

Every case goes through Python; where it can be said on the command line, through that too.
"""

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

from commands import fill_the_disk, refused, run, write_preset
from freeda.errors import FreedaError, InputError, ModelError, printable
from freeda.options import Superpixels
from freeda.presets import Preset

WORDS = ["cat", "wooden table", "sky"]
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (30, 44, 3), dtype=np.uint8)
GREY, SIZE = NOISE[..., 0], NOISE.shape[:2]


def one_line(error: BaseException, *says: str) -> None:
    """The message is one printable line that holds every word of `says`."""
    text = str(error)
    assert text and text == printable(text) and len(text) <= 600
    for word in says:
        assert word in text, text


@pytest.fixture(scope="module")
def preset_file(tiny_preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("preset"), tiny_preset)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(NOISE).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


# --- photographs: what is written under the name, and the (height, width) labelled or what the error says


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


# --- arrays (Python only)


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


# --- class names: the labels' names, or what the error says

NAMES: dict[str, tuple[Any, list[str] | str]] = {
    "none": ([], "empty"),
    "blank": (["cat", "   "], "blank"),
    "twice": (["cat", "dog", "cat"], "'cat' is given twice"),
    "twice but for case": (["Straße", "STRASSE"], "'STRASSE' is given twice"),
    "twice but for accents": (["caf\xe9", "cafe\u0301"], "given twice"),
    "twice but for a mark": (["cat", "cat\u200e"], "'cat' is given twice"),
    "only a zero-width space": (["\u200b"], "blank"),
    "only a tag": (["\U000e0041"], "blank"),
    "a NUL": (["a\0b"], "U+0000"),
    "an escape": (["\x1b[31mred"], "U+001B"),
    "a lone surrogate": (["a\udc80"], "U+DC80"),
    "the end token": (["cat <|endoftext|> dog"], "<|endoftext|>"),
    "too long": (["word " * 90], "tokens long"),
    "one endless word": (["a" * 5000], "tokens long"),
    "emoji": (["🦊", "🚗"], ["🦊", "🚗"]),
    "right to left": (["قطة", "שלום"], ["قطة", "שלום"]),
    "pasted marks": (["\ufeffcat", "\u202adog\u202c", "stop\xa0sign"], ["cat", "dog", "stop sign"]),
    "joined letters": (["می\u200cخواهم"], ["می\u200cخواهم"]),
    "markup": (["[bold]cat[/]", "{}"], ["[bold]cat[/]", "{}"]),
    "punctuation": (["..."], ["..."]),
}


@pytest.mark.parametrize("case", NAMES)
def test_class_names(
    tmp_path: Path, photo: Path, tiny_model: Any, preset_file: Path, tiny_bank: Path, case: str
) -> None:
    names, expected = NAMES[case]
    words = tmp_path / "words.txt"
    words.write_bytes("\n".join(names).encode("utf-8", "surrogatepass"))
    arguments = ("--model", preset_file, "--bank", tiny_bank, "--out", tmp_path / "out", "--device", "cpu")
    if isinstance(expected, list):
        assert list(tiny_model.segment(NOISE, names).names) == expected
        done = run("segment", photo, "--classes-file", words, *arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return
    with pytest.raises(InputError) as caught:
        tiny_model.segment(NOISE, names)
    one_line(caught.value, expected)
    said = "UTF-8" if case == "a lone surrogate" else "empty" if case == "blank" else expected
    if case != "blank":  # blank lines of a file are skipped
        refused(run("segment", photo, "--classes-file", words, *arguments), said)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("cat", "the one string 'cat'"),
        (None, "NoneType"),
        (7, "int"),
        ({"cat", "dog"}, "set, which has no order"),
        ([b"cat"], "b'cat' is not a string"),
        (["cat", None], "None is not a string"),
        ({"cat": None}, "synonyms of class 'cat'"),
        ({"cat": "dog"}, "synonyms of class 'cat'"),
        ({"cat": ["\0"]}, "U+0000"),
        ({7: ["a"]}, "7 is not a string"),
    ],
)
def test_what_is_no_list_of_names(tiny_model: Any, names: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny_model.vocabulary(names)
    one_line(caught.value, says)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_class_files_in_another_encoding(tmp_path: Path, photo: Path, encoding: str) -> None:
    (tmp_path / "words.txt").write_text("café\n", encoding=encoding)
    refused(run("segment", photo, "--classes-file", tmp_path / "words.txt"), "words.txt", "UTF-8")
    refused(run("segment", photo, "--classes-file", tmp_path), "cannot be read")


def test_two_thousand_classes(tmp_path: Path, tiny_model: Any) -> None:
    result = tiny_model.segment(NOISE, [f"thing {i}" for i in range(2000)])
    assert len(result.names) == 2000 and result.labels.max() < 2000
    files = result.save(tmp_path, "many")
    np.testing.assert_array_equal(np.asarray(Image.open(files["labels"])), result.labels)
    wide, tall = Image.open(files["overlay"]).size
    assert wide < 3000 and tall < 1500  # the legend lists what was found, so far as there is room


# --- options

OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "k=0": ({"k": 0}, "k is 0"),
    "k=-5": ({"k": -5}, "k is -5"),
    "k=2.5": ({"k": 2.5}, "k is"),
    "k=many": ({"k": "many"}, "k is 'many'"),
    "local_weight=1.01": ({"local_weight": 1.01}, "local_weight is 1.01"),
    "local_weight=nan": ({"local_weight": np.nan}, "local_weight is nan"),
    "background=sea": ({"background": "sea"}, "background is 'sea'"),
    "background_threshold=5": ({"background_threshold": 5.0}, "background_threshold is 5.0"),
    "background_threshold=inf": ({"background_threshold": np.inf}, "background_threshold is inf"),
    "min_similarity=2": ({"min_similarity": 2.0}, "min_similarity is 2.0"),
    "window=0": ({"window": 0}, "window is 0"),
    "window=-48": ({"window": -48}, "window is -48"),
    "stride=0": ({"stride": 0}, "stride is 0"),
    "stride=49": ({"stride": 49}, "between 1 and the window side 48"),
    "short_side=0": ({"short_side": 0}, "short_side is 0"),
    "long_side=-1": ({"long_side": -1}, "long_side is -1"),
    "templates=a photo": ({"templates": ("a photo",)}, "{}"),
    "templates=|": ({"templates": ()}, "{}"),
    "superpixels.scale=0": ({"superpixels": {"scale": 0}}, "superpixels.scale is 0"),
    "superpixels.sigma=1e9": ({"superpixels": {"sigma": 1e9}}, "superpixels.sigma is 1000000000.0"),
    "superpixels.algorithm=voronoi": ({"superpixels": {"algorithm": "voronoi"}}, "'voronoi'"),
    "kk=3": ({"kk": 3}, "unknown option 'kk'"),
}


@pytest.mark.parametrize("setting", OPTIONS)
def test_options_out_of_range(
    tmp_path: Path, photo: Path, tiny_model: Any, preset_file: Path, tiny_bank: Path, setting: str
) -> None:
    changes, says = OPTIONS[setting]
    with pytest.raises(InputError) as caught:
        if "superpixels" in changes:
            changes = {"superpixels": Superpixels(**changes["superpixels"])}
        tiny_model.segment(NOISE, WORDS, **changes)
    one_line(caught.value, says)
    name = setting.partition("=")[0].partition(".")[2] or setting.partition("=")[0]
    arguments = ("--model", preset_file, "--bank", tiny_bank, "--out", tmp_path / "out")
    refused(run("segment", photo, "--classes", "cat", "--set", setting, *arguments), name)
    assert not (tmp_path / "out").exists()


def test_options_that_are_large_but_right(tiny_model: Any) -> None:
    for changes in ({"k": 10**9}, {"window": 10**6}, {"superpixels": Superpixels(min_size=10**6)}):
        assert tiny_model.segment(NOISE, WORDS, **changes).labels.shape == SIZE
    with pytest.raises(InputError, match="pixels: at most"):
        tiny_model.segment(NOISE, WORDS, short_side=10**6, long_side=10**9)
    for size in (0, -1, 2.5):
        with pytest.raises(InputError, match="batch_size is"):
            tiny_model.encode(NOISE, batch_size=size)


# --- where results go


def test_places_that_cannot_be_written(tmp_path: Path, photo: Path, tiny_model: Any) -> None:
    result = tiny_model.segment(NOISE, WORDS)
    for place, says in (
        (photo, "photo.png"),
        (photo / "below", "photo.png"),
        ("a\0b", "NUL"),
        ("a\ud800", "disk"),
    ):
        with pytest.raises(InputError) as caught:
            result.save(place)
        one_line(caught.value, says)
    for stem, says in (("x" * 300, "File name too long"), ("a/b", "not a file name")):
        with pytest.raises(InputError) as caught:
            result.save(tmp_path / "out", stem)
        one_line(caught.value, says)
    assert not list((tmp_path / "out").glob("*"))


def test_a_full_disk(tmp_path: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tiny_model.segment(NOISE, WORDS)
    fill_the_disk(monkeypatch, after=1)
    with pytest.raises(InputError, match="No space left on device"):
        result.save(tmp_path / "out", "x")
    with pytest.raises(InputError, match="No space left on device"):
        result.save_npz(tmp_path / "out" / "x.npz")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_may_not_be_read_or_written(tmp_path: Path, photo: Path, tiny_model: Any) -> None:
    photo.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        tiny_model.encode(photo)
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(InputError, match="Permission denied"):
        tiny_model.segment(NOISE, WORDS).save(tmp_path / "out")


def test_a_photograph_whose_name_is_no_text(tmp_path: Path, tiny_model: Any) -> None:
    """File names are bytes on Linux; one that is not UTF-8 comes through the record unharmed."""
    import json

    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        Image.fromarray(NOISE).save(path)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    result = tiny_model.segment(path, WORDS)
    files = result.save(tmp_path / "out")
    assert json.loads(files["json"].read_text("utf-8"))["image"] == str(path)
    assert type(result).load_npz(result.save_npz(tmp_path / "x.npz")).source == str(path)


# --- models that give nonsense


@pytest.mark.parametrize("part", ["clip", "dense"])
def test_encoders_that_give_nan(tiny_model: Any, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    encoder, name = getattr(tiny_model.encoders, part), {"clip": "encode_image", "dense": "encode"}[part]
    real = getattr(encoder, name)
    monkeypatch.setattr(encoder, name, lambda x: real(x) * float("nan"))
    with pytest.raises(ModelError) as caught:
        tiny_model.encode(NOISE)
    one_line(caught.value, "NaN or infinity in float32")


def test_messages_are_one_short_line() -> None:
    error = InputError("a\nb\x1b[0m\u2028\u202ec\ud800 " + "x" * 5000)
    assert str(error).startswith(r"a\nb\x1b[0m\u2028\u202ec\ud800 x") and len(str(error)) == 600
    assert isinstance(error, FreedaError) and str(FreedaError()) == ""
    assert printable("naïve 🦊 قطة می\u200cخواهم") == "naïve 🦊 قطة می\u200cخواهم"


def test_names_are_never_read_as_markup(
    tmp_path: Path, photo: Path, preset_file: Path, tiny_bank: Path
) -> None:
    """Paths and words may look like the terminal library's tags: they are shown as they are."""
    import shutil

    place = tmp_path / "[red]out[" / "]x"  # as a path: [red]out[/]x
    shutil.copytree(tiny_bank, place / "bank")
    arguments = ("--model", preset_file, "--bank", place / "bank", "--out", place, "--device", "cpu")
    words = ("--classes", "[bold]cat[/], dog", "--save-vocabulary", place / "words.npz")
    done = run("segment", photo, *words, *arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "[red]out[/]x/words.npz" in done.output and "[red]out[/]x/photo.json" in done.output.replace(
        "\n", ""
    )
    done = run("bank", "info", place / "bank")
    assert done.exit_code == 0 and "[red]out[/]x/bank" in done.output
    refused(run("bank", "info", place / "none"), "[red]out[/]x/none")
