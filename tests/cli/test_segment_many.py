"""`freeda segment` on folders, with words kept in files, options by name, and the table of stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from commands import refused, run

RNG = np.random.default_rng(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "deep/c.webp"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


@pytest.fixture
def segment(model: Path, bank: Path, tmp_path: Path) -> Any:
    def call(*arguments: Any, words: str | None = "cat, wooden table") -> Result:
        given = ("--classes", words) if words is not None else ()
        places = ("--model", model, "--bank", bank, "--out", tmp_path / "out", "--device", "cpu")
        return run("segment", *arguments, *given, *places)

    return call


def stems(out: Path) -> list[str]:
    return sorted(p.stem for p in out.glob("*.json"))


def test_folders_and_patterns(segment: Any, folder: Path, tmp_path: Path) -> None:
    done = segment(folder)
    assert done.exit_code == 0 and stems(tmp_path / "out") == ["a", "b"], done.output
    assert "2 photographs: 2 labelled" in done.output
    rows = (tmp_path / "out" / "shares.csv").read_text().splitlines()
    assert rows[0] == "image,width,height,overlay,cat,wooden table" and len(rows) == 3
    assert "shares.csv" in done.output and (tmp_path / "out" / "overview.html").is_file()
    done = segment(folder, "--recursive")
    assert "3 photographs: 2 already there, 1 labelled" in done.output
    done = segment(folder / "*.jpg", "--again")
    assert done.exit_code == 0 and "b.jpg" in done.output and "already" not in done.output
    assert segment(folder / "b.jpg").output.count("was there already") == 1


def test_one_bad_file_of_many(segment: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "a.png").write_bytes(b"")
    done = segment(folder, "-r")
    assert done.exit_code == 1, done.output
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)
    assert "a.png: the file is empty" in lines[0] and "1 of 3" in lines[1] and "a.png" in lines[1]
    assert "failed" in done.stdout and "3 photographs: 1 failed, 2 labelled" in done.stdout
    assert stems(tmp_path / "out") == ["b", "c"]
    done = segment(folder, "--strict", "--again")
    refused(done, "a.png: the file is empty")


def test_many_files_none_good(segment: Any, folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg"):
        (folder / name).write_bytes(b"x")
    done = segment(folder)
    assert done.exit_code == 2 and "none of the 2 photographs could be labelled" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_read_in_a_folder_is_named(segment: Any, folder: Path, tmp_path: Path) -> None:
    """A raw file beside its JPEG, which keeps its name; formats that Pillow reads need no word."""
    (folder / "b.CR2").write_bytes((folder / "b.jpg").read_bytes())
    Image.new("RGB", (16, 16), (9, 99, 0)).save(folder / "d.mpo", "JPEG")
    done = segment(folder)
    assert done.exit_code == 1, done.output
    assert "b.CR2: this is a camera's raw file" in done.stderr and "1 of 4" in done.stderr
    assert stems(tmp_path / "out") == ["a", "b", "d"]
    assert json.loads((tmp_path / "out" / "b.json").read_text())["image"].endswith("b.jpg")


def test_many_photographs_get_no_row_each(segment: Any, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for i in range(21):
        Image.new("RGB", (16, 16), (10 * i, 99, 0)).save(many / f"picture{i:02}.png")
    done = segment(many)
    assert done.exit_code == 0 and "picture" not in done.output and "21 labelled" in done.output


def test_synonyms(segment: Any, folder: Path, tmp_path: Path) -> None:
    assert segment(folder / "a.png", words="cat=kitten= puss, wooden table").exit_code == 0
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert [c["name"] for c in record["classes"]] == ["cat", "wooden table"]
    plain = np.asarray(Image.open(tmp_path / "out" / "a.labels.png"))
    (tmp_path / "words.txt").write_text("cat = kitten = puss\n# none\nwooden table\n")
    done = segment(folder / "a.png", "--classes-file", tmp_path / "words.txt", words=None)
    assert "was there already" in done.output
    assert np.array_equal(plain, np.asarray(Image.open(tmp_path / "out" / "a.labels.png")))
    for words, says in (
        ("cat=", "blank"),
        ("=cat", "blank"),
        ("a=b, a=c", "'a' is given twice"),
        ("a=b,A", "twice"),
    ):
        refused(segment(folder / "a.png", words=words), says)


def test_everything_else(segment: Any, folder: Path, tmp_path: Path) -> None:
    assert segment(folder / "a.png", "--others", "all the rest").exit_code == 0
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert [c["name"] for c in record["classes"]] == ["cat", "wooden table", "all the rest"]


def test_words_kept_in_a_file(segment: Any, folder: Path, tmp_path: Path, model: Path) -> None:
    kept = tmp_path / "words.npz"
    done = segment("--save-vocabulary", kept, words="cat=puss, tree")
    assert done.exit_code == 0 and "2 classes kept" in done.output and not (tmp_path / "out").exists()
    # A vocabulary needs no bank any more.
    places = ("--vocabulary", kept, "--model", model, "--device", "cpu", "--out", tmp_path / "out")
    done = run("segment", folder / "a.png", *places)
    assert done.exit_code == 0, done.output
    assert "was there already" in segment(folder / "a.png", words="cat=puss, tree").output
    refused(run("segment", folder / "a.png", *places, "--classes", "cat"), "once")
    refused(run("segment", folder / "a.png", *places, "--k", 3), "'k' was settled")
    refused(run("segment", folder / "a.png", *places, "--grow"), "--grow needs the words")
    refused(run("segment", folder / "a.png", "--vocabulary", kept), "made with CLIP", "miniature/clip")
    refused(run("segment", folder / "a.png", "--vocabulary", folder / "a.png"), "a.png", "vocabulary")
    refused(run("segment", folder / "a.png", "--vocabulary", tmp_path / "no.npz"), "no such file")


def test_any_option_by_name(segment: Any, folder: Path, tmp_path: Path) -> None:
    done = segment(folder / "a.png", "--set", "superpixels.algorithm=slic", "--set", "k=2")
    assert done.exit_code == 0, done.output
    options = json.loads((tmp_path / "out" / "a.json").read_text())["options"]
    assert options["superpixels"]["algorithm"] == "slic" and options["k"] == 2
    refused(segment(folder / "a.png", "--set", "colour=3"), "colour")
    refused(segment(folder / "a.png", "--set", "k"), "k")
    refused(segment(folder / "a.png", "--dtype", "int3"), "int3")


def test_profile(segment: Any, folder: Path) -> None:
    done = segment(folder, "--profile", "--again")
    assert done.exit_code == 0
    table = done.output[done.output.index("where the time went") :]
    for stage in (
        *("load", "text", "retrieval", "read", "resize", "clip", "dense", "regions"),
        *("pooling", "join", "labels", "write", "other"),
    ):
        assert stage in table, stage
    figures = {
        row[1].strip(): row[2].strip()
        for row in (line.split("│") for line in table.splitlines())
        if len(row) > 4
    }
    total = float(figures.pop("all"))
    assert sum(map(float, figures.values())) == pytest.approx(total, abs=0.1)
    assert "where the time went" not in segment(folder).output


def test_npz_beside(segment: Any, folder: Path, tmp_path: Path) -> None:
    from freeda import Segmentation

    assert segment(folder / "a.png", "--npz").exit_code == 0
    again = Segmentation.load_npz(tmp_path / "out" / "a.npz")
    assert again.scores(["cat"]).shape == (1, 40, 50) and again.source == str(folder / "a.png")


@pytest.mark.parametrize(
    ("given", "says"),
    [([], "name the photographs"), (["no*.png"], "fits this pattern"), (["."], "holds no images")],
)
def test_no_photographs(
    segment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    refused(segment(*given), says)


def test_bars_on_a_terminal() -> None:
    import io

    from rich.console import Console

    from freeda.cli.show import Bars

    bars = Bars(3)
    seen = io.StringIO()
    bars = Bars(3, Console(file=seen, force_terminal=True, width=100))
    with bars:
        bars.begin(Path("photo.jpg"))
        bars.encoded(8, 40)
        bars.refresh()
        assert "8/40" in seen.getvalue() and "photo.jpg" in seen.getvalue()
        bars.finish()
        bars.refresh()
        assert "1/3" in seen.getvalue()
