"""`freeda segment --explain`: a table, a card beside the results, one clear line for a wrong pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import refused, run
from freeda.cli.show import read_points
from freeda.errors import InputError


def explain(photos: Any, model: Path, bank: Path, out: Path, *more: Any) -> Any:
    what = (photos, "--classes", "cat, wooden table", "--model", model, "--bank", bank, "--out", out)
    return run("segment", *what, "--device", "cpu", "--no-grow", *more)


def test_a_card_and_a_table(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    out = tmp_path / "out"
    done = explain(
        photo, model, bank, out, "--explain", "80,10", "--explain", " 3 , 59", "--explain", "80,10"
    )
    assert done.exit_code == 0, done.output
    names = sorted(p.name for p in out.glob("*.png"))
    assert names == ["photo.explain-3-59.png", "photo.explain-80-10.png", "photo.labels.png"]
    labels = np.asarray(Image.open(out / "photo.labels.png"))
    for x, y in ((80, 10), (3, 59)):
        word = ("cat", "wooden table")[labels[y, x]]
        assert f"pixel {x},{y} of {photo.name}: {word}" in done.output
        assert min(Image.open(out / f"photo.explain-{x}-{y}.png").size) > 300
    assert done.output.count("pixel 80,10") == 1 and "Without the global term" in done.output
    assert "nearest of" in done.output and "photo.explain-3-59.png" in done.output


def test_what_is_there_already_is_explained(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    out = tmp_path / "out"
    assert explain(photo, model, bank, out).exit_code == 0
    labels = (out / "photo.labels.png").read_bytes()
    done = explain(photo, model, bank, out, "--explain", "1,2")
    assert done.exit_code == 0 and (out / "photo.explain-1-2.png").is_file()
    assert "was there already" not in done.output and (out / "photo.labels.png").read_bytes() == labels


def test_a_card_of_other_words_goes(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    """Nobody should take an old card for one of the results beside it; what others put there stays."""
    out = tmp_path / "out"
    assert explain(photo, model, bank, out, "--explain", "1,2", "--explain", "3,4").exit_code == 0
    assert json.loads((out / "photo.json").read_text())["explained"] == [[1, 2], [3, 4]]
    others = [
        out / name for name in ("photo.explain-5-6.png", "photo-2.explain-1-2.png", "x.explain-1-2.png")
    ]
    for path in others:
        path.write_text("somebody's")

    def cards() -> list[str]:
        assert all(path.read_text() == "somebody's" for path in others)
        return sorted(p.name for p in out.glob("*explain*") if p not in others)

    # The same words: the cards hold good, whether anything is explained, labelled anew or neither.
    both = ["photo.explain-1-2.png", "photo.explain-3-4.png"]
    for more in (["--explain", "7,8"], [], ["--again"], ["--export", "svg"]):
        assert explain(photo, model, bank, out, *more).exit_code == 0
        assert cards() == [*both, "photo.explain-7-8.png"], more
    other = ("--classes", "dog", "--model", model, "--bank", bank, "--out", out, "--device", "cpu")
    # A run that does not come to new results leaves the old ones whole.
    bytes_before = photo.read_bytes()
    photo.write_bytes(bytes_before[:300])
    assert run("segment", photo, *other, "--no-grow").exit_code == 2
    assert len(cards()) == 3
    photo.write_bytes(bytes_before)
    assert run("segment", photo, *other, "--no-grow", "--explain", "3,4").exit_code == 0
    assert cards() == ["photo.explain-3-4.png"]
    assert json.loads((out / "photo.json").read_text())["explained"] == [[3, 4]]


def test_no_record_leads_to_another_file(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    out = tmp_path / "out"
    assert explain(photo, model, bank, out, "--explain", "1,2").exit_code == 0
    (out / "photo.explain-1-2.png").unlink()  # the user's own tidying
    victim = tmp_path / "victim.png"
    victim.touch()
    record = json.loads((out / "photo.json").read_text())
    record["explained"] += [["1-2/../../../victim", 3], "x", [1], [True, 2], [-1, 2], None, [1.0, 2]]
    (out / "photo.json").write_text(json.dumps(record | {"fingerprint": "another"}))
    refused(explain(photo, model, bank, out), "photo.json: not written over")
    assert victim.is_file()


def test_a_pixel_outside(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    done = explain(photo, model, bank, tmp_path / "out", "--explain", "90,0")
    refused(done, "photo.jpg", "--explain 90,0", "x is 90", "90 pixels wide")
    Image.new("RGB", (200, 60)).save(tmp_path / "wide.png")
    done = explain(tmp_path, model, bank, tmp_path / "both", "--explain", "100,0")
    assert done.exit_code == 1 and "photo.jpg: --explain 100,0: x is 100" in done.stderr
    assert {p.name for p in (tmp_path / "both").glob("*.explain*")} == {"wide.explain-100-0.png"}
    assert len(list((tmp_path / "both").glob("*.json"))) == 2
    assert "pixel 100,0" in done.output


@pytest.mark.parametrize("text", ["", "3", "3;4", "a,b", "-1,2", "1.5,2", "1,2,3", "١,٢"])
def test_a_pixel_that_is_none(tmp_path: Path, photo: Path, text: str) -> None:
    done = run("segment", photo, "--classes", "cat", "--out", tmp_path / "out", "--explain", text)
    refused(done, f"--explain {text!r}", "X,Y")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError):
        read_points([text])


def test_a_kept_vocabulary_of_another_bank(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    words = tmp_path / "words.npz"
    kept = explain(photo, model, bank, tmp_path / "a", "--save-vocabulary", words)
    assert kept.exit_code == 0, kept.output
    what = (photo, "--vocabulary", words, "--model", model, "--device", "cpu", "--explain", "1,1")
    with_bank = run("segment", *what, "--bank", bank, "--out", tmp_path / "b")
    assert with_bank.exit_code == 0 and "nearest of" in with_bank.output, with_bank.output
    without = run("segment", *what, "--out", tmp_path / "c")
    assert without.exit_code == 0 and "No bank is at hand" in without.output, without.output
    assert "nearest of" not in without.output
