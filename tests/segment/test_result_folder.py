"""Which stem a photograph gets, now and in a later run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freeda.files import Written
from freeda.options.exports import EXPORTS, FORMAT
from freeda.segment.result_folder import ResultFolder

RECORD = {"format": FORMAT, "image": None, "width": 4, "height": 3, "overlay": "x.overlay.jpg", "classes": []}
KINDS = {"labels": ".labels.png", "overlay": ".overlay.jpg", "json": ".json"}


def write(out: Path, stem: str, image: str | None, photograph: str = "digest") -> None:
    out.mkdir(exist_ok=True)
    full = None if image is None else str(Path(image).absolute())
    (out / f"{stem}.json").write_text(json.dumps(RECORD | {"image": full, "photograph": photograph}))


def stems(out: Path, *paths: str, content: str | None = "digest") -> list[str]:
    folder = ResultFolder(out)
    return [folder.place(Path(p), content)[0] for p in paths]


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out"


def test_stems_are_unique_within_a_run(out: Path) -> None:
    paths = ("a/x.jpg", "b/x.png", "x-2.jpg", "x.gif", "y.jpg", "c/X.jpg")
    assert stems(out, *paths) == ["x", "x-2", "x-2-2", "x-3", "y", "X-4"]
    assert not out.exists()


def test_no_record_is_another_photograph_s_export(out: Path) -> None:
    names = [end for ends in EXPORTS.values() for end in ends]
    photographs = [f"x{end.removesuffix('.json')}.jpg" for end in names]
    given = stems(out, "x.jpg", *photographs)
    files = [f"{stem}{end}" for stem in given for end in (*KINDS.values(), *names)]
    assert given[0] == "x" and len(set(files)) == len(set(given)) * len({*KINDS.values(), *names})
    write(out, "x.coco-2", "x.coco.jpg")
    Path("x.coco.jpg").touch()
    assert stems(out, "x.coco.jpg", "b/x.coco.jpg") == ["x.coco-2", "x.coco-3"]


def test_a_later_run_keeps_to_them(out: Path) -> None:
    for stem, image in (("x", "a/x.jpg"), ("x-2", "b/x.png"), ("x-2-2", "x-2.jpg")):
        write(out, stem, image)
        Path(image).parent.mkdir(exist_ok=True)
        Path(image).touch()
    assert stems(out, "b/x.png") == ["x-2"]
    assert stems(out, "x-2.jpg", "b/x.png", "a/x.jpg", "c/x.jpg") == ["x-2-2", "x-2", "x", "x-3"]
    assert stems(out, "c/x.jpg", "a/x.jpg") == ["x-3", "x"]
    (out / "x.json").unlink()
    assert stems(out, "b/x.png", "a/x.jpg") == ["x-2", "x"]


def test_the_same_file_by_another_way(out: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    write(out, "x", "x.jpg")
    folder = ResultFolder(out)
    stem, record = folder.place(tmp_path / "x.jpg", None)
    assert stem == "x" and record["photograph"] == "digest"


def test_a_moved_photograph_is_known_by_its_bytes(out: Path) -> None:
    write(out, "x", "gone/x.jpg", "abc")
    assert stems(out, "here/x.jpg", content="abc") == ["x"]
    assert stems(out, "here/x.jpg", content="other") == ["x-2"]
    assert stems(out, "here/x.jpg", content=None) == ["x-2"]
    Path("gone").mkdir()
    Path("gone/x.jpg").touch()  # both are there: these are two photographs, though alike
    assert stems(out, "here/x.jpg", content="abc") == ["x-2"]


@pytest.mark.parametrize(
    "content",
    [
        *('{"image": 3}', "[]", "{}", "not json", "", '{"image": null}', "[" * 9000),
        '{"image": "x.jpg", "photograph": "digest"}',
        *({"exports": 3}, {"width": "=1+1"}),
        *({"classes": None}, {"classes": [1]}, {"classes": [{"name": "a"}]}),
    ],
)
def test_other_peoples_records_stay(out: Path, content: str | dict[str, object]) -> None:
    """Also one that names a photograph of that name, as captions and annotations do; and ours, corrupted."""
    write(out, "x", "x.jpg")
    assert stems(out, "x.jpg") == ["x"]
    path = out / "x.json"
    if not isinstance(content, str):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    assert stems(out, "x.jpg") == ["x-2"]


def test_other_peoples_files_are_not_written_over(out: Path) -> None:
    out.mkdir()
    for name in ("x.txt", "x.labels.png", "y.svg"):
        (out / name).write_text("somebody's")
    assert stems(out, "x.jpg", "y.jpg") == ["x-2", "y"]  # no drawing of y was asked for
    folder = ResultFolder(out)
    assert [folder.place(Path(n), None, ["svg", "yolo"])[0] for n in ("x.jpg", "y.jpg")] == ["x-2", "y-2"]
    with Written(out).replace("z.txt") as (temp,):  # ours, of a run that was killed before its record
        temp.write_text("ours")
    assert ResultFolder(out).place(Path("z.jpg"), None, ["yolo"])[0] == "z"


def test_whole_only_with_all_files(out: Path) -> None:
    write(out, "x", "x.jpg")
    folder = ResultFolder(out)
    for name in ("x.labels.png", "x.overlay.jpg"):
        assert folder.whole("x", []) is None
        (out / name).touch()
    assert set(folder.whole("x", []) or ()) == {"labels", "overlay", "json"}
    assert folder.whole("x", ["npz"]) is None
    (out / "x.npz").touch()
    assert (folder.whole("x", ["npz"]) or {})["npz"] == out / "x.npz"
