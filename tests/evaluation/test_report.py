"""The report's files and pages: whole, and odd cases are told."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from evaluation.reports import NAMES, Small, evaluated, pairs, relabeller, small_data
from freeda.errors import InputError
from freeda.evaluation.counts import Counts
from freeda.evaluation.report import figures, print_report, write_report
from freeda.evaluation.report.charts import draw_bars, draw_matrix
from freeda.evaluation.report.tables import escape
from freeda.evaluation.result import Evaluation, best_first, ends
from freeda.show.caveats import Caveats


@pytest.fixture
def small() -> Small:
    return small_data()


def test_files(small: Small, tmp_path: Path) -> None:
    result = evaluated(small)
    relabel, asked = relabeller(small)
    paths = write_report(tmp_path / "out", result, small, relabel)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in paths.values())
    assert {k: p.name for k, p in paths.items()} == {
        "confusion": "confusion.png",
        "classes": "classes.png",
        "worst": "worst.jpg",
        "best": "best.jpg",
        "matrix": "confusion.csv",
        "markdown": "report.md",
        "json": "report.json",
    }
    assert json.loads(paths["json"].read_text()) == figures(result)
    with open(paths["matrix"], newline="") as file:
        head, *rows = csv.reader(file)
    assert tuple(head[1:]) == NAMES == tuple(row[0] for row in rows)
    np.testing.assert_array_equal(np.array([r[1:] for r in rows], int), result.counts.matrix)
    for kind in ("confusion", "classes", "worst", "best"):
        with Image.open(paths[kind]) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    order = [row.index for row in result.ranked()]
    assert asked == [*order[:3], *order[3:][::-1]], "the worst, worst first; the best, best first; none twice"


def test_the_page(small: Small, tmp_path: Path) -> None:
    result = evaluated(small)
    page = write_report(tmp_path, result, small, relabeller(small)[0])["markdown"].read_text()
    assert page.startswith(f"# small: mIoU {result.counts.miou():.3f}\n")
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page):
        assert (tmp_path / picture).is_file()
    assert page.count("![") == 4
    width = 0
    for line in page.splitlines():  # every row has as many cells as its table's head
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert not (cells and width) or cells == width, line
        width = cells
    assert r"a\|b \*c\*" in page and r"sofa\\nbed" in page and r"\<i\>" in page and "<i>" not in page
    assert f"| {result.counts.per_class_iou()[0]:.3f} |" in page
    assert "| options.k | 350 |" in page and r"| bank | x\|y |" in page and "| limit | null |" in page


def test_what_must_be_known_comes_first(small: Small, tmp_path: Path) -> None:
    caveats = Caveats("woodcuts", {"cat": ("dog",), "<i>": ("cow", "pig")})
    result = replace(evaluated(small), caveats=caveats)
    paths = write_report(tmp_path, result, small, None)
    told = json.loads(paths["json"].read_text())
    assert told["warnings"] == caveats.lines() and len(caveats.lines()) == 3
    assert [c.get("answered_by") for c in told["classes"]] == [["dog"], None, None, ["cow", "pig"], None]
    page = paths["markdown"].read_text().split("| mIoU")[0].split("| **mIoU**")[0]
    assert "> This model knows woodcuts: its labels of anything else mean little\n" in page
    assert r"> 2 words not in this bank: cat (answered by dog), \<i\> (answered by cow, pig)" in page
    screen = io.StringIO()
    print_report(result, Console(file=screen, width=200))
    assert all(line in screen.getvalue() for line in caveats.brief())
    assert figures(evaluated(small))["warnings"] == []


def test_many_classes_are_folded(tmp_path: Path) -> None:
    names = (*(f"class {i}" for i in range(170)), "background")
    data = Small(pairs(3, 60, 90), names)
    result = evaluated(data, names)
    page = write_report(tmp_path, result, data, None)["markdown"].read_text()
    before, inside = page.split("<details>")
    rows = re.findall(r"^\| class \d+ \| [\d.]", before, re.M)
    assert len(rows) == 20, "ten best, ten worst"
    assert len(re.findall(r"^\| (?:class \d+|background) \|", inside.split("</details>")[0], re.M)) == 171
    assert not (tmp_path / "worst.jpg").exists()
    with Image.open(tmp_path / "classes.png") as picture:
        assert picture.width < 2500 and picture.height < 2500
    with Image.open(tmp_path / "confusion.png") as picture:
        # 60 of 171 labels were found; the rest is left out of the picture.
        assert picture.width < 60 * 16 + 500


def test_the_worst_and_best_classes_are_of_the_truth() -> None:
    classes: list[dict[str, Any]] = [
        {"label": i, "iou": iou, "pixels": pixels}
        for i, (iou, pixels) in enumerate([(0.5, 9), (None, 0), (0.0, 0), (0.0, 4), (0.9, 1), (0.2, 8)])
    ]
    assert [c["label"] for c in best_first(classes)] == [4, 0, 5, 3, 2, 1]
    worst, best = ends(classes, 3)
    assert [c["label"] for c in best] == [4, 0] and [c["label"] for c in worst] == [3, 5]


def test_nothing_that_counts(tmp_path: Path) -> None:
    truth = np.full((20, 20), 255, np.uint8)
    data = Small([(np.zeros_like(truth), truth)])
    result = evaluated(data)
    told = figures(result)
    assert told["miou"] is None and told["per_image"][0]["miou"] is None and told["mistakes"] == []
    (tmp_path / "worst.jpg").write_text("of an earlier run")
    paths = write_report(tmp_path, result, data, relabeller(data)[0])
    assert "worst" not in paths and not (tmp_path / "worst.jpg").exists()
    assert "mIoU –" in paths["markdown"].read_text()
    console = Console(width=100, record=True, file=io.StringIO())
    print_report(result, console)
    assert "mIoU" in console.export_text()


def test_no_images(tmp_path: Path) -> None:
    result = Evaluation("small", NAMES, Counts(5), (), {}, 0.0, 0)
    told = figures(result)
    assert told["seconds_an_image"] is None and told["peak_memory"] is None
    assert "Settings" not in write_report(tmp_path, result, Small([]), None)["markdown"].read_text()


def test_a_perfect_one(tmp_path: Path) -> None:
    truth = pairs(1, 4)[0][1]
    data = Small([(np.where(truth == 255, 0, truth), truth)])
    paths = write_report(tmp_path, evaluated(data), data, relabeller(data)[0])
    assert "There is no mistake." in paths["markdown"].read_text()
    assert "worst" in paths and "best" not in paths, "one image is not shown twice"


@pytest.mark.parametrize(("n", "shown"), [(5, 5), (60, 16)])
def test_the_screen(n: int, shown: int, small: Small) -> None:
    names = (*(f"[red]class {i}" for i in range(n - 1)), "background")
    data = Small(pairs(3, n, 60), names)
    result = evaluated(data, names)
    console = Console(width=120, record=True, file=io.StringIO())
    print_report(result, console)
    text = console.export_text()
    assert f"{result.counts.miou():.3f}" in text and f"{result.counts.boundary_iou():.3f}" in text
    assert len(re.findall(r"\[red\]class \d+|background", text)) == shown
    for size in result.counts.by_size():
        wanted = "–" if math.isnan(size.miou) else f"{size.miou:.3f}"
        assert re.search(rf"{size.size} .*{wanted} .*{size.components:,} .*{size.pixels:,}", text)


def test_labels_of_another_size(small: Small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"image_\d: labelled again it has shape \(2, 2\)"):
        write_report(tmp_path, evaluated(small), small, lambda i: np.zeros((2, 2), int))
    assert not (tmp_path / "report.json").exists()


def test_the_matrix_shows_shares_of_the_truth() -> None:
    """A cell's colour depends on its share of the row only; rows without truth are grey."""
    matrix = np.array([[90, 10, 0], [0, 0, 0], [1, 0, 9]], np.int64)
    more = matrix * [[7], [1], [1]]  # a class with more pixels, found and missed in the same shares
    one, other = (draw_matrix("", m, ["a", "b", "c"]) for m in (matrix, more))
    np.testing.assert_array_equal(one, other)
    assert (draw_matrix("", matrix.T, ["a", "b", "c"]) != one).any()
    grey = (one == [238, 238, 240]).all(-1).sum(1)
    assert 20 < (grey > 60).sum() <= 34, "one row of three cells, 34 pixels high"


def test_bars_are_as_long_as_their_shares() -> None:
    """The broad blue ones as the IoU, the thin yellow ones as the boundary IoU."""
    classes: list[dict[str, Any]] = [
        {"label": i, "name": "x", "iou": iou, "boundary_iou": boundary, "pixels": 1}
        for i, (iou, boundary) in enumerate([(1.0, 0.75), (0.5, 0.25), (0.0, 0.0)])
    ]
    picture = draw_bars("", classes, None).astype(int)[90:]  # below the key
    red_over_blue = picture[..., 0] - picture[..., 2]
    blue, yellow = (
        sorted({int(row.sum()) for row in bars if row.any()})
        for bars in (red_over_blue < -100, red_over_blue > 100)
    )
    assert len(blue) == len(yellow) == 2
    assert blue[0] / blue[1] == pytest.approx(0.5, abs=0.01)
    assert [n / blue[1] for n in yellow] == pytest.approx([0.25, 0.75], abs=0.01)


def test_markdown_makes_nothing_of_names() -> None:
    assert escape("a|b") == r"a\|b" and escape("x\ny") == r"x\\ny" and escape("`<!--") == r"\`\<!--"
