"""Whole data sets: read by others' code, and by our own import, they are the label maps that went in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from export_readers import NOTHING, known, label_maps, painted, read_cvat, read_labelme, read_yolo
from freeda.errors import InputError
from freeda.options.exports import DATASETS
from freeda.references.formats import open_annotated
from freeda.show import palette, to_hex
from freeda.show.exports import Labelled, write_exports
from freeda.show.exports.folder import export_folder
from freeda.source_file import source_file
from label_maps import random_maps

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
NAMES = [f"class {i}" for i in range(300)]


def maps() -> list[tuple[Any, int]]:
    noisy = [(random_maps(seed, (24, 31), 4, np.int16, patchy=seed % 2 > 0)[1], 4) for seed in range(4)]
    return [*label_maps()[::3], *noisy]


def items(folder: Path) -> Iterator[Labelled]:
    """A photograph after the other, every third a file of its own, all called by one of three names."""
    folder.mkdir(exist_ok=True)
    for i, (labels, n) in enumerate(maps()):
        photo = np.random.default_rng(i).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
        file = None
        if i % 3 == 0:
            Image.fromarray(photo).save(folder / f"{i}.bmp")
            file = source_file(folder / f"{i}.bmp", labels.shape)
        colours = palette(300)[:n]
        yield Labelled(labels, NAMES[:n], colours, photo if file is None else None, file, stem="aBa"[i % 3])


def planes(place: Path, kind: str) -> dict[str, Any]:
    """By other people's code, or by what the format's documentation says: stem -> plane of labels."""
    read: dict[str, Any] = {}
    if kind == "labels":
        names = json.loads((place / "names.json").read_text())
        assert names == {str(i + 1): name for i, name in enumerate(NAMES)}
        for path in (place / "masks").iterdir():
            read[path.stem] = np.asarray(Image.open(path)).astype(int) - 1
    elif kind in ("coco", "coco-instances"):
        from pycocotools.coco import COCO

        coco = COCO(str(place / "annotations" / "instances_default.json"))
        assert [c["name"] for c in coco.loadCats(range(1, 301))] == NAMES
        for image in coco.loadImgs(coco.getImgIds()):
            found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            parts = [(one["category_id"] - 1, coco.annToMask(one)) for one in found]
            read[Path(image["file_name"]).stem] = painted((image["height"], image["width"]), parts)
    elif kind == "coco-panoptic":
        table = json.loads((place / "annotations" / "panoptic_default.json").read_text())
        for image, one in zip(table["images"], table["annotations"], strict=True):
            rgb = np.asarray(
                Image.open(place / "annotations" / "panoptic_default" / one["file_name"])
            ).astype(int)
            ids = rgb @ [1, 256, 65536]
            assert one["image_id"] == image["id"] and set(np.unique(ids)) - {0} == {
                s["id"] for s in one["segments_info"]
            }
            parts = [(s["category_id"] - 1, ids == s["id"]) for s in one["segments_info"]]
            read[Path(image["file_name"]).stem] = painted(ids.shape, parts)
        assert [c["color"] for c in table["categories"]] == palette(300).tolist()
    elif kind == "labelme":
        for path in place.glob("*.json"):
            read[path.stem] = read_labelme(path, NAMES)
            assert (place / json.loads(path.read_text())["imagePath"]).is_file()
    elif kind == "yolo":
        data = yaml.safe_load((place / "data.yaml").read_text())
        assert data["names"] == dict(enumerate(NAMES)) and data["train"] == data["val"] == "images/train"
        for path in (place / data["train"]).iterdir():
            with Image.open(path) as image:
                label = Path(*("labels" if p == "images" else p for p in path.parts)).with_suffix(".txt")
                read[path.stem] = read_yolo(label, image.size[::-1])
    else:
        found = read_cvat(place / "annotations.xml")
        assert all(
            names == NAMES and (place / "images" / name).is_file() for name, (names, _) in found.items()
        )
        read = {Path(name).stem: plane for name, (_, plane) in found.items()}
    return read


@pytest.mark.parametrize("kind", DATASETS)
def test_round_trips(kind: str, tmp_path: Path) -> None:
    place = export_folder(items(tmp_path / "in"), tmp_path / "out" / kind, kind)
    assert not [p.name for p in place.rglob(".*")] and sorted(tmp_path.iterdir()) == [
        tmp_path / "in",
        tmp_path / "out",
    ]
    stems = [stem if n == 0 else f"{stem}-{n + 1}" for n in range(len(maps())) for stem in "aB"]
    found, want = planes(place, kind), [known(labels, n) for labels, n in maps()]
    assert len(found) == len(want) and set(found) <= {*stems, *(s.replace("B", "b") for s in stems)}
    own = open_annotated(place)
    by_picture = {picture.name: picture for picture in own.pairs.pictures}
    assert not own.pairs.without_image and not own.left
    counts = {"a": 0, "b": 0}
    for i, (item, plane) in enumerate(zip(items(tmp_path / "in"), want, strict=True)):
        counts[item.stem.lower()] += 1
        stem = item.stem if (n := counts[item.stem.lower()]) == 1 else f"{item.stem}-{n}"
        np.testing.assert_array_equal(found[stem], plane)
        suffix = ".bmp" if i % 3 == 0 else ".png"
        path = place / DATASETS[kind] / f"{stem}{suffix}"
        photo = np.asarray(Image.open(tmp_path / "in" / f"{i}.bmp")) if item.photo is None else item.photo
        np.testing.assert_array_equal(np.asarray(Image.open(path)), photo)
        there = np.unique(plane[plane != NOTHING]).tolist()
        name = path.relative_to(place / "images" if "images" in path.parts else place).as_posix()
        masks = own.masks(by_picture[name]) if there else {}
        assert sorted(masks) == sorted(NAMES[label] for label in there), name
        for label in there:
            np.testing.assert_array_equal(masks[NAMES[label]], plane == label)


@pytest.mark.parametrize("kind", [kind for kind in DATASETS if kind != "labels"])
def test_exports_of_one_picture_come_back_too(kind: str, tmp_path: Path) -> None:
    """As `freeda segment --export` writes them, the photographs elsewhere."""
    for i, (labels, n) in enumerate(maps()[1::6]):
        folder, want = tmp_path / str(i), known(labels, n)
        (folder / "in" / "x").mkdir(parents=True)
        Image.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(folder / "in" / "x" / "p.png")
        file = source_file(folder / "in" / "x" / "p.png", labels.shape)
        names = [f"class {j}" for j in range(n)]
        write_exports(Labelled(labels, names, palette(n), None, file, folder / "out", "p"), [kind])
        where: dict[str, Any] = (
            {"masks": "out", "images": "in/x", "names": "names.txt"} if kind == "yolo" else {}
        )
        (folder / "names.txt").write_text("\n".join(names))
        if (want == NOTHING).all():
            continue
        own = open_annotated(folder, **where)
        (picture,) = own.pairs.pictures
        masks = own.masks(picture)
        assert sorted(masks) == sorted(names[label] for label in np.unique(want[want != NOTHING]))
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask, want == names.index(name))


@pytest.mark.parametrize("kind", DATASETS)
def test_a_name_has_one_number_in_all_pictures(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # folders may be relative
    photo = np.zeros((2, 2, 3), np.uint8)
    first = Labelled(np.array([[0, 1], [1, 1]]), ["dog", "cat"], palette(2), photo, stem="x")
    second = Labelled(np.array([[0, 1], [2, -1]]), ["cat", "owl", "dog"], palette(3), photo, stem="y")
    place = export_folder(iter([first, second]), f"sets/{kind}", kind)
    assert not list(place.rglob(".*")) and {p.name for p in place.rglob("*.png")} >= {"x.png", "y.png"}
    own = open_annotated(place)
    x, y = (own.masks(picture) for picture in own.pairs.pictures)
    assert {name: mask.tolist() for name, mask in x.items()} == {
        "dog": [[True, False], [False, False]],
        "cat": [[False, True], [True, True]],
    }
    assert {name: int(mask.ravel().argmax()) for name, mask in y.items()} == {"cat": 0, "owl": 1, "dog": 2}
    if kind == "cvat":
        text = (place / "annotations.xml").read_text()
        assert [text.index(f"<name>{name}</name>") for name in ("dog", "cat", "owl")] == sorted(
            text.index(f"<name>{name}</name>") for name in ("dog", "cat", "owl")
        )
        assert f"<color>{to_hex(palette(2)[1])}</color>" in text


@pytest.mark.parametrize("kind", DATASETS)
def test_a_photograph_stored_turned_is_copied_as_it_is(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((4, 7, 3), np.uint8)).save(tmp_path / "p.jpg", exif=exif)
    labels = random_maps(0, (7, 4), 2, np.int64, ignore=0)[1]
    item = Labelled(
        labels, ["cat", "dog"], palette(2), None, source_file(tmp_path / "p.jpg", (7, 4)), stem="p"
    )
    place = export_folder([item], tmp_path / "set", kind)
    assert (place / DATASETS[kind] / "p.jpg").read_bytes() == (tmp_path / "p.jpg").read_bytes()
    own = open_annotated(place)
    for name, mask in own.masks(own.pairs.pictures[0]).items():
        np.testing.assert_array_equal(mask, labels == ["cat", "dog"].index(name))


def test_odd_names_in_yaml(tmp_path: Path) -> None:
    odd = [
        "a: b # c",
        "größe 🙂",
        'quo"te\\',
        "bad\x00\ud800\uffff",
        "a\nb",
        "yes",
        "1",
        "{x}",
        "- y",
        "\u2028",
    ]
    labels = np.arange(len(odd))[None]
    item = Labelled(labels, odd, palette(len(odd)), np.zeros((1, len(odd), 3), np.uint8))
    export_folder([item], tmp_path / "set", "yolo")
    assert yaml.safe_load((tmp_path / "set" / "data.yaml").read_text("utf-8"))["names"] == dict(
        enumerate(odd)
    )
    own = replace(item, names=["yes", "1: x", "größe"], labels=labels % 3, colours=palette(3))
    export_folder([own], tmp_path / "own", "yolo")
    (picture,) = open_annotated(tmp_path / "own").pairs.pictures
    assert sorted(open_annotated(tmp_path / "own").masks(picture)) == sorted(own.names)


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    photo = np.zeros((2, 2, 3), np.uint8)
    good = Labelled(np.zeros((2, 2), int), ["cat"], palette(1), photo)

    def failing() -> Iterator[Labelled]:
        yield good
        raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        export_folder(failing(), tmp_path / "set", "yolo")
    Image.fromarray(photo).save(tmp_path / "x.png")
    gone = replace(good, photo=None, file=source_file(tmp_path / "x.png", (2, 2)))
    Image.fromarray(photo + 1).save(tmp_path / "x.png")
    for given, kind, told in (
        ([good, gone], "coco", r"x\.png: moved or changed since it was labelled"),
        ([replace(good, photo=None)], "coco", "image: it has no photograph"),
        ([], "cvat", "set: no labelled photograph was given"),
        ([good], "svg", "there is no data set 'svg': use one of labels, coco"),
        ([replace(good, labels=np.zeros((2, 2)))], "labelme", "expected integers"),
        ([replace(good, stem="a/b")], "labelme", "not a file name"),
    ):
        with pytest.raises(InputError, match=told):
            export_folder(given, tmp_path / "set", kind)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    export_folder([good], tmp_path / "set", "cvat")
    with pytest.raises(InputError, match="set: is there already"):
        export_folder([good], tmp_path / "set", "cvat")
