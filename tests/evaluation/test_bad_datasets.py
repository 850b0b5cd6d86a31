"""Whatever may be wrong with a data set is told in one line that names the file, before a run begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import benchmark_files as files
from freeda.errors import InputError
from freeda.evaluation.dataset import check_dataset, open_dataset

NEEDED = {
    "voc20": ["JPEGImages", "SegmentationClass", "ImageSets/Segmentation/val.txt"],
    "context60": ["JPEGImages", "SegmentationClassContext", "ImageSets/SegmentationContext/val.txt"],
    "stuff171": ["images/val2017", "annotations/val2017", "_labelTrainIds.png"],
    "object": ["images/val2017", "annotations/val2017", "_instanceTrainIds.png"],
    "cityscapes19": ["leftImg8bit/val", "gtFine/val", "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"],
    "ade150": ["images/validation", "annotations/validation"],
    "folder": ["images", "masks", "names.json"],
}


def refused(name: str, root: Path, **more: str) -> str:
    """What is said of a data set, when it is opened or checked."""
    with pytest.raises(InputError) as told:
        check_dataset(open_dataset(name, root, **more))
    message = str(told.value)
    assert "\n" not in message and len(message) <= 600
    return message


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_expected_is_listed(name: str, tmp_path: Path) -> None:
    message = refused(name, tmp_path / "none")
    assert message.startswith(f"{tmp_path / 'none'}: there is no such folder")
    assert all(part in message for part in NEEDED[name])
    if name != "folder":
        message = refused(name, tmp_path)
        assert message.startswith(f"{tmp_path}: has no ") and all(part in message for part in NEEDED[name])


def test_only_what_is_missing_is_called_missing(tmp_path: Path) -> None:
    root = files.voc(tmp_path / "VOCdevkit" / "VOC2012", [1])
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()
    message = refused("voc20", tmp_path)
    assert message.startswith(f"{root}: has no ImageSets/Segmentation/val.txt: ")


@pytest.mark.parametrize("name", ["voc21", "stuff171", "folder"])
def test_missing_mask(name: str, tmp_path: Path) -> None:
    root = {"voc21": files.voc, "stuff171": files.coco, "folder": files.folder}[name](tmp_path, [1])
    dataset = open_dataset(name, root)
    image = dataset.sample(1).image
    dataset.sample(1).mask.unlink()
    assert refused(name, root).startswith(f"{image}: has no mask")
    dataset.sample(0).mask.unlink()  # and all of them
    assert "mask" in refused(name, root)


@pytest.mark.parametrize("name", ["voc21", "stuff171", "folder"])
def test_missing_image(name: str, tmp_path: Path) -> None:
    root = {"voc21": files.voc, "stuff171": files.coco, "folder": files.folder}[name](tmp_path, [1])
    open_dataset(name, root).sample(1).image.unlink()
    message = refused(name, root)
    assert "b_2" in message and ("no such image" in message or "has no image" in message)


def test_many_at_once_are_counted(tmp_path: Path) -> None:
    root = files.coco(tmp_path, [1])
    for i in range(8):
        files.write_image(root / "images" / "val2017" / f"c_{i}.jpg")
    assert refused("stuff171", root).endswith("(and 7 more such problems)")
    root = files.ade(tmp_path / "ade", [200])
    assert refused("ade150", root).endswith(".png: holds 200, expected 0 to 150 (and 1 more such problems)")


@pytest.mark.parametrize("cut", [0, 5, 60])
def test_corrupt_mask(cut: int, tmp_path: Path) -> None:
    """Nothing in it, no image, and one that breaks off: found although its header is whole."""
    root = files.voc(tmp_path, [1])
    mask = root / "SegmentationClass" / "b_2.png"
    rng = np.random.default_rng(0)
    files.write_mask(mask, rng.integers(0, 21, files.SIZE))
    mask.write_bytes(mask.read_bytes()[:cut])
    assert refused("voc20", root).startswith(f"{mask}: this mask cannot be read (")


@pytest.mark.parametrize("what", ["nothing", "other", "flat", "float"])
def test_corrupt_mat(what: str, tmp_path: Path) -> None:
    from scipy.io import savemat

    root = files.context(tmp_path, [2], own=True)
    mask = root / "trainval" / "a_1.mat"
    held = {"other": {"Labels": np.ones(files.SIZE)}, "flat": {"LabelMap": np.ones((2, 3, 4), np.uint8)}}
    held["float"] = {"LabelMap": np.full(files.SIZE, 1.5)}
    if what == "nothing":
        mask.write_bytes(b"")
    else:
        savemat(mask, held[what])
    message = refused("context59", root)
    assert message.startswith(f"{mask}: ") and ("cannot be read" in message or "no array LabelMap" in message)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("voc20", 21, "holds 21, expected 0 to 20, or 255 for outlines"),
        ("ade150", 151, "holds 151, expected 0 to 150"),
        ("stuff171", 11, "holds 11, expected one of COCO-Stuff's 171 ids"),
        ("folder", 7, "holds value 7, expected a value that names.json names"),
    ],
)
def test_unknown_value(name: str, value: int, said: str, tmp_path: Path) -> None:
    makers = {"voc20": files.voc, "ade150": files.ade, "stuff171": files.coco, "folder": files.folder}
    root = makers[name](tmp_path, [1])
    mask = open_dataset(name, root).sample(1).mask
    files.write_mask(mask, files.spread([1, value]))
    assert refused(name, root).startswith(f"{mask}: {said}")


def test_unknown_colour(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [0], '{"#ff0000": "cat"}')
    mask = files.write_mask(root / "masks" / "b_2.png", np.full((*files.SIZE, 3), (255, 0, 1)))
    assert refused("folder", root).startswith(f"{mask}: holds the colour #ff0001, expected a colour that ")


def test_colours_where_values_are_needed(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [1])
    mask = files.write_mask(root / "masks" / "b_2.png", np.full((*files.SIZE, 3), (255, 0, 1)))
    assert refused("folder", root).startswith(f"{mask}: its colours are no class values (RGB)")


@pytest.mark.parametrize("name", ["voc20", "folder"])
def test_mask_of_another_size(name: str, tmp_path: Path) -> None:
    root = {"voc20": files.voc, "folder": files.folder}[name](tmp_path, [1])
    mask = open_dataset(name, root).sample(0).mask
    files.write_mask(mask, np.ones((5, 9)))
    assert refused(name, root) == f"{mask}: is 9 x 5 pixels, but its image a_1.jpg is 9 x 6"


def test_image_that_is_none(tmp_path: Path) -> None:
    root = files.voc(tmp_path, [1])
    image = root / "JPEGImages" / "a_1.jpg"
    image.write_bytes(b"")
    assert refused("voc20", root) == f"{image}: the file is empty (0 bytes), expected an image"


@pytest.mark.parametrize("name", ["voc20", "folder"])
def test_image_that_breaks_off(name: str, tmp_path: Path) -> None:
    """Its header is whole, so that only decoding tells."""
    root = {"voc20": files.voc, "folder": files.folder}[name](tmp_path, [1])
    image = open_dataset(name, root).sample(1).image
    noise = np.random.default_rng(0).integers(0, 256, (*files.SIZE, 3), dtype=np.uint8)
    Image.fromarray(noise).save(image, quality=95)
    image.write_bytes(image.read_bytes()[:-60])
    with Image.open(image) as header:
        assert header.size == files.SIZE[::-1]
    assert refused(name, root).startswith(f"{image}: this image is truncated or damaged (")


def test_masks_in_a_lossy_format(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [1])
    (root / "masks" / "b_2.png").rename(root / "masks" / "b_2.jpg")
    lost = f"{root / 'masks' / 'b_2.png'} (b_2.jpg lies there: masks are PNGs"
    assert refused("folder", root).startswith(f"{root / 'images' / 'b_2.jpg'}: has no mask {lost}")
    (root / "masks" / "a_1.png").rename(root / "masks" / "a_1.jpg")
    assert "no image has a mask, masks/NAME.png for images/NAME.jpg: " in refused("folder", root)


@pytest.mark.parametrize("name", ["voc20", "ade150", "folder"])
def test_a_file_is_no_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK")
    message = refused(name, tmp_path / "data.zip")
    assert message.startswith(f"{tmp_path / 'data.zip'}: this is a file, not a folder; ")


def test_empty_split(tmp_path: Path) -> None:
    root = files.voc(tmp_path / "voc", [1])
    listed = files.write_list(root / "ImageSets" / "Segmentation" / "val.txt", ())
    assert refused("voc20", root) == f"{listed}: this list of images is empty: one name a line is needed"
    for name, maker in (("ade150", files.ade), ("stuff171", files.coco), ("cityscapes19", files.cityscapes)):
        root = maker(tmp_path / name, [7])
        for path in [p for p in root.rglob("*") if p.is_file()]:
            path.unlink()
        assert "no images" in refused(name, root)


def test_split_that_lists_an_image_twice(tmp_path: Path) -> None:
    root = files.voc(tmp_path, [1])
    listed = files.write_list(root / "ImageSets" / "Segmentation" / "val.txt", ("a_1", "b_2", "a_1"))
    assert refused("voc20", root) == f"{listed}: lists a_1 twice: every image counts once"


def test_split_that_is_no_text(tmp_path: Path) -> None:
    root = files.voc(tmp_path, [1])
    (root / "ImageSets" / "Segmentation" / "val.txt").write_bytes(b"\xff\xfe\x00\x01")
    assert "val.txt: this list of images cannot be read" in refused("voc20", root)


@pytest.mark.parametrize("name", ["voc20", "ade150", "folder"])
def test_two_files_for_one_image(name: str, tmp_path: Path) -> None:
    root = {"voc20": files.voc, "ade150": files.ade, "folder": files.folder}[name](tmp_path, [1])
    image = open_dataset(name, root).sample(1).image
    files.write_image(image.with_suffix(".png"))
    message = refused(name, root)
    assert str(image.with_suffix(".png")) in message or str(image) in message
    assert "two files for one image" in message or "has the same name" in message


def test_two_masks_for_one_image(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [1])
    second = files.write_mask(root / "masks" / "a_1_mask.png", files.spread([1]))
    message = refused("folder", root)
    assert message.startswith(f"{second}: there is {root / 'masks' / 'a_1.png'} too, two masks for a_1.jpg")


def test_two_masks_that_differ_in_case(tmp_path: Path) -> None:
    mask = open_dataset("ade150", files.ade(tmp_path, [1])).sample(1).mask
    files.write_mask(mask.with_suffix(".PNG"), files.spread([2]))
    if len(list(mask.parent.iterdir())) == 2:
        pytest.skip("one file here, whatever the case")
    assert refused("ade150", tmp_path).endswith(
        f"{mask}: there is {mask.with_suffix('.PNG').name} too, two files for one image: remove one"
    )


def test_masks_of_single_classes(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [1])
    for name in files.NAMES:
        (root / "masks" / f"{name}.png").unlink()
        files.write_mask(root / "masks" / "cat" / f"{name}.png", files.spread([1]))
    assert "a label map of all classes is needed" in refused("folder", root)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("{", "names.json: damaged JSON"),
        ("{}", "names.json: names no class"),
        ('{"0": "background"}', "names.json: names no class besides background"),
        ('{"#ff0000": "cat", "#FF0000": "dog"}', "'#FF0000': the colour #ff0000 has a name already, 'cat'"),
        ('{"#ff0000": "cat", "2": "dog"}', "entry '2': a colour and a class are needed"),
        ('{"cat": [255, 0, 256]}', "entry 'cat': a colour and a class are needed"),
        ('{"#ff0000": " "}', "names.json: entry '#ff0000': a class name is blank"),
        ("[" + ", ".join(f'"c{i}"' for i in range(255)) + "]", "names 255 classes: at most 254 labels"),
        ("7", "names.json: not a names file"),
    ],
)
def test_bad_names_file(names: str, said: str, tmp_path: Path) -> None:
    assert said in refused("folder", files.folder(tmp_path, [1], names))


@pytest.mark.parametrize("names", ['{"1": "cat"}', '{"0": "background", "1": "cat"}'])
def test_masks_without_a_class(tmp_path: Path, names: str) -> None:
    """Black and white masks of an outline, whose 255 has no name; one class in one of them is enough."""
    root = files.folder(tmp_path, [0, 255], names)
    message = refused("folder", root)
    assert message.startswith(f"{root / 'masks' / 'a_1.png'}: holds value 0, value 255, of no class")
    assert message.endswith("1 = cat)")
    dataset = open_dataset("folder", root)
    check_dataset(dataset, indices=[0], whole=False)
    files.write_mask(root / "masks" / "b_2.png", files.spread([255, 1]))
    check_dataset(dataset)


def test_no_names_file(tmp_path: Path) -> None:
    root = files.folder(tmp_path, [1])
    (root / "names.json").unlink()
    assert refused("folder", root).startswith(f"{root}: has no names file that says which class")


def test_the_miniature_has_no_files(tmp_path: Path) -> None:
    assert "no data set of files" in refused("miniature", tmp_path)


def test_a_palette_hides_no_values(tmp_path: Path) -> None:
    """Palette indices count, not what the palette makes of them."""
    root = files.voc(tmp_path, [1, 2])
    with Image.open(root / "SegmentationClass" / "a_1.png") as mask:
        assert mask.mode == "P"
    assert open_dataset("voc20", root).read_truth(0)[0, :2].tolist() == [0, 1]
