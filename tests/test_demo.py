"""The demo on the bundled miniature, small; and what its measurements mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from freeda.errors import InputError
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    from freeda.demo import run_demo

    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(out, seed=3, captions=24, scenes=12)


def test_the_report_has_what_it_promises(report: tuple[Path, dict]) -> None:
    out, returned = report
    written = json.loads((out / "report.json").read_text())
    assert written["miou"] == pytest.approx(returned["miou"])
    assert set(written["miou"]) == {
        "full", "local_only", "global_only", "clip_patches", "true_masks", "regions_upper_bound",
    }  # fmt: skip
    assert written["captions"] == 24 and written["scenes"] == 12 and written["pairs"] > 24
    assert all(0 <= v <= 1 for v in written["miou"].values())
    assert all(s >= 0 for s in written["seconds"].values())
    with Image.open(out / "page.png") as page:
        assert page.width > 600 and page.height > 600


def test_somebody_s_page_is_not_written_over(tmp_path: Path) -> None:
    from freeda.demo import run_demo

    (tmp_path / "page.png").write_text("somebody's")
    with pytest.raises(InputError, match=r"page\.png: no demo's"):
        run_demo(tmp_path)
    assert (tmp_path / "page.png").read_text() == "somebody's"


def test_bounds_bound(report: tuple[Path, dict]) -> None:
    miou = report[1]["miou"]
    assert miou["regions_upper_bound"] > 0.85
    assert miou["global_only"] < miou["full"] < miou["regions_upper_bound"]


def test_the_perfect_labelling_of_regions_is_the_majority() -> None:
    regions = np.array([[0, 0, 1], [0, 1, 1]])
    truth = np.array([[3, 3, 5], [2, 5, 2]], np.uint8)
    assert trial.best_of_regions(regions, truth).tolist() == [[3, 3, 5], [3, 5, 5]]


def test_streams_of_scenes_never_meet() -> None:
    first, second = trial.held_out(0, 3), trial.held_out(1, 3)
    described = trial.bank_scenes(0, 3)
    pictures = {s.image.tobytes() for s in (*first, *second, *described)}
    assert len(pictures) == 9
    texts = trial.bank_captions(described, 0)
    assert [t.id for t in texts] == ["0-0", "0-1", "0-2"]


def test_every_class_has_a_word_and_every_word_a_class() -> None:
    assert set(trial.CLASS_OF.values()) == set(CLASSES)
