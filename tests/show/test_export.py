"""Pictures, records and overviews on disk."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from freeda.errors import InputError
from freeda.files import Written
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
)
from freeda.show.export import record_of
from freeda.show.html import write_overview

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
LABELS = np.zeros((30, 40), np.int32)
LABELS[:, 30:] = 2


def test_what_the_record_says() -> None:
    names = ["sky", "cat", "sea"]
    record = record_of(LABELS, names, None, palette(3))
    assert (record["width"], record["height"]) == (40, 30)
    assert [c["name"] for c in record["classes"]] == names
    assert [c["pixels"] for c in record["classes"]] == [900, 0, 300]
    assert [c["share"] for c in record["classes"]] == [0.75, 0.0, 0.25]
    assert [c["colour"] for c in record["classes"]] == [to_hex(c) for c in palette(3)]


def test_scores_are_averaged_over_a_class_s_own_pixels() -> None:
    scores = RNG.random((3, 30, 40))
    got = [c["score"] for c in record_of(LABELS, ["sky", "cat", "sea"], scores, palette(3))["classes"]]
    assert got[1] is None
    np.testing.assert_allclose([got[0], got[2]], [scores[0, :, :30].mean(), scores[2, :, 30:].mean()])
    with pytest.raises(InputError, match="scores have shape"):
        record_of(LABELS, ["sky"], scores, palette(3))


def test_a_jpeg_of_what_the_format_cannot_hold_is_reduced(tmp_path: Path) -> None:
    wide = np.zeros((8, 66_000, 3), np.uint8)
    assert Image.open(write_image(tmp_path / "wide.jpg", wide)).size == (65_500, 8)
    assert Image.open(write_image(tmp_path / "wide.png", wide)).size == (66_000, 8)


def test_a_table_no_spreadsheet_runs_and_a_page_no_name_leaves(tmp_path: Path) -> None:
    names = ["=1+1", "<b>", "cat"]
    record = {"image": "/x/-a, b.jpg", "overlay": "a b#.overlay.jpg"}
    made = record_of(LABELS, names, None, palette(3)), record_of(LABELS[:, :9], ["dog"], None, palette(1))
    records = [record | one for one in made]
    (tmp_path / "shares.csv").write_text("somebody's")
    page, table = write_overview(Written(tmp_path), lambda: records)
    assert (tmp_path / "shares.csv").read_text() == "somebody's" and table.name == "shares-2.csv"
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0] == ["image", "width", "height", "overlay", "'=1+1", "<b>", "cat", "dog"]
    assert rows[1] == ["/x/-a, b.jpg", "40", "30", "a b#.overlay.jpg", "0.750000", "0.000000", "0.250000", ""]
    assert rows[2][4:] == ["", "", "", "1.000000"]
    told = page.read_text("utf-8")
    assert "a%20b%23.overlay.jpg" in told and "<b>-a, b.jpg</b>" in told and "=1+1 75.0 %, cat 25.0 %" in told
    assert write_overview(Written(tmp_path), lambda: records[:1]) == [page, table]  # ours, so written over


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
