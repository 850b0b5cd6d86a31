"""Annotated folders: which mask belongs to which picture, what its values mean, and bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.errors import InputError
from freeda.references.annotated import AnnotatedFolder, open_folder

RNG = np.random.default_rng(0)
NAMES = {"1": "cat", "2": "dog", "7": "cat"}


def picture(path: Path, size: tuple[int, int] = (6, 8), **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path, **more)
    return path


def mask(path: Path, values: Any, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(values)
    image = Image.fromarray(array if array.dtype == np.uint16 else array.astype(np.uint8))
    if mode == "P":
        image = image.copy()
        image.putpalette([255 - i // 3 for i in range(768)])
    elif mode is not None:
        image = image.convert(mode)
    image.save(path)
    return path


def names(folder: Path, value: Any = NAMES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.json").write_text(json.dumps(value))


def blocks(*values: int, size: tuple[int, int] = (6, 8)) -> Any:
    """A map whose columns take these values, one after the other."""
    out = np.zeros(size, np.uint8)
    for column in range(size[1]):
        out[:, column] = values[column % len(values)]
    return out


def only(folder: AnnotatedFolder) -> dict[str, Any]:
    (one,) = folder.pairs.pictures
    return folder.masks(one)


def test_label_maps_with_names(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    values = blocks(0, 1, 2, 7, 255)
    mask(tmp_path / "masks" / "a.png", values)
    names(tmp_path)
    found = only(open_folder(tmp_path))
    assert list(found) == ["cat", "dog"]  # two values of one name are one class
    for y in range(6):
        for x in range(8):
            assert found["cat"][y, x] == (values[y, x] in (1, 7)) and found["dog"][y, x] == (
                values[y, x] == 2
            )


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "RGBA", "LA", "I;16"])
def test_every_kind_of_label_map(tmp_path: Path, mode: str) -> None:
    picture(tmp_path / "images" / "a.jpg")
    values = blocks(0, 1, 2)
    if mode == "I;16":
        mask(tmp_path / "masks" / "a.png", values.astype(np.uint16))
    else:
        mask(tmp_path / "masks" / "a.png", values, mode)
    names(tmp_path)
    found = only(open_folder(tmp_path))
    assert np.array_equal(found["cat"], values == 1) and np.array_equal(found["dog"], values == 2)


@pytest.mark.parametrize("palette", [False, True])
def test_masks_in_colours(tmp_path: Path, palette: bool) -> None:
    """As CVAT exports them: no --ignore for black, which has no name here."""
    picture(tmp_path / "JPEGImages" / "a.jpg")
    values = blocks(0, 1, 2)
    painted = np.array([[0, 0, 0], [250, 50, 83], [36, 179, 83]], np.uint8)[values]
    path = tmp_path / "SegmentationClass" / "a.png"
    path.parent.mkdir()
    (Image.fromarray(painted).quantize(3) if palette else Image.fromarray(painted)).save(path)
    lines = ("# label:color_rgb:parts:actions", "stop sign:250,50,83::", "tree:36,179,83::")
    (tmp_path / "labelmap.txt").write_text("\n".join(lines))
    found = only(open_folder(tmp_path))
    assert np.array_equal(found["stop sign"], values == 1) and np.array_equal(found["tree"], values == 2)
    (tmp_path / "labelmap.txt").write_text("\n".join(lines[:2]))
    with pytest.raises(InputError, match=r"a\.png: holds the colour #24b353, which has no name"):
        only(open_folder(tmp_path))


def test_values_that_stand_for_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "masks" / "a.png", blocks(0, 1, 3, 255))
    names(tmp_path, {"0": "sky", "1": "Background", "3": "cat"})
    assert list(only(open_folder(tmp_path))) == ["sky", "cat"]  # a named 0 is a class, background is none
    assert list(only(open_folder(tmp_path, ignore=[3]))) == ["sky"]
    names(tmp_path, {"255": "sky", "1": "dog"})
    with pytest.raises(InputError, match=r"a.png: holds value 3, which has no name.*--ignore 3"):
        only(open_folder(tmp_path))
    assert list(only(open_folder(tmp_path, ignore=[3]))) == ["dog", "sky"]
    with pytest.raises(InputError, match="ignore holds -1"):
        open_folder(tmp_path, ignore=[-1])


def test_one_mask_a_class_in_either_order(tmp_path: Path) -> None:
    for i, form in enumerate(
        ("masks/Stop_sign/a.png", "masks/a/Stop_sign.png", "annotations/stop sign/a_mask.png")
    ):
        folder = tmp_path / str(i)
        picture(folder / "images" / "a.jpg")
        mask(folder / form, blocks(0, 0, 255))
        found = only(open_folder(folder))
        assert list(found) == ["stop sign"] and np.array_equal(found["stop sign"], blocks(0, 0, 1) > 0)


def test_several_masks_of_a_picture_and_folders_of_folders(tmp_path: Path) -> None:
    for name in ("one/a.jpg", "two/a.jpg", "b.jpg", "c.jpg"):
        picture(tmp_path / "JPEGImages" / name)
    mask(tmp_path / "masks" / "one" / "a.png", blocks(1, 0, 0))
    mask(tmp_path / "masks" / "cat" / "two" / "a.png", blocks(0, 1))
    mask(tmp_path / "masks" / "dog" / "two" / "a.png", blocks(0, 1))  # masks of two classes may overlap
    mask(tmp_path / "masks" / "b.png", blocks(0, 2, 1))
    mask(tmp_path / "masks" / "b" / "cat.png", blocks(3, 0, 0))
    mask(tmp_path / "masks" / "elsewhere.png", blocks(1))
    names(tmp_path)
    folder = open_folder(tmp_path)
    assert [p.name for p in folder.pairs.pictures] == ["b.jpg", "one/a.jpg", "two/a.jpg"]
    assert (len(folder.pairs.without_mask), len(folder.pairs.without_image)) == (1, 1)
    b, one, two = (folder.masks(p) for p in folder.pairs.pictures)
    assert np.array_equal(b["cat"], blocks(1, 0, 1) > 0) and np.array_equal(b["dog"], blocks(0, 1, 0) > 0)
    assert list(one) == ["cat"] and list(two) == ["cat", "dog"] and np.array_equal(two["cat"], two["dog"])


def test_side_by_side(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    mask(tmp_path / "a.png", blocks(0, 1))
    picture(tmp_path / "b.png")
    mask(tmp_path / "b_mask.png", blocks(2, 0))
    picture(tmp_path / "c.png")
    names(tmp_path)
    folder = open_folder(tmp_path)
    assert [p.name for p in folder.pairs.pictures] == ["a.jpg", "b.png"] and len(
        folder.pairs.without_mask
    ) == 1
    assert [list(folder.masks(p)) for p in folder.pairs.pictures] == [["cat"], ["dog"]]


def test_folders_by_name(tmp_path: Path) -> None:
    picture(tmp_path / "left" / "a.jpg")
    mask(tmp_path / "right" / "a.png", blocks(4))
    (tmp_path / "other.txt").write_text("4 boat\n")
    for where in ("left", tmp_path / "left"):
        found = open_folder(tmp_path, names="other.txt", images=where, masks="right")
        assert list(only(found)) == ["boat"]
    with pytest.raises(InputError, match="middle: there is no such folder"):
        open_folder(tmp_path, images="middle")


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_picture_that_stands_or_is_mirrored(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(tmp_path / "images" / "a.jpg", (6, 8), exif=exif)
    names(tmp_path)
    mask(tmp_path / "masks" / "a.png", blocks(1, 0, size=(6, 8)))
    assert only(open_folder(tmp_path))["cat"].shape == (6, 8)


def test_a_changed_mask_is_another_reference(tmp_path: Path) -> None:
    """A stopped run that goes on makes what was taken with the old mask again."""
    picture(tmp_path / "images" / "a.jpg")
    names(tmp_path)
    digests = []
    for values in (blocks(1, 0), blocks(0, 1)):
        mask(tmp_path / "masks" / "a.png", values)
        (one,) = open_folder(tmp_path).pairs.pictures
        digests.append((one.digest, one.digest_of_all()))
    assert digests[0][0] == digests[1][0] and digests[0][1] != digests[1][1]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_upright_picture(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(tmp_path / "images" / "a.jpg", (6, 8), exif=exif)
    names(tmp_path)
    mask(tmp_path / "masks" / "a.png", blocks(1, 0, size=(8, 6)))
    assert only(open_folder(tmp_path))["cat"].shape == (8, 6)
    mask(tmp_path / "masks" / "a.png", blocks(1, 0, size=(6, 8)))
    with pytest.raises(InputError, match=r"8 x 6 pixels, but its picture a\.jpg is 6 x 8 once upright"):
        only(open_folder(tmp_path))


def _spoil(folder: Path, how: str) -> None:
    path = folder / "masks" / "a.png"
    if how == "size":
        mask(path, blocks(1, size=(5, 8)))
    elif how == "colours":
        picture(path)
    elif how == "cut":
        data = mask(path, RNG.integers(0, 3, (6, 8))).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif how == "text":
        path.write_text("no mask")
    elif how == "values":
        path.unlink()
        mask(folder / "masks" / "cat" / "a.png", blocks(0, 3, 9))
    elif how == "blank class":
        path.unlink()
        mask(folder / "masks" / " " / "a.png", blocks(0, 3))
    elif how == "no names":
        (folder / "names.json").unlink()
    elif how == "twice":
        picture(folder / "images" / "a.png")
    elif how == "no pairs":
        path.rename(folder / "masks" / "z.png")
    elif how == "picture":
        (folder / "images" / "a.jpg").write_text("no picture")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("size", "masks/a.png: is 8 x 5 pixels, but its picture a.jpg is 8 x 6"),
        ("colours", "masks/a.png: its colours are no class values"),
        ("cut", "masks/a.png: this mask cannot be read"),
        ("text", "masks/a.png: this mask cannot be read"),
        ("values", "cat/a.png: holds the values 3, 9 besides 0"),
        ("blank class", "blank"),
        ("no names", "label maps need a names file"),
        ("twice", "has the same name"),
        ("no pairs", "no picture in"),
        ("picture", "images/a.jpg: not an image"),
    ],
)
def test_bad_input(tmp_path: Path, how: str, says: str) -> None:
    picture(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "masks" / "a.png", blocks(1, 0))
    names(tmp_path)
    assert only(open_folder(tmp_path))
    _spoil(tmp_path, how)
    with pytest.raises(InputError) as caught:
        only(open_folder(tmp_path))
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    try:
        picture(tmp_path / "images" / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(InputError, match="its name"):
        open_folder(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_folder(tmp_path / "none")
    with pytest.raises(InputError, match="holds no images"):
        open_folder(tmp_path)
