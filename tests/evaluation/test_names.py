"""The lists of class names: how many, in which order, and nothing that is no plain name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from freeda.errors import InputError
from freeda.evaluation.table import DATASETS, NAMES, canonical
from freeda.options import SegmentOptions, Superpixels
from freeda.segment.vocabulary import parse_names

COCO = Path(os.environ.get("FREEDA_DATA", Path(__file__).parents[3] / "shared" / "data")) / "coco-sample"

COUNTS = {"voc20": 20, "voc21": 20, "context59": 59, "context60": 59, "stuff171": 171, "object": 80}
COUNTS |= {"cityscapes19": 19, "ade150": 150}

# Label -> name, as the benchmarks' own pages number them.
SPOTS = {
    "voc20": {0: "aeroplane", 4: "bottle", 10: "diningtable", 14: "person", 19: "tvmonitor"},
    "context59": {0: "aeroplane", 1: "bag", 29: "ground", 36: "person", 52: "tree", 58: "wood"},
    "stuff171": {0: "person", 9: "traffic light", 56: "chair", 79: "toothbrush", 80: "banner",
                 84: "building-other", 170: "wood"},
    "object": {0: "person", 24: "backpack", 62: "tv", 79: "toothbrush"},
    "cityscapes19": {0: "road", 2: "building", 5: "pole", 10: "sky", 12: "rider", 18: "bicycle"},
    "ade150": {0: "wall", 1: "building", 2: "sky", 3: "floor", 4: "tree", 7: "bed", 12: "person", 20: "car",
               126: "animal", 133: "hood", 149: "flag"},
}  # fmt: skip


def test_every_benchmark_is_there() -> None:
    assert set(DATASETS) == set(COUNTS)


@pytest.mark.parametrize("name", DATASETS)
def test_numbers_of_classes(name: str) -> None:
    known = DATASETS[name]
    assert len(known.classes) == COUNTS[name]
    digits = "".join(c for c in name if c.isdigit())
    assert not digits or len(known.classes) + known.background == int(digits)


@pytest.mark.parametrize("name", DATASETS)
def test_names_are_plain_and_distinct(name: str) -> None:
    classes = DATASETS[name].classes
    assert list(parse_names(classes)) == list(classes)  # tidy as they are, and none twice
    assert "background" not in classes


@pytest.mark.parametrize("name", SPOTS)
def test_spot_entries(name: str) -> None:
    classes = DATASETS[name].classes
    assert {i: classes[i] for i in SPOTS[name]} == SPOTS[name]


def test_alphabetical_lists() -> None:
    """Pascal Context's classes and COCO's stuff are in the alphabet's order: a wrong entry would show."""
    for file in ("context", "coco-stuff"):
        lines = (NAMES / f"{file}.txt").read_text().splitlines()
        assert lines == sorted(lines)


def test_lists_share_what_is_the_same() -> None:
    assert DATASETS["voc20"].classes == DATASETS["voc21"].classes
    assert set(DATASETS["voc20"].classes) - set(DATASETS["context59"].classes) == {"diningtable"}
    assert DATASETS["object"].classes == DATASETS["stuff171"].classes[:80]


@pytest.mark.skipif(not (COCO / "names.json").is_file(), reason=f"no {COCO}/names.json (set FREEDA_DATA)")
def test_coco_names_against_a_file_of_coco() -> None:
    """The panoptic names of COCO's own ids, merged classes aside, through the ids that COCO-Stuff uses."""
    from freeda.evaluation.layouts.benchmarks import STUFF_VALUES

    seen = 0
    classes = DATASETS["stuff171"].classes
    for key, name in json.loads((COCO / "names.json").read_text()).items():
        if int(key) <= 182 and not name.endswith("-merged"):
            assert classes[STUFF_VALUES.index(int(key) - 1)] == name
            seen += 1
    assert seen > 100


@pytest.mark.parametrize(
    ("given", "name"),
    [("voc20", "voc20"), ("VOC", "voc20"), ("stuff", "stuff171"), ("coco_stuff", "stuff171"),
     (" ADE20K ", "ade150"),
     ("COCO-Object", "object"), ("coco object", "object"), ("city", "cityscapes19"), ("context", "context59"),
     ("folder", "folder"), ("miniature", "miniature")],
)  # fmt: skip
def test_aliases(given: str, name: str) -> None:
    assert canonical(given) == name


def test_aliases_are_unambiguous() -> None:
    words = [*DATASETS, *(alias for known in DATASETS.values() for alias in known.aliases)]
    assert len(words) == len(set(words))


def test_unknown_data_set_lists_those_that_are_known() -> None:
    with pytest.raises(InputError, match=r"'kitti' is no data set that is known: voc20, .*miniature"):
        canonical("kitti")


def test_superpixels_of_the_protocol() -> None:
    """Scale, sigma and min_size of the paper's table; the defaults of everything else."""
    table = {"voc20": (100, 0.7, 20), "context59": (100, 1.0, 20), "stuff171": (100, 1.0, 100)}
    table |= {"cityscapes19": (20, 0.5, 50), "ade150": (100, 1.0, 20)}
    table |= {"voc21": table["voc20"], "context60": table["context59"], "object": table["stuff171"]}
    for name, (scale, sigma, min_size) in table.items():
        changes = DATASETS[name].changes
        assert changes["superpixels"] == Superpixels(scale=scale, sigma=sigma, min_size=min_size)
        assert changes["superpixels"].algorithm == "felzenszwalb"
        assert ("background" in changes) == DATASETS[name].background
        SegmentOptions().with_changes(**changes)  # known fields with good values


def test_the_documentation_lists_them() -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text("utf-8")
    for name, known in DATASETS.items():
        labels = f"{len(known.classes)} + background" if known.background else str(len(known.classes))
        cut = known.superpixels
        parameters = f"{cut.scale:g}, {cut.sigma:g}, {cut.min_size}"
        aliases = ", ".join(f"`{alias}`" for alias in known.aliases)
        cells = [f"`{name}`", known.title, labels, f"{known.images:,}", parameters, aliases]
        assert "| " + " | ".join(cells).rstrip() + " |" in text
