"""Annotated folders of COCO, LabelMe, YOLO and CVAT: they are read as their own tools read them."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from freeda.errors import InputError
from freeda.references.annotated import AnnotatedFolder
from freeda.references.formats import open_annotated
from freeda.references.shapes import RULES
from label_maps import SHAPES

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
H, W = 30, 40
CATEGORIES = [{"id": 7, "name": "Cat"}, {"id": 3, "name": "stop_sign"}]
IMAGE = {"id": 1, "file_name": "a.png", "height": H, "width": W}


def picture(path: Path, size: tuple[int, int] = (H, W), **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **more)
    return path


def coco(path: Path, annotations: list[Any], images: Any = (IMAGE,), categories: Any = CATEGORIES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"images": list(images), "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(record))


def part(segmentation: Any, category: int = 7, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "category_id": category, "segmentation": segmentation, **more}


def labelme(path: Path, shapes: list[Any], **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"imagePath": "a.png", "imageData": None, "imageHeight": H, "imageWidth": W, "shapes": shapes}
    path.write_text(json.dumps(record | more))


def shape(kind: str | None, points: Any, label: str = "cat", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": 1, "flags": {}, **more}


def cvat(path: Path, inside: str, image: str = f'name="a.png" width="{W}" height="{H}"') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f'<annotations><version>1.1</version><meta/><image id="0" {image}>{inside}</image></annotations>'
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{text}')


def only(folder: AnnotatedFolder) -> dict[str, NDArray[np.bool_]]:
    (one,) = folder.pairs.pictures
    return folder.masks(one)


def whole(rule: str, data: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    top, left, mask = RULES[rule](data, size)
    out = np.zeros(size, dtype=bool)
    out[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return out


def pillow(size: tuple[int, int], draw: Any) -> NDArray[np.bool_]:
    canvas = Image.new("L", size[::-1])
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas) != 0


@pytest.mark.parametrize("size", SHAPES)
def test_shapes_are_filled_as_by_their_own_tools(size: tuple[int, int]) -> None:
    """Of random points, also outside the picture, whole, half and repeated ones."""
    from pycocotools import mask as theirs

    rng, (height, width) = np.random.default_rng(sum(size)), size
    for i in range(150):
        points = rng.uniform(-4, [width + 4, height + 4], (rng.integers(3, 12), 2))
        points = (points, points.round(), (points * 2).round() / 2, np.concatenate([points, points[:1]]))[
            i % 4
        ]
        points = points.repeat(2, 0) if i % 7 == 0 else points
        flat = points.ravel().tolist()
        runs = theirs.frPyObjects([flat, (points + 2).ravel().tolist()], height, width)
        found = whole("coco polygons", [flat, (points + 2).ravel().tolist()], size)
        np.testing.assert_array_equal(found, theirs.decode(theirs.merge(runs)))
        corners = [tuple(point) for point in points.tolist()]
        found = pillow(size, lambda draw, at=corners: draw.polygon(at, outline=1, fill=1))
        np.testing.assert_array_equal(whole("polygon", points.tolist(), size), found)
        shares = (points / [width, height]).ravel().tolist()
        found = pillow(
            size,
            lambda draw, at=shares: draw.polygon(  # as Ultralytics cuts them down
                [(int(x * width), int(y * height)) for x, y in zip(at[::2], at[1::2], strict=True)],
                outline=1,
                fill=1,
            ),
        )
        np.testing.assert_array_equal(whole("shares", shares, size), found)
        first, second = points[:2].tolist()
        box = [tuple(np.minimum(first, second)), tuple(np.maximum(first, second))]
        found = pillow(size, lambda draw, at=box: draw.rectangle(at, outline=1, fill=1))
        np.testing.assert_array_equal(whole("rectangle", [first, second], size), found)
        (x, y), r = first, math.dist(first, second)
        found = pillow(
            size, lambda draw, at=[x - r, y - r, x + r, y + r]: draw.ellipse(at, outline=1, fill=1)
        )
        np.testing.assert_array_equal(whole("circle", [first, second], size), found)
        mask = rng.random(size) < rng.random()
        told = theirs.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        np.testing.assert_array_equal(whole("coco runs", {"size": list(size), "counts": told}, size), mask)
        numbers = np.diff([0, *(np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))), mask.size]).tolist()
        np.testing.assert_array_equal(whole("coco runs", {"size": list(size), "counts": numbers}, size), mask)


def test_coco_instances(tmp_path: Path) -> None:
    picture(tmp_path / "val" / "a.png")
    (tmp_path / "val" / "b.png").write_bytes((tmp_path / "val" / "a.png").read_bytes())
    square = [5, 5, 15, 5, 15, 15, 5, 15]
    crowd = {"size": [H, W], "counts": [0, 60, H * W - 60]}  # two columns
    coco(
        tmp_path / "annotations" / "instances_val.json",
        [
            part([square, [v + 20 for v in square[:6]]]),
            part(crowd, iscrowd=1),
            part([[8, 8, 12, 8, 12, 12, 8, 12]], 3),  # inside the cat, which keeps its pixels
            part([], 3),
            part([[1, 2, 3, 4]], 3),
            part(crowd, image_id=2),
        ],
        [IMAGE, {"id": 2, "file_name": "gone.png"}],
    )
    folder = open_annotated(tmp_path)
    found = only(folder)
    assert list(found) == ["cat", "stop sign"]
    assert (
        found["cat"][:, :2].all() and found["cat"][5:15, 5:15].all() and found["cat"][5:15, 15:20].sum() == 0
    )
    assert found["cat"][25:, 25:].any() and found["stop sign"].sum() == 16
    assert [p.name for p in folder.pairs.without_mask] == ["b.png"]
    assert [str(p) for p in folder.pairs.without_image] == ["gone.png"]
    assert {what: n for what, (n, _) in folder.left.items()} == {
        "annotations without a mask": 1,
        "polygons of fewer than 3 corners": 1,
        "annotations of pictures that are not there": 1,
    }
    assert folder.told == f"{tmp_path}/annotations/instances_val.json: COCO"
    (before,) = folder.pairs.pictures  # a changed part is another reference of the same picture
    coco(tmp_path / "annotations" / "instances_val.json", [part([square])])
    (after,) = open_annotated(tmp_path).pairs.pictures
    assert before.digest == after.digest and before.digest_of_all() != after.digest_of_all()


def test_coco_panoptic(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    ids = np.zeros((H, W), np.int64)
    ids[:10], ids[10:20], ids[20:25] = 5, 70_000, 300
    for place in ("panoptic", "."):  # COCO's place, and beside the table
        folder = tmp_path / "annotations"
        (folder / place).mkdir(parents=True, exist_ok=True)
        planes = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(planes).save(folder / place / "a.png")
        segments = [{"id": 5, "category_id": 7, "iscrowd": 1}, {"id": 70_000, "category_id": 3}]
        one = {
            "image_id": 1,
            "file_name": "a.png",
            "segments_info": [*segments, {"id": 300, "category_id": 7}],
        }
        coco(folder / "panoptic.json", [one], [IMAGE | {"file_name": "a.jpg"}])
        found = only(open_annotated(tmp_path, masks="annotations/panoptic.json"))
        np.testing.assert_array_equal(found["cat"], (ids == 5) | (ids == 300))
        np.testing.assert_array_equal(found["stop sign"], ids == 70_000)
        one["segments_info"].pop()
        coco(folder / "panoptic.json", [one], [IMAGE | {"file_name": "a.jpg"}])
        with pytest.raises(
            InputError, match=r"a\.png: holds the colour #2c0100.*no segment's in .*panoptic\.json"
        ):
            only(open_annotated(tmp_path))
        (folder / place / "a.png").unlink()
    one["file_name"] = "../a.png"
    coco(folder / "panoptic.json", [one], [IMAGE | {"file_name": "a.jpg"}])
    with pytest.raises(InputError, match="leads out of the folder"):
        open_annotated(tmp_path)


def test_labelme(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    patch = io.BytesIO()
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(patch, "PNG")
    labelme(
        tmp_path / "a.json",
        [
            shape("rectangle", [[20.9, 20.9], [2.5, 3.5]]),
            shape("polygon", [[30, 2], [38, 2], [38, 9]]),  # of the same group
            shape("circle", [[10, 10], [13, 10]], "__ignore__"),  # a hole
            shape("mask", [[25, 20], [28, 23]], "dog", mask=base64.b64encode(patch.getvalue()).decode()),
            shape(None, [[4, 4], [6, 4], [6, 6], [4, 6]], "Dog"),  # drawn over the cat
            shape("linestrip", [[4, 4], [6, 4]]),
            shape("point", [[4, 4]]),
            shape("polygon", [[1, 1], [2, 2]]),
        ],
    )
    folder = open_annotated(tmp_path)
    found = only(folder)
    dog = np.zeros((H, W), bool)
    dog[20:24, 25:29], dog[4:7, 4:7] = np.eye(4), True
    np.testing.assert_array_equal(found["dog"], dog)
    cat = pillow((H, W), lambda draw: draw.polygon([(30, 2), (38, 2), (38, 9)], outline=1, fill=1))
    cat[3:21, 2:21] = True
    cat &= ~dog & ~pillow((H, W), lambda draw: draw.ellipse((7, 7, 13, 13), outline=1, fill=1))
    np.testing.assert_array_equal(found["cat"], cat)
    assert list(found) == ["cat", "dog"] and sum(n for n, _ in folder.left.values()) == 3


def test_labelme_s_pictures(tmp_path: Path) -> None:
    """Found by path, by the name of the file, or in the file itself; never outside of the folder."""
    square = [shape("polygon", [[2, 2], [9, 2], [9, 9], [2, 9]])]
    outside = picture(tmp_path / "outside" / "a.png")
    folder = tmp_path / "own"
    labelme(folder / "json" / "b.json", square, imagePath="..\\..\\outside\\a.png")
    with pytest.raises(InputError, match=r"a\.png is not in"):
        open_annotated(folder)
    embedded = base64.b64encode(outside.read_bytes()).decode()
    labelme(folder / "json" / "b.json", square, imagePath="../../outside/a.png", imageData=embedded)
    (held,) = open_annotated(folder).pairs.pictures
    np.testing.assert_array_equal(held.pixels(), np.asarray(Image.open(outside)))
    assert only(open_annotated(folder))["cat"].sum() == 64
    picture(folder / "json" / "b.png")  # renamed with its file
    assert [p.name for p in open_annotated(folder).pairs.pictures] == ["json/b.png"]
    picture(folder / "elsewhere" / "a.png")  # of the old name, but not the one
    assert [p.name for p in open_annotated(folder).pairs.pictures] == ["json/b.png"]
    picture(folder / "pictures" / "a.png")
    (one,) = open_annotated(folder).pairs.pictures
    assert one.name == "a.png" and one.image == folder / "pictures" / "a.png"
    assert one.digest == held.digest and one.digest_of_all() == held.digest_of_all()  # the same bytes
    one.image.rename(picture(folder / "pictures" / "one" / "a.png"))
    picture(folder / "pictures" / "two" / "a.png")
    with pytest.raises(InputError, match=r"b\.json: the picture .* may be one/a\.png or two/a\.png"):
        open_annotated(folder)
    labelme(folder / "json" / "b.json", square, imagePath="two/a.png")
    assert [p.name for p in open_annotated(folder).pairs.pictures] == ["two/a.png"]


YOLO = "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n\n1 0.5 0.5 1 0.5 1 1\n"


@pytest.mark.parametrize(
    "layout",
    ["images/train/{}.png labels/train/{}.txt", "train/images/{}.png train/labels/{}.txt", "{}.png {}.txt"],
)
@pytest.mark.parametrize(
    "names",
    [
        "data.yaml names: [Cat, 'stop_sign']",
        "data.yml names:\n  0: cat\n  1: stop sign  # it\nnc: 2",
        "classes.txt cat\nstop sign\n",
        "obj.names cat\nstop sign\n",
        "labels/classes.txt cat\nstop sign\n",
    ],
)
def test_yolo(tmp_path: Path, layout: str, names: str) -> None:
    image, label = (tmp_path / path.format("a") for path in layout.split())
    picture(image)
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(YOLO + "0 0.5 0.5 0.1 0.1\n")
    file, _, text = names.partition(" ")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    (tmp_path / "args.yaml").write_text("epochs: 3\n")
    (label.parent / "gone.txt").write_text(YOLO)
    if not file.startswith("data"):
        (tmp_path / "args.yaml").unlink()
    folder = open_annotated(tmp_path)
    found = only(folder)
    want = pillow((H, W), lambda draw: draw.polygon([(4, 3), (20, 3), (20, 15), (4, 15)], outline=1, fill=1))
    np.testing.assert_array_equal(found["cat"], want)
    want = pillow((H, W), lambda draw: draw.polygon([(20, 15), (40, 15), (40, 30)], outline=1, fill=1))
    np.testing.assert_array_equal(found["stop sign"], want)
    assert {what: n for what, (n, _) in folder.left.items()} == {"boxes without a mask": 1}
    assert folder.told == f"{tmp_path / file}: 0 = cat, 1 = stop sign"
    assert [path.name for path in folder.pairs.without_image] == ["gone.txt"]


def test_cvat_for_images(tmp_path: Path) -> None:
    from pycocotools import mask as theirs

    picture(tmp_path / "images" / "a.png")
    cvat(
        tmp_path / "annotations.xml",
        '<mask label="Dog" source="manual" occluded="0" rle="0, 3, 2, 1" left="1" top="2" '
        'width="3" height="2" z_order="1"/>'
        '<polygon label="cat" points="0.00,0.00;20.50,0.00;20.50,12.25;0.00,12.25" z_order="0">'
        '<attribute name="x">1</attribute></polygon>'
        '<box label="dog" xtl="25" ytl="5" xbr="35" ybr="15" rotation="30" z_order="0"/>'
        '<tag label="cat"/><ellipse label="cat" cx="1" cy="1" rx="1" ry="1"/>'
        '<points label="cat" points="1,1"/>',
    )
    folder = open_annotated(tmp_path)
    found = only(folder)

    def filled(points: Any) -> NDArray[np.bool_]:
        return theirs.decode(theirs.frPyObjects([np.ravel(points).tolist()], H, W)[0]).astype(bool)

    turn = math.radians(30)
    by = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    dog = filled(np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]]) @ by.T + [30, 10])
    dog[2:4, 1:4] |= np.array([[1, 1, 1], [0, 0, 1]], bool)
    np.testing.assert_array_equal(found["dog"], dog)
    np.testing.assert_array_equal(found["cat"], filled([0, 0, 20.5, 0, 20.5, 12.25, 0, 12.25]) & ~dog)
    assert sorted(folder.left) == [
        f"shapes without an area ({kind})" for kind in ("ellipse", "points", "tag")
    ]


def test_cvat_s_segmentation_masks(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages" / "a.jpg")
    values = np.arange(H * W).reshape(H, W) % 3
    painted = np.array([[0, 0, 0], [250, 50, 83], [36, 179, 83]], np.uint8)
    for kind in ("SegmentationClass", "SegmentationObject"):
        (tmp_path / kind).mkdir()
        Image.fromarray(painted[values if kind == "SegmentationClass" else values // 2]).save(
            tmp_path / kind / "a.png"
        )
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncat:250,50,83::\ndog:36,179,83::\n")
    found = only(open_annotated(tmp_path))
    assert sorted(found) == ["cat", "dog"]
    np.testing.assert_array_equal(found["cat"], values == 1)
    np.testing.assert_array_equal(found["dog"], values == 2)


def test_which_format(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    coco(tmp_path / "coco.json", [part([[0, 0, 9, 0, 9, 9]])])
    labelme(tmp_path / "a.json", [shape("rectangle", [[0, 0], [9, 9]], "dog")])
    with pytest.raises(InputError, match=r"holds LabelMe \(a\.json\) and COCO \(coco\.json\): say which"):
        open_annotated(tmp_path)
    assert list(only(open_annotated(tmp_path, format="coco"))) == ["cat"]
    assert list(only(open_annotated(tmp_path, format="labelme"))) == ["dog"]
    assert list(only(open_annotated(tmp_path, masks="coco.json"))) == ["cat"]
    (tmp_path / "a.txt").write_text(YOLO)
    (tmp_path / "coco.json").unlink()
    with pytest.raises(InputError, match=r"holds LabelMe \(a\.json\) and YOLO \(a\.txt\)"):
        open_annotated(tmp_path)
    with pytest.raises(InputError, match=r"no picture in .* has a mask"):
        open_annotated(tmp_path, format="masks")
    for name, other in (("cvat", {}), ("voc", {}), ("labelme", {"ignore": [3]}), ("labelme", {"names": "x"})):
        with pytest.raises(InputError, match=r"no file of CVAT|no format 'voc'|means nothing to LabelMe"):
            open_annotated(tmp_path, format=name, **other)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json: damaged JSON"):
        open_annotated(tmp_path)


def test_what_is_told_twice(tmp_path: Path) -> None:
    """No number stands for two things, and LabelMe has one file a picture."""
    picture(tmp_path / "a.png")
    own = part([[0, 0, 9, 0, 9, 9]])
    coco(tmp_path / "x.json", [own], [IMAGE, IMAGE])
    with pytest.raises(InputError, match="image 1: its 'id' is 1, as another's is"):
        open_annotated(tmp_path)
    coco(tmp_path / "x.json", [own], categories=[CATEGORIES[0], CATEGORIES[0]])
    with pytest.raises(InputError, match="category 1: its 'id' is 7, as another's is"):
        open_annotated(tmp_path)
    (tmp_path / "x.json").unlink()
    for name in ("a.json", "old/a.json"):
        labelme(tmp_path / name, [shape("rectangle", [[0, 0], [9, 9]])])
    with pytest.raises(InputError, match=r"a\.png has shapes of another file already \(.*a\.json: shape 0\)"):
        open_annotated(tmp_path)


def runs(counts: Any, size: Any = (H, W)) -> Any:
    return part({"size": list(size), "counts": counts})


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (part([[0, 0, 9, 0, 9, "x"]]), "annotation 1: [0, 0, 9, 0, 9, 'x']: at least 3 points"),
        (part([[0, 0, 9, 0, 9, 9, 1]]), "at least 3 points"),
        (part([[0, 0, 9, 0, 9, float("nan")]]), "nan is no pixel's place"),
        (part([[0, 0, 9, 0, 9, 1e300]]), "is no pixel's place"),
        (part("text"), "run lengths are for 'text'"),
        (part([[0, 0, 9, 0, 9, 9]], 5), "its 'category_id' is 5, which is no category's"),
        (part([[0, 0, 9, 0, 9, 9]], image_id=[1]), "its 'image_id' is [1], which cannot be read"),
        (part([[0, 0, 9, 0, 9, 9]], image_id=9), "its 'image_id' is 9, which is no image's"),
        (runs([3, 4]), "its run lengths make 7 pixels, not 1,200"),
        (runs([-3, 1203]), "no run lengths"),
        (runs([True, 1199]), "no run lengths"),
        (runs("\x7f\x7f"), "no run lengths as COCO writes them"),
        (runs("oooooooooooooooooooooooooo"), "no run lengths as COCO writes them"),
        (runs(""), "no run lengths"),
        (runs([1200], (W, H)), "its run lengths are for [40, 30]"),
        (5, "annotation 0: its 'image_id' is None"),
    ],
)
def test_bad_coco(tmp_path: Path, annotation: Any, says: str) -> None:
    picture(tmp_path / "a.png")
    coco(tmp_path / "x.json", [annotation])
    with pytest.raises(InputError) as caught:
        only(open_annotated(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/x.json: annotation ") and says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        (shape("rectangle", [[1, 1]]), "shape 0: [[1, 1]]: at least 2 points"),
        (shape("circle", [[1, 1], [2, 2], [3, 3]]), "two points (x, y) are needed"),
        (shape("mask", [[1, 1], [3, 3]]), "its mask is None: a PNG in base64 is needed"),
        (shape("mask", [[1, 1], [3, 3]], mask="AAAA"), "this mask cannot be read"),
        (shape("polygon", None), "its 'points' is None"),
        (shape("polygon", [[1, 1], [3, 3], [3, float("nan")]]), "nan is no pixel's place in a picture"),
        (shape("polygon", [[1, 1], [3, 3], [3, 1]], label=3), "its 'label' is 3"),
        ("text", "its 'label' is None"),
    ],
)
def test_bad_labelme(tmp_path: Path, spoilt: Any, says: str) -> None:
    picture(tmp_path / "a.png")
    labelme(tmp_path / "a.json", [spoilt])
    with pytest.raises(InputError) as caught:
        only(open_annotated(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/a.json: shape 0: ") and says in str(caught.value)


@pytest.mark.parametrize(
    ("line", "names", "says"),
    [
        ("0 0.1 0.1 0.5 0.1 0.5", "names: [a]", "a.txt: line 1: 5 numbers after the class"),
        ("0 1 1 5 1 5 5", "names: [a]", "a.txt: line 1: holds 5: shares of the picture's size"),
        ("2 0.1 0.1 0.5 0.1 0.5 0.5", "names: [a]", "a.txt: line 1: there is no class 2 in data.yaml"),
        ("0.0 0.1 0.1 0.5 0.1 0.5", "names: [a]", "a.txt: line 1: 5 numbers after the class"),
        ("0 0 0 1 0 1 1\n0.5 0 0 1 0 1 1", "names: [a]", "a.txt: line 2: '0.5 0 0 1 0 1 1': a class"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.e5e", "names: [a]", "a.txt: line 1: '0 0.1"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "names: 3", "data.yaml: its 'names' are 3"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "names: {a: b}", "data.yaml: its 'names' hold {'a': 'b'}"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "names: [yes]", "data.yaml: its 'names' hold {0: True}"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "kpt_shape: [17, 3]\nnames: [a]", "of poses ('kpt_shape')"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "names: [a", "data.yaml: cannot be read"),
    ],
)
def test_bad_yolo(tmp_path: Path, line: str, names: str, says: str) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(line)
    (tmp_path / "data.yaml").write_text(names)
    with pytest.raises(InputError) as caught:
        only(open_annotated(tmp_path))
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1
    (tmp_path / "data.yaml").unlink()
    with pytest.raises(InputError, match="YOLO's classes have no names"):
        open_annotated(tmp_path)


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ('<mask label="a" rle="3, x" left="0" top="0" width="3" height="1"/>', "mask 0: cannot be read"),
        ('<mask label="a" rle="3" left="0" top="0" width="2" height="1"/>', "make 3 pixels, not 2"),
        ('<mask label="a" rle="9" left="38" top="0" width="3" height="3"/>', "its box [38, 0, 3, 3]"),
        ('<mask label="a" rle="9" left="-1" top="0" width="3" height="3"/>', "no run lengths"),
        ('<polygon label="a" points="1,1;2"/>', "polygon 0: cannot be read"),
        ('<polygon label="a" points="1,1;2,2"/>', "at least 3 points"),
        ('<box label="a" xtl="1" ytl="1" xbr="3"/>', "box 0: cannot be read ('ybr')"),
        ('<box xtl="1" ytl="1" xbr="3" ybr="3"/>', "blank"),
    ],
)
def test_bad_cvat(tmp_path: Path, inside: str, says: str) -> None:
    picture(tmp_path / "a.png")
    cvat(tmp_path / "x.xml", inside)
    with pytest.raises(InputError) as caught:
        only(open_annotated(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/x.xml: image a.png: ") and says in str(caught.value)


def test_a_video_s_tracks_and_other_xml(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "x.xml").write_text("<annotations><track/></annotations>")
    with pytest.raises(InputError, match="CVAT for video"):
        open_annotated(tmp_path)
    (tmp_path / "x.xml").write_text("<annotation/>")  # such as of Pascal VOC
    with pytest.raises(InputError, match="has a mask"):
        open_annotated(tmp_path)


@pytest.mark.parametrize("kind", ["coco", "labelme", "cvat", "yolo"])
def test_damaged_records_are_told_in_one_line(tmp_path: Path, kind: str) -> None:
    """A value somewhere in a good file is replaced: the masks come, or one line names the file."""
    picture(tmp_path / "a.png")
    box = [[2, 3], [20, 3], [20, 9], [2, 9]]
    if kind == "coco":
        own = [part([np.ravel(box).tolist()]), part({"size": [H, W], "counts": [5, 6, 1189]}), part(None)]
        coco(tmp_path / "x.json", own)
        record = json.loads((tmp_path / "x.json").read_text())
    elif kind == "labelme":
        patch = io.BytesIO()
        Image.new("L", (19, 1), 1).save(patch, "PNG")
        told = base64.b64encode(patch.getvalue()).decode()
        shapes = [shape("polygon", box), shape("circle", box[:2]), shape("mask", box[:2], mask=told)]
        labelme(tmp_path / "x.json", shapes)
        record = json.loads((tmp_path / "x.json").read_text())
    elif kind == "yolo":
        record = [[0, *(np.ravel(box) / 40).tolist()], [1, 0.5, 0.5, 1, 0.5, 1, 1]]
        (tmp_path / "classes.txt").write_text("cat\ndog\n")
    else:
        places = {"xtl": 1, "ytl": 2, "xbr": 9, "ybr": 8, "rotation": 3, "z_order": 1, "label": "cat"}
        about = {"rle": "2, 3, 4", "left": 1, "top": 1, "width": 3, "height": 3, "label": "dog"}
        record = [
            {"name": "a.png", "width": W, "height": H},
            places,
            about,
            {"points": "1,1;9,1;9,9", "label": "x"},
        ]
    rng, odd = (
        np.random.default_rng(0),
        [None, -1, 1e300, "", "x", [], {}, [[1]], True, float("nan"), 2**70, "../a"],
    )

    def replaced(value: Any) -> Any:
        if isinstance(value, dict) and value and rng.random() < 0.9:
            key = list(value)[rng.integers(len(value))]
            return {**value, key: replaced(value[key])}
        if isinstance(value, list) and value and rng.random() < 0.9:
            i = int(rng.integers(len(value)))
            return [*value[:i], replaced(value[i]), *value[i + 1 :]]
        return odd[rng.integers(len(odd))]

    failed = 0
    for _ in range(300):
        spoilt = replaced(record)
        if kind in ("coco", "labelme"):
            (tmp_path / "x.json").write_text(json.dumps(spoilt))
        elif kind == "yolo":
            lines = (
                " ".join(map(str, line)) if isinstance(line, list) else str(line)
                for line in (spoilt if isinstance(spoilt, list) else [spoilt])
            )
            (tmp_path / "a.txt").write_text("\n".join(lines))
        elif isinstance(spoilt, list):
            tags = [
                " ".join(
                    f'{key}="{html.escape(str(value))}"' for key, value in one.items() if value is not None
                )
                for one in spoilt
                if isinstance(one, dict)
            ]
            inside = "".join(
                f"<{tag} {told}/>" for tag, told in zip(("box", "mask", "polygon"), tags[1:], strict=False)
            )
            cvat(tmp_path / "x.xml", inside, tags[0] if tags else "")
        try:
            folder = open_annotated(tmp_path, format=kind)
            for one in folder.pairs.pictures:
                assert all(mask.shape == (H, W) for mask in folder.masks(one).values())
        except InputError as error:
            assert str(tmp_path) in str(error) and len(str(error).splitlines()) == 1
            failed += 1
    assert 30 < failed < 300


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_upright_picture_counts(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(tmp_path / "a.png", (W, H) if orientation == 6 else (H, W), exif=exif)
    coco(tmp_path / "x.json", [part([[0, 0, 9, 0, 9, 9]])])
    assert only(open_annotated(tmp_path))["cat"].shape == (H, W)
    coco(tmp_path / "x.json", [part([[0, 0, 9, 0, 9, 9]])], [IMAGE | {"height": W, "width": H}])
    with pytest.raises(InputError, match=r"30 x 40 pixels, but its picture a\.png is 40 x 30 once upright"):
        only(open_annotated(tmp_path))
