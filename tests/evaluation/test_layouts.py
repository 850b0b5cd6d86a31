"""Values in the benchmarks' masks become labels exactly, checked value by value against plain definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation import benchmark_files as files
from freeda.errors import InputError
from freeda.evaluation.dataset import IGNORE, FileDataSet, open_dataset
from freeda.evaluation.layouts.files import Remap

# COCO's category ids 1 to 182 that were never annotated (Caesar et al. 2018, the labels page of COCO-Stuff).
REMOVED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
# Cityscapes: label id -> class, as its labels are published; all other ids are "ignoreInEval".
CITY = {7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
        20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car",
        27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"}  # fmt: skip
# Pascal Context: some of the ids of its own 459 classes.
CONTEXT = {2: "aeroplane", 9: "bag", 18: "bed", 19: "bedclothes", 22: "bench", 23: "bicycle", 25: "bird",
           31: "boat", 284: "person", 397: "table", 458: "wood"}  # fmt: skip


def label_voc(value: int, background: bool) -> int:
    if value == 255:
        return IGNORE
    if value == 0:
        return 20 if background else IGNORE
    return value - 1


def label_stuff(value: int) -> int:
    """Counting the annotated categories before it."""
    if value == 255:
        return IGNORE
    return sum(1 for category in range(1, value + 1) if category not in REMOVED)


def label_object(value: int) -> int:
    return IGNORE if value == 255 else min(label_stuff(value), 80)


STUFF = [category - 1 for category in range(1, 183) if category not in REMOVED] + [255]

CASES: list[tuple[str, Callable[[Path, list[int]], Path], list[int], Callable[[int], int]]] = [
    ("voc20", files.voc, [*range(21), 255], lambda v: label_voc(v, False)),
    ("voc21", files.voc, [*range(21), 255], lambda v: label_voc(v, True)),
    ("context59", files.context, [*range(60), 255], lambda v: v - 1 if 0 < v < 255 else IGNORE),
    ("context60", files.context, [*range(60), 255], lambda v: IGNORE if v == 255 else v - 1 if v else 59),
    ("stuff171", files.coco, STUFF, label_stuff),
    ("stuff171", lambda r, v: files.coco(r, v, "_labelTrainIds.png"), [*range(171), 255], lambda v: v),
    ("object", files.coco, STUFF, label_object),
    ("object", lambda r, v: files.coco(r, v, "_labelTrainIds.png"), [*range(171), 255],
     lambda v: IGNORE if v == 255 else min(v, 80)),
    ("object", lambda r, v: files.coco(r, v, "_instanceTrainIds.png"), [*range(81), 255],
     lambda v: IGNORE if v == 255 else v - 1 if v else 80),
    ("cityscapes19", files.cityscapes, [*range(34), 255],
     lambda v: list(CITY).index(v) if v in CITY else IGNORE),
    ("cityscapes19", lambda r, v: files.cityscapes(r, v, "_gtFine_labelTrainIds.png"), [*range(19), 255],
     lambda v: v),
    ("ade150", files.ade, [*range(151), 255], lambda v: v - 1 if 0 < v < 255 else IGNORE),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda i: f"{CASES[i][0]}-{i}")
def test_every_value(case: int, tmp_path: Path) -> None:
    """Each value that a mask may hold, in as many small masks as it takes; any other value is refused."""
    name, make, values, label = CASES[case]
    size = files.SIZE[0] * files.SIZE[1]
    good = set()
    for start in range(0, len(values), size):
        some = values[start : start + size]
        dataset = open_dataset(name, make(tmp_path / str(start), some))
        assert len(dataset) == 2
        for i in range(2):
            truth = dataset.read_truth(i)
            assert truth.dtype == np.uint8 and truth.shape == files.SIZE
            for at, value in enumerate(files.spread(some).flat):
                assert truth.flat[at] == label(int(value)), f"value {value}"
            good |= set(truth.flat)
    labels = len(dataset.classes) + dataset.background
    assert good - {IGNORE} == set(range(labels))  # every label is reached
    for other in sorted(set(range(256)) - set(values)):
        if other == 255:  # nothing, wherever a file holds it
            continue
        files.write_mask(dataset.sample(1).mask, files.spread([values[0], other]))
        with pytest.raises(InputError, match=rf"{dataset.sample(1).mask.name}: holds {other}, expected"):
            dataset.read_truth(1)


def test_context_from_its_own_files(tmp_path: Path) -> None:
    """All 459 values: 59 of them, in rising order, are the classes, whose names rise by the alphabet too."""
    for name, zero in (("context59", IGNORE), ("context60", 59)):
        labels: dict[int, int] = {}
        for start in range(0, 460, 50):
            some = list(range(start, min(start + 50, 460)))
            dataset = open_dataset(name, files.context(tmp_path / name / str(start), some, own=True))
            assert dataset.sample(0).mask.suffix == ".mat"
            flat = zip(files.spread(some).flat, dataset.read_truth(0).flat, strict=True)
            labels |= {int(v): int(t) for v, t in flat}
        assert len(labels) == 460
        known = {v: t for v, t in labels.items() if t < 59}
        assert list(known.values()) == list(range(59))
        assert {t for t in labels.values() if t >= 59} == {zero}
        assert {v: dataset.classes[labels[v]] for v in CONTEXT} == CONTEXT


def test_cityscapes_names(tmp_path: Path) -> None:
    dataset = open_dataset("cityscapes19", files.cityscapes(tmp_path, list(CITY)))
    truth = dataset.read_truth(0)
    for value, label in zip(files.spread(list(CITY)).flat, truth.flat, strict=True):
        assert dataset.classes[label] == CITY[int(value)]


def test_order_and_names(tmp_path: Path) -> None:
    """A list's order is kept, where there is one; samples are otherwise sorted; cities are part of a name."""
    root = files.voc(tmp_path / "voc", [0, 1])
    files.write_list(root / "ImageSets" / "Segmentation" / "val.txt", ("b_2", "a_1"))
    assert _names(open_dataset("voc", root)) == ["b_2", "a_1"]
    assert _names(open_dataset("stuff", files.coco(tmp_path / "coco", [0]))) == ["a_1", "b_2"]
    assert _names(open_dataset("city", files.cityscapes(tmp_path / "city", [7]))) == ["a/a_1", "b/b_2"]


@pytest.mark.parametrize(
    ("name", "make", "place"),
    [("voc20", files.voc, "VOC2012"), ("voc21", files.voc, "VOCdevkit/VOC2012"),
     ("context60", files.context, "VOCdevkit/VOC2010"), ("ade150", files.ade, "ade/ADEChallengeData2016"),
     ("stuff171", files.coco, "coco_stuff164k"), ("cityscapes19", files.cityscapes, "cityscapes")],
)  # fmt: skip
def test_the_folder_above(name: str, make: Callable[..., Path], place: str, tmp_path: Path) -> None:
    """--data may be the folder that holds all data sets, as mmsegmentation's data/ does."""
    make(tmp_path / place, [1])
    assert open_dataset(name, tmp_path).digest() == open_dataset(name, tmp_path / place).digest()


def test_other_splits(tmp_path: Path) -> None:
    root = files.voc(tmp_path, [0, 1])
    files.write_list(root / "ImageSets" / "Segmentation" / "mine.txt", ("b_2",))
    assert _names(open_dataset("voc20", root, split="mine")) == ["b_2"]
    with pytest.raises(InputError, match=r"has no ImageSets/Segmentation/train.txt"):
        open_dataset("voc20", root, split="train")
    with pytest.raises(InputError, match=r"split is '\.\./val'"):
        open_dataset("voc20", root, split="../val")


def test_the_whole_form_of_masks_is_taken(tmp_path: Path) -> None:
    """A conversion that stopped half-way leaves the own masks, which are whole, in use."""
    root = files.coco(tmp_path, [89])
    files.write_mask(root / "annotations" / "val2017" / "a_1_labelTrainIds.png", files.spread([79]))
    dataset = open_dataset("stuff171", root)
    assert [dataset.sample(i).mask.name for i in range(2)] == ["a_1.png", "b_2.png"]
    assert dataset.classes[dataset.read_truth(0)[0, 0]] == "toothbrush"
    files.write_mask(root / "annotations" / "val2017" / "b_2_labelTrainIds.png", files.spread([79]))
    dataset = open_dataset("stuff171", root)
    assert dataset.sample(0).mask.name == "a_1_labelTrainIds.png"
    assert dataset.classes[dataset.read_truth(0)[0, 0]] == "toothbrush"


def test_a_mask_without_an_image_is_told_in_the_form_that_is_taken(tmp_path: Path) -> None:
    """Masks of other forms may lie there; one of the taken form that has no image is a mistake."""
    root = files.coco(tmp_path, [7], "_labelTrainIds.png")
    loose = root / "annotations" / "val2017" / "c_3_instanceTrainIds.png"
    files.write_mask(loose, files.spread([7]))
    assert len(open_dataset("stuff171", root)) == 2
    files.write_mask(loose.with_name("c_3_labelTrainIds.png"), files.spread([7]))
    with pytest.raises(InputError, match=r"c_3_labelTrainIds\.png: has no image"):
        open_dataset("stuff171", root)


def test_context_prefers_its_own_list(tmp_path: Path) -> None:
    root = files.context(tmp_path, [1])
    files.write_list(root / "ImageSets" / "Main" / "val.txt", ("a_1",))
    assert _names(open_dataset("context59", root)) == ["a_1", "b_2"]
    files.write_list(root / "ImageSets" / "SegmentationContext" / "val.txt", ("b_2",))
    assert _names(open_dataset("context59", root)) == ["b_2"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [5, 300, 1 << 24])
def test_remap_against_a_plain_loop(seed: int, most: int) -> None:
    """Tables for small values, a search for colours: each pixel as the mapping says."""
    rng = np.random.default_rng(seed)
    keys = rng.choice(most, size=min(most, 40), replace=False).tolist()
    labels = {key: int(rng.integers(0, 256)) for key in keys}
    values = rng.choice(keys, size=(int(rng.integers(1, 30)), int(rng.integers(1, 30))))
    got = Remap(labels, "what is there")(values, Path("m.png"))
    assert got.dtype == np.uint8
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            assert got[y, x] == labels[int(values[y, x])]
    for bad in (-1, most, *(v for v in range(min(most, 300)) if v not in labels)):
        values[-1, -1] = bad
        with pytest.raises(InputError, match=rf"m.png: holds {bad}, expected what is there"):
            Remap(labels, "what is there")(values, Path("m.png"))


def _names(dataset: FileDataSet) -> list[str]:
    return [dataset.sample_name(i) for i in range(len(dataset))]


def test_a_data_set_of_links_is_whole(tmp_path: Path) -> None:
    """Cities as links to folders elsewhere, files as links into a store: every image counts."""
    root = files.cityscapes(tmp_path / "real", [7, 8, 11])
    linked = tmp_path / "linked"
    for top in ("leftImg8bit", "gtFine"):
        for split in (root / top).iterdir():
            (linked / top / split.name).mkdir(parents=True)
            for city in split.iterdir():
                (linked / top / split.name / city.name).symlink_to(city, target_is_directory=True)
    there, here = (open_dataset("cityscapes19", place) for place in (root, linked))
    assert len(there) == len(here) > 0
    assert [here.sample(i).name for i in range(len(here))] == [
        there.sample(i).name for i in range(len(there))
    ]
