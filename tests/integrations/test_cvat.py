"""The auto-annotation function of CVAT, by stand-ins of its documented classes and by its own, if there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

import freeda
from freeda.bank.taught import Taught
from freeda.errors import InputError

SCENE = Path(__file__).resolve().parents[2] / "docs" / "scene.png"
WORDS = "sunset, water=sea, house, tree"


def encode_mask(bitmap: np.ndarray) -> list[int]:
    """CVAT's mask: in the smallest box around it, row by row, how long it is out and in by turns; then the
    box's left, top, right and bottom pixel."""
    rows, columns = np.nonzero(bitmap)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max(), rows.max()
    lengths, value = [0], False
    for pixel in bitmap[y0 : y1 + 1, x0 : x1 + 1].ravel().tolist():
        if pixel is not value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return [*lengths, int(x0), int(y0), int(x1), int(y1)]


def read_mask(points: list[float], size: tuple[int, int]) -> np.ndarray:
    """The bitmap of such a mask."""
    *lengths, x0, y0, x1, y1 = map(int, points)
    pixels = [value % 2 == 1 for value, length in enumerate(lengths) for _ in range(length)]
    out = np.zeros(size, bool)
    out[y0 : y1 + 1, x0 : x1 + 1] = np.array(pixels).reshape(y1 - y0 + 1, x1 - x0 + 1)
    return out


def stand_in() -> dict[str, ModuleType]:
    """As much of cvat_sdk as its documentation tells of: factories of things that have what was given."""
    package, protocol, masks = map(ModuleType, ("cvat_sdk", "cvat_sdk.auto_annotation", "cvat_sdk.masks"))

    def made(**fixed: Any) -> Any:
        return lambda label_id, points: SimpleNamespace(label_id=label_id, points=points, frame=0, **fixed)

    vars(protocol).update(
        DetectionFunctionSpec=SimpleNamespace,
        label_spec=lambda name, id, type="any": SimpleNamespace(name=name, id=id, type=type),
        mask=made(type="mask"),
        polygon=made(type="polygon"),
    )
    vars(masks).update(encode_mask=encode_mask)
    vars(package).update(auto_annotation=protocol, masks=masks)
    return {module.__name__: module for module in (package, protocol, masks)}


@pytest.fixture(params=["stand-in", "cvat_sdk"])
def cvat(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, imported with one or the other."""
    if request.param == "cvat_sdk":
        pytest.importorskip("cvat_sdk.auto_annotation", reason="cvat-sdk is not installed")
    else:
        for name, module in stand_in().items():
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "cvat", raising=False)
    yield importlib.import_module("cvat")
    sys.modules.pop("cvat")


def context(polygons: bool) -> Any:
    return SimpleNamespace(frame_name="scene.png", conf_threshold=None, conv_mask_to_poly=polygons)


def test_masks_and_polygons_are_the_models(cvat: Any) -> None:
    function = cvat.create(WORDS)
    assert [(one.name, one.id, one.type) for one in function.spec.labels] == [
        *(("sunset", 0, "mask"), ("water", 1, "mask"), ("house", 2, "mask"), ("tree", 3, "mask"))
    ]
    wanted = freeda.load("miniature").segment(SCENE, WORDS)
    with Image.open(SCENE) as image:
        masks = function.detect(context(False), image)
        rings = cvat.create(WORDS, tolerance=0.0).detect(context(True), image)
    assert [one.label_id for one in masks] == [0, 1, 2, 3]
    for one in masks:
        assert str(one.type) == "mask" and one.frame == 0 and not hasattr(one, "source")
        np.testing.assert_array_equal(read_mask(one.points, wanted.size), wanted.labels == one.label_id)
    filled = np.full(wanted.size, -1)
    for one in rings:
        assert str(one.type) == "polygon" and len(one.points) % 2 == 0
        corners = (
            np.array(one.points).reshape(-1, 2)[:, ::-1] - 0.5
        )  # pixels' centres are whole for this reader
        filled[polygon2mask(wanted.size, corners)] = one.label_id
    np.testing.assert_array_equal(filled, wanted.labels)


def test_the_rest_and_simpler_polygons(cvat: Any) -> None:
    with Image.open(SCENE) as image:
        (mask,) = cvat.create("water", others="everything else").detect(context(False), image)
        few, many = (cvat.create(WORDS, tolerance=t).detect(context(True), image) for t in (2.0, 0.0))
    wanted = freeda.load("miniature").segment(SCENE, ["water"], others="everything else")
    np.testing.assert_array_equal(read_mask(mask.points, wanted.size), wanted.mask("water"))
    assert sum(len(one.points) for one in few) < sum(len(one.points) for one in many) / 2


def test_classes_not_found_are_left_out(cvat: Any) -> None:
    plain = Image.fromarray(np.full((40, 60, 3), 90, np.uint8))
    (one,) = cvat.create(WORDS).detect(context(False), plain)
    assert read_mask(one.points, (40, 60)).all()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"classes": " "}, "empty"), ({"model": "vit-x"}, "vit-x"), ({"taught": "no.jsonl"}, "no.jsonl")],
)
def test_wrong_parameters_are_one_line(cvat: Any, wrong: dict[str, str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        cvat.create(**{"classes": WORDS, **wrong})


def test_lessons_are_taken_along(cvat: Any, tmp_path: Path) -> None:
    file, model = tmp_path / "taught.jsonl", freeda.load("miniature")
    result = model.segment(SCENE, WORDS)
    region = result.regions == result.regions[100, 256]
    model.with_taught(Taught(file)).teach(SCENE, region, "tree")
    with Image.open(SCENE) as image:
        found = cvat.create(WORDS, taught=str(file)).detect(context(False), image)
    tree = next(read_mask(one.points, result.size) for one in found if one.label_id == 3)
    assert tree[region].mean() > 0.9 and not result.mask("tree")[region].any()
