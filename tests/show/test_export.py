"""Results on disk: three files, all whole or none."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.errors import InputError
from freeda.show import (
    Row,
    Section,
    Tile,
    area_shares,
    lay_page,
    palette,
    to_hex,
    write_image,
    write_page,
    write_result,
)

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
LABELS = np.zeros((30, 40), np.int32)
LABELS[:, 30:] = 2


def test_three_files(tmp_path: Path) -> None:
    paths = write_result(
        IMAGE, LABELS, ["sky", "cat", "sea"], None, tmp_path / "out", "photo", "photo.jpg", {"k": 3}
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "photo.json",
        "photo.labels.png",
        "photo.overlay.jpg",
    ]
    assert set(paths) == {"labels", "overlay", "json"}
    plane = Image.open(paths["labels"])
    assert plane.mode == "P"
    np.testing.assert_array_equal(np.asarray(plane), LABELS)
    assert Image.open(paths["overlay"]).mode == "RGB"
    record = json.loads(paths["json"].read_text("utf-8"))
    assert (record["image"], record["width"], record["height"]) == ("photo.jpg", 40, 30)
    assert record["options"] == {"k": 3} and record["labels"] == "photo.labels.png"
    assert [c["name"] for c in record["classes"]] == ["sky", "cat", "sea"]
    assert [c["pixels"] for c in record["classes"]] == [900, 0, 300]
    assert [c["share"] for c in record["classes"]] == [0.75, 0.0, 0.25]
    assert [c["colour"] for c in record["classes"]] == [to_hex(c) for c in palette(3)]


def test_scores_are_averaged_over_a_class_s_own_pixels(tmp_path: Path) -> None:
    scores = RNG.random((3, 30, 40))
    paths = write_result(IMAGE, LABELS, ["sky", "cat", "sea"], scores, tmp_path, "p")
    got = [c["score"] for c in json.loads(paths["json"].read_text())["classes"]]
    assert got[1] is None
    np.testing.assert_allclose([got[0], got[2]], [scores[0, :, :30].mean(), scores[2, :, 30:].mean()])
    with pytest.raises(InputError, match="scores have shape"):
        write_result(IMAGE, LABELS, ["sky"], scores, tmp_path, "q")


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_no_space_at_any_of_the_three_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    calls = iter(range(1, 10))
    real = os.fsync

    def flush(handle: Any) -> None:
        if next(calls) == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", flush)
    with pytest.raises(InputError, match="No space left"):
        write_result(IMAGE, LABELS, ["a", "b", "c"], None, tmp_path, "p")
    assert list(tmp_path.iterdir()) == []


def test_area_shares_sum_to_one_without_strangers() -> None:
    labels = RNG.integers(0, 4, (11, 13))
    np.testing.assert_allclose(area_shares(labels, 4), [(labels == i).mean() for i in range(4)])
    assert area_shares(np.array([[0, 9], [-1, 0]]), 2).tolist() == [0.5, 0.0]


def test_pictures_by_suffix(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.JPEG"):
        write_image(tmp_path / name, IMAGE)
        assert Image.open(tmp_path / name).size == (40, 30)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), IMAGE)
    with pytest.raises(InputError, match=r"\.gif"):
        write_image(tmp_path / "a.gif", IMAGE)


def test_page(tmp_path: Path) -> None:
    wide, small = IMAGE, IMAGE[:9, :5]
    rows = [
        Row(
            [
                Tile(wide, "a caption that is far too long for one line of its tile, and then some"),
                Tile(small, arrow=True),
            ],
            "t",
        ),
        Row([Tile(wide, "")]),
        Row([]),
    ]
    page = lay_page(
        "Title",
        [
            Section("One", rows, "a note", [(f"class {i}", c) for i, c in enumerate(palette(30))]),
            Section("Two", []),
        ],
        "note",
        tile=64,
    )
    assert page.dtype == np.uint8 and page.shape[1] == 480 + 80
    path = write_page(tmp_path / "page.png", "Title", [Section("One", rows)], tile=64)
    assert Image.open(path).width == 560
    assert lay_page("", []).shape[0] > 0
