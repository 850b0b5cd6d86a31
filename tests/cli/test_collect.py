"""`freeda collect`."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import CAPTIONS, fill_the_disk, refused, run


def test_collect_twice_is_collect_once(tmp_path: Path, model: Path) -> None:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    arguments = (
        "collect",
        tmp_path / "captions.txt",
        "--out",
        tmp_path / "bank",
        "--model",
        model,
        "--device",
        "cpu",
        "--steps",
        1,
        "--limit",
        2,
        "--shard-size",
        1,
        "--batch-size",
        1,
        "--keep-images",
    )
    assert run(*arguments).exit_code == 0
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "bank").rglob("*.parquet")}
    assert len(before) == 2
    assert run(*arguments).exit_code == 0
    assert before == {
        p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "bank").rglob("*.parquet")
    }


@pytest.mark.parametrize("command", ["segment", "collect"])
def test_unknown_preset(tmp_path: Path, photo: Path, command: str) -> None:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    given = [photo, "--classes", "cat"] if command == "segment" else [tmp_path / "captions.txt"]
    done = run(command, *given, "--out", tmp_path / "out", "--model", "vit-xxl")
    refused(done, "unknown model preset 'vit-xxl'", "vit-b", "miniature")
    assert not (tmp_path / "out").exists()


def test_no_space_while_collecting_then_continued(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    arguments = (
        "collect",
        tmp_path / "captions.txt",
        "--out",
        tmp_path / "bank",
        "--model",
        model,
        "--device",
        "cpu",
        "--steps",
        1,
        "--shard-size",
        1,
    )
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after=2)
        refused(run(*arguments), "No space left on device")
    assert sorted(p.name for p in (tmp_path / "bank").rglob("*") if p.is_file()) == [
        "00000.parquet",
        "00001.parquet",
    ]
    refused(run("bank", "info", tmp_path / "bank"), "half-written")
    assert run(*arguments).exit_code == 0
    assert run("bank", "info", tmp_path / "bank").exit_code == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "captions.txt"), ("", "captions.txt"), ("\n \n", "captions.txt"), ("{ not json", "captions.txt")],
)
def test_unusable_captions(tmp_path: Path, model: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "captions.txt").write_text(content)
    done = run(
        "collect", tmp_path / "captions.txt", "--out", tmp_path / "bank", "--model", model, "--device", "cpu"
    )
    refused(done, says)
    assert not (tmp_path / "bank").exists()
