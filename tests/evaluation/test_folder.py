"""Folders of people's own: values or colours, names files of every kind, splits, real photographs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import benchmark_files as files
from freeda.errors import InputError
from freeda.evaluation.dataset import IGNORE, FileDataSet, check_dataset, open_dataset
from freeda.images import read_image

DATA = Path(os.environ.get("FREEDA_DATA", Path(__file__).parents[3] / "shared" / "data")) / "coco-sample"

CVAT = "# label:color_rgb:parts:actions\ncat:255,0,0::\ndog:0,255,0::\nsky:1,2,3::\n"
COLOURS = {"cat": (255, 0, 0), "dog": (0, 255, 0), "sky": (1, 2, 3)}


def truths(dataset: FileDataSet) -> list[int]:
    """The labels of the first mask in reading order."""
    return dataset.read_truth(0).ravel().tolist()


def test_values_names_and_what_does_not_count(tmp_path: Path) -> None:
    names = '{"0": "Cat", "3": "wooden_floor", "7": "cat", "9": "void"}'
    dataset = open_dataset("folder", files.folder(tmp_path, [0, 3, 7, 9, 255], names))
    assert dataset.classes == ("cat", "wooden floor")  # two values may have one name
    assert not dataset.background and dataset.changes == {}
    assert truths(dataset)[:5] == [0, 1, 0, IGNORE, IGNORE]
    check_dataset(dataset)


def test_zero_without_a_name_does_not_count(tmp_path: Path) -> None:
    dataset = open_dataset("folder", files.folder(tmp_path, [0, 1, 2]))
    assert truths(dataset)[:3] == [IGNORE, 0, 1]


def test_background_is_the_last_label(tmp_path: Path) -> None:
    names = json.dumps(["background", "cat", "dog"])
    dataset = open_dataset("folder", files.folder(tmp_path, [0, 1, 2, 255], names))
    assert dataset.classes == ("cat", "dog") and dataset.background
    assert dataset.changes == {"background": "local"}
    assert truths(dataset)[:4] == [2, 0, 1, IGNORE]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("names.json", json.dumps({f"#{r:02X}{g:02x}{b:02X}": name for name, (r, g, b) in COLOURS.items()})),
        ("names.json", json.dumps({f"{r}, {g}, {b}": name for name, (r, g, b) in COLOURS.items()})),
        ("names.json", json.dumps({name: list(rgb) for name, rgb in COLOURS.items()})),
        ("colors.json", json.dumps({name: "#{:02x}{:02x}{:02x}".format(*c) for name, c in COLOURS.items()})),
        ("names.txt", "#ff0000 cat\n#00ff00: dog\n\n#010203 sky\n"),
        ("names.txt", "255 0 0 cat\n0,255,0,dog\n1, 2, 3: sky\n"),
        ("class_dict.csv", "name,r,g,b\ncat,255,0,0\ndog,0,255,0\nsky,1,2,3\n"),
        ("labelmap.txt", CVAT),
        ("colours.txt", "r g b name\n255 0 0 cat\n0 255 0 dog\n1 2 3 sky\n"),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours(tmp_path: Path, file: str, text: str, mode: str) -> None:
    """Every form of table gives the same labels, checked pixel by pixel; unnamed black counts nowhere."""
    root = files.folder(tmp_path, [0])
    (root / "names.json").unlink()
    (root / file).write_text(text)
    painted = [*COLOURS.values(), (0, 0, 0)]
    pixels = np.array([painted[i % 4] for i in range(54)], dtype=np.uint8).reshape(*files.SIZE, 3)
    for name in files.NAMES:
        image = Image.fromarray(pixels)
        if mode == "P":
            image = image.quantize(4)
            assert np.array_equal(np.asarray(image.convert("RGB")), pixels)
        image.convert(mode).save(root / "masks" / f"{name}.png")
    dataset = open_dataset("folder", root)
    assert dataset.classes == tuple(COLOURS)
    assert truths(dataset) == [(0, 1, 2, IGNORE)[i % 4] for i in range(54)]


def test_labelme(tmp_path: Path) -> None:
    """Its list begins with what is -1, which its masks hold as 255."""
    root = files.folder(tmp_path, [0, 1, 2, 255])
    (root / "names.json").rename(root / "labels.txt").write_text("__ignore__\n_background_\ncat\ndog\n")
    dataset = open_dataset("folder", root)
    assert dataset.classes == ("cat", "dog") and dataset.background
    assert truths(dataset)[:4] == [2, 0, 1, IGNORE]
    said = "labels.txt: 255 = ignore, 0 = background, 1 = cat, 2 = dog"
    assert dataset.found.legend == f"{root}/{said}"


def test_background_by_colour(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [0], '{"#000000": "background", "#ffffff": "cat"}')
    dataset = open_dataset("folder", root)
    assert dataset.classes == ("cat",) and dataset.background and set(truths(dataset)) == {1}


def test_a_background_counts_among_the_labels(tmp_path: Path) -> None:
    names = {str(i): f"class {i}" for i in range(1, 255)}
    root = files.folder(tmp_path, [0, 1], json.dumps(names))
    assert len(open_dataset("folder", root).classes) == 254
    (root / "names.json").write_text(json.dumps({**names, "0": "background"}))
    with pytest.raises(InputError, match="names 254 classes: at most 254 labels"):
        open_dataset("folder", root)


def test_names_file_of_ones_choice(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [1, 2])
    (root / "german.txt").write_text("1 Katze\n2 Hund\n")
    assert open_dataset("folder", root, classes="german.txt").classes == ("katze", "hund")
    assert open_dataset("folder", root, classes=root / "german.txt").classes == ("katze", "hund")
    with pytest.raises(InputError, match=r"french\.txt: there is no such names file"):
        open_dataset("folder", root, classes="french.txt")


def test_splits(tmp_path: Path) -> None:
    """A folder of its own, folders within those of images and masks, or a list."""
    root = tmp_path / "a"
    files.folder(root / "val", [1])
    files.folder(root, [1])
    assert len(open_dataset("folder", root, split="val")) == 2

    root = files.folder(tmp_path / "b", [1])
    files.write_image(root / "images" / "val" / "c.jpg")
    files.write_mask(root / "masks" / "val" / "c.png", files.spread([2]))
    assert _names(open_dataset("folder", root)) == ["a_1", "b_2", "val/c"]
    dataset = open_dataset("folder", root, split="val")
    assert _names(dataset) == ["c"] and truths(dataset)[0] == 1

    root = files.folder(tmp_path / "c", [1])
    files.write_image(root / "images" / "two words.jpg")
    files.write_mask(root / "masks" / "two words.png", files.spread([1]))
    files.write_list(root / "mine.txt", ("two words",))
    assert _names(open_dataset("folder", root, split="mine")) == ["two words"]
    files.write_image(root / "images" / "unmasked.jpg")  # of another split: no concern here
    files.write_list(root / "test.txt", ("b_2.jpg",))
    assert _names(open_dataset("folder", root, split="test")) == ["b_2"]
    files.write_list(root / "test.txt", ("b_2", "c_3"))
    with pytest.raises(InputError, match=r"test\.txt: lists c_3, but there is no such image"):
        open_dataset("folder", root, split="test")
    with pytest.raises(InputError, match=r"has no split 'none': a folder none, .*or a list none\.txt"):
        open_dataset("folder", root, split="none")


@pytest.mark.skipif(not (DATA / "names.json").is_file(), reason=f"no {DATA} (set FREEDA_DATA)")
def test_real_photographs() -> None:
    """COCO's pictures with panoptic masks, as they lie there; labels against the raw values of the files."""
    dataset = open_dataset("folder", DATA)
    names = {int(key): name for key, name in json.loads((DATA / "names.json").read_text()).items()}
    assert len(dataset) == len(list((DATA / "images").iterdir())) > 0
    assert len(dataset.classes) == len(names) == 133 and not dataset.background
    told: list[tuple[int, int]] = []
    check_dataset(dataset, lambda done, total: told.append((done, total)))
    assert told[-1] == (len(dataset), len(dataset))
    for i in range(0, len(dataset), 5):
        truth, image = dataset.read_truth(i), dataset.read_image(i)
        raw = np.asarray(Image.open(DATA / "masks" / f"{dataset.sample_name(i)}.png"))
        assert image.shape == (*truth.shape, 3) and truth.shape == raw.shape
        assert np.array_equal(image, read_image(DATA / "images" / f"{dataset.sample_name(i)}.jpg"))
        for value in np.unique(raw).tolist():
            labels = set(truth[raw == value].tolist())
            assert labels == ({dataset.classes.index(names[value])} if value in names else {IGNORE})


def _names(dataset: FileDataSet) -> list[str]:
    return [dataset.sample_name(i) for i in range(len(dataset))]
