"""Every export, read back by somebody else's code, is the label map that went in."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export_readers import (
    by_centres,
    drawn,
    known,
    label_maps,
    read_coco,
    read_cvat,
    read_geojson,
    read_labelme,
    read_panoptic,
    read_svg,
    read_yolo,
)
from freeda.errors import FreedaWarning, InputError
from freeda.options import EXPORTS
from freeda.show import palette, to_hex
from freeda.show.exports import Labelled, render, write_exports
from freeda.show.exports.coco import encode_runs, run_lengths
from freeda.source_file import SourceFile, source_file

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
MAPS = label_maps()
ODD = ["<b>&\"'", "größe 🙂", "bad\x00\ud800\uffff", "a\nb"]


def names(n: int) -> list[str]:
    return (ODD + [f"class {i}" for i in range(n)])[:n]


def written(labels: NDArray[Any], n: int, folder: Path, kind: str, **more: Any) -> Path:
    picture = Labelled(labels, names(n), palette(n), folder=folder, stem="p", **more)
    files = write_exports(picture, [kind])
    assert sorted(p.name for p in files.values()) == sorted("p" + end for end in EXPORTS[kind])
    return list(files.values())[-1]


@pytest.mark.parametrize("labels, n", MAPS)
def test_exact_round_trips(labels: NDArray[Any], n: int, tmp_path: Path) -> None:
    want, size = known(labels, n), labels.shape
    for kind in ("coco", "coco-instances"):
        plane, _ = read_coco(written(labels, n, tmp_path, kind), size)
        np.testing.assert_array_equal(plane, want, kind)
    table = written(labels, n, tmp_path, "coco-panoptic")
    np.testing.assert_array_equal(read_panoptic(table, size), want)
    ((called, (listed, plane)),) = read_cvat(written(labels, n, tmp_path, "cvat")).items()
    np.testing.assert_array_equal(plane, want)
    assert (
        called == "p"
        and listed == ["<b>&\"'", "größe 🙂", "bad\\x00\\ud800\ufffd", "a\\nb", *names(n)[4:]][:n]
    )
    plane, titles = read_svg(written(labels, n, tmp_path, "svg"), size)
    np.testing.assert_array_equal(plane, want)
    assert list(titles.values()) == [to_hex(palette(n)[i]) for i in np.unique(want[want >= 0])]
    plane, record = read_geojson(written(labels, n, tmp_path, "geojson"), size)
    np.testing.assert_array_equal(plane, want)
    assert record["units"] == "pixels" and "crs" not in record
    for told in (feature["properties"] for feature in record["features"]):
        i = told["label"]
        assert (told["name"], told["colour"]) == (names(n)[i], to_hex(palette(n)[i]))
    for fill in (drawn, by_centres):
        path = written(labels, n, tmp_path, "labelme")
        np.testing.assert_array_equal(read_labelme(path, names(n), fill), want)
        np.testing.assert_array_equal(read_yolo(written(labels, n, tmp_path, "yolo"), size, fill), want)
    if labels.min() < 0:  # a palette PNG holds the values themselves, with a name or without
        with pytest.raises(InputError, match="label map holds labels"):
            written(labels, n, tmp_path, "labels")
    else:
        plane = np.asarray(Image.open(written(labels, n, tmp_path, "labels")))
        np.testing.assert_array_equal(plane, labels)


def test_opencv_reads_the_polygons_too(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed (extra seeds)")

    def fill(points: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
        mask = np.zeros(size, dtype=np.uint8)
        cv2.fillPoly(mask, [np.asarray(points).astype(np.int32)], 1)
        return mask.astype(bool)

    for labels, n in MAPS:
        path = written(labels, n, tmp_path, "yolo")
        np.testing.assert_array_equal(read_yolo(path, labels.shape, fill), known(labels, n))


def slow_runs(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths by their definition: down the columns, zeros first."""
    lengths, now = [0], False
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != now:
                lengths.append(0)
                now = not now
            lengths[-1] += 1
    return lengths


@pytest.mark.parametrize("labels, n", MAPS[::3])
def test_run_lengths_by_their_definition(labels: NDArray[Any], n: int) -> None:
    from pycocotools import mask as coco_mask

    ids = (known(labels, n) + 1).astype(np.int32)
    found = run_lengths(ids)
    assert set(found) == set(np.unique(ids)) - {0}
    for number, (lengths, area) in found.items():
        assert lengths.tolist() == slow_runs(ids == number) and area == (ids == number).sum()
        theirs = coco_mask.encode(np.asfortranarray((ids == number).astype(np.uint8)))
        assert encode_runs(lengths) == theirs["counts"].decode("ascii")


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1023, 1024, 40_000, 123_456_789])
def test_long_runs_are_coded_as_pycocotools_does(size: int) -> None:
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(size)
    lengths = rng.integers(1, size + 1, 12)
    theirs = coco_mask.frPyObjects({"size": [1, int(lengths.sum())], "counts": lengths.tolist()}, 1, 1)
    assert encode_runs(lengths) == theirs["counts"].decode("ascii")


def test_coco_s_records(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), int)
    labels[2:6, 3:9] = labels[10:19, 20:28] = 2
    more = {"file": SourceFile("photos/a b.jpg")}
    _, by_class = read_coco(written(labels, 3, tmp_path, "coco", **more), labels.shape)
    _, by_area = read_coco(written(labels, 3, tmp_path, "coco-instances", **more), labels.shape)
    assert [a["area"] for a in by_class.anns.values()] == [600 - 24 - 72, 96]
    assert [(a["area"], a["bbox"]) for a in by_area.loadAnns(by_area.getAnnIds(catIds=[3]))] == [
        (24, [3, 2, 6, 4]),
        (72, [20, 10, 8, 9]),
    ]
    (image,) = by_area.loadImgs(by_area.getImgIds())
    assert (image["file_name"], image["width"], image["height"]) == ("a b.jpg", 30, 20)
    assert [c["name"] for c in by_area.loadCats(by_area.getCatIds())] == names(3)


def test_names_survive_in_svg(tmp_path: Path) -> None:
    labels = np.arange(4).reshape(2, 2)
    _, titles = read_svg(written(labels, 4, tmp_path, "svg"), (2, 2))
    assert list(titles) == ["<b>&\"'", "größe 🙂", "bad\\x00\\ud800\ufffd", "a\\nb"]


def test_labelme_finds_or_holds_its_photograph(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    labels = np.zeros((4, 6), int)
    (tmp_path / "in").mkdir()
    Image.fromarray(photo).save(tmp_path / "in" / "x.png")
    out, file = tmp_path / "out", source_file(tmp_path / "in" / "x.png", (4, 6))
    path = written(labels, 1, out, "labelme", file=file, photo=photo)
    record = json.loads(path.read_text("utf-8"))
    assert record["imageData"] is None
    assert (path.parent / record["imagePath"]).resolve() == (tmp_path / "in" / "x.png").resolve()
    Image.fromarray(photo[::-1]).save(tmp_path / "in" / "x.png")  # another picture of that name
    with pytest.warns(FreedaWarning, match=r"x\.png: moved or changed"):
        path = written(labels, 1, out, "labelme", file=file, photo=photo)
    assert json.loads(path.read_text("utf-8"))["imageData"] is not None
    record = json.loads(written(labels, 1, out, "labelme", photo=photo).read_text("utf-8"))
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(base64.b64decode(record["imageData"])))), photo
    )
    # What labelme's own reader asks of a file (labelme 6.3, _label_file.py), field by field.
    assert {k: type(record[k]) for k in ("version", "imagePath", "imageHeight", "imageWidth", "flags")} == {
        "version": str,
        "imagePath": str,
        "imageHeight": int,
        "imageWidth": int,
        "flags": dict,
    }
    (shape,) = record["shapes"]
    assert shape["shape_type"] == "polygon" and shape["flags"] == {} and shape["group_id"] is None
    assert isinstance(shape["label"], str) and len(shape["points"]) >= 3
    assert all(len(p) == 2 and all(isinstance(v, float) for v in p) for p in shape["points"])


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_simplified_outlines_stay_near_the_true_ones(tolerance: float, tmp_path: Path) -> None:
    import shapely

    rows, columns = np.indices((90, 120))
    labels = (np.hypot(rows - 45, columns - 60) < 30).astype(int) + (rows > 0.7 * columns)
    exact = json.loads(written(labels, 3, tmp_path, "geojson").read_text("utf-8"))
    few = json.loads(written(labels, 3, tmp_path, "geojson", tolerance=tolerance).read_text("utf-8"))
    for a, b in zip(exact["features"], few["features"], strict=True):
        true, simple = shapely.geometry.shape(a["geometry"]), shapely.geometry.shape(b["geometry"])
        assert shapely.hausdorff_distance(true.boundary, simple.boundary) <= tolerance + 1e-9
        assert len(shapely.get_coordinates(simple)) < 0.7 * len(shapely.get_coordinates(true))
    for kind, read in (("svg", lambda p: read_svg(p, labels.shape)[0]),):
        wrong = read(written(labels, 3, tmp_path, kind, tolerance=0.5)) != labels
        assert wrong.mean() < 0.02
    text = written(labels, 3, tmp_path, "yolo").read_text().split()
    assert len(written(labels, 3, tmp_path, "yolo", tolerance=tolerance).read_text().split()) < len(text)


def test_what_is_smaller_than_the_tolerance_stays(tmp_path: Path) -> None:
    labels = np.zeros((9, 12), int)
    labels[3, 4] = labels[6:8, 7:10] = 1
    record = json.loads(written(labels, 2, tmp_path, "geojson", tolerance=5.0).read_text("utf-8"))
    islands = record["features"][1]["geometry"]["coordinates"]
    assert [sorted(map(tuple, rings[0][:-1])) for rings in islands] == [
        [(4, 3), (4, 4), (5, 3), (5, 4)],
        [(7, 6), (7, 8), (10, 6), (10, 8)],
    ]


def test_bad_input_is_told(tmp_path: Path) -> None:
    good = np.zeros((2, 3), int)
    for labels, more, told in [
        (good.astype(float), {}, "expected integers"),
        (np.zeros((0, 3), int), {}, "expected integers"),
        (good, {"photo": np.zeros((3, 2, 3), np.uint8)}, "its photograph"),
        (good, {"tolerance": -1.0}, "tolerance is -1"),
        (good, {"tolerance": float("nan")}, "tolerance is nan"),
        (good, {"tolerance": "2"}, "tolerance is '2'"),
        (good, {"tolerance": None}, "tolerance is None"),
    ]:
        with pytest.raises(InputError, match=told):
            render(Labelled(labels, ["a"], palette(1), **more), "svg")
    for kind, told in (("pdf", "no export 'pdf'"), ("npz", "Segmentation"), ("overlay", "photograph")):
        with pytest.raises(InputError, match=told):
            render(Labelled(good, ["a"], palette(1)), kind)
    with pytest.raises(InputError, match="not a file name"):
        write_exports(Labelled(good, ["a"], palette(1), folder=tmp_path, stem="a/b"), ["svg"])
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_exports(Labelled(good, ["a"], palette(1), folder=blocked / "x"), ["svg", "coco"])


def test_all_files_or_none(tmp_path: Path) -> None:
    picture = Labelled(np.zeros((2, 3), int), ["a"], palette(1), folder=tmp_path, stem="p")
    with pytest.raises(InputError, match="photograph"):
        write_exports(picture, ["svg", "overlay"])
    assert list(tmp_path.iterdir()) == []
