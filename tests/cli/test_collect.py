"""`freeda collect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from commands import CAPTIONS, fill_the_disk, refused, run
from freeda.bank import Bank
from freeda.collection import runner
from freeda.collection.generator import Generator


def usual(tmp_path: Path, model: Path) -> tuple[object, ...]:
    return ("--out", tmp_path / "bank", "--model", model, "--device", "cpu", "--steps", 1)


def collected(tmp_path: Path, model: Path, *more: object) -> Result:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    given = (tmp_path / "captions.txt", *usual(tmp_path, model), "--shard-size", 1)
    return run("collect", *given, *more)


def test_collect_twice_is_collect_once(tmp_path: Path, model: Path) -> None:
    def shards() -> dict[Path, tuple[bytes, int]]:
        found = (tmp_path / "bank").rglob("*.parquet")
        return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in found}

    more = ("--limit", 2, "--batch-size", 1, "--keep-images")
    assert collected(tmp_path, model, *more).exit_code == 0
    before = shards()
    assert len(before) == 2
    assert collected(tmp_path, model, *more).exit_code == 0
    assert before == shards()


@pytest.mark.parametrize("command", ["segment", "collect"])
def test_unknown_preset(tmp_path: Path, photo: Path, command: str) -> None:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    given = [photo, "--classes", "cat"] if command == "segment" else [tmp_path / "captions.txt"]
    done = run(command, *given, "--out", tmp_path / "out", "--model", "vit-xxl")
    refused(done, "unknown model preset 'vit-xxl'", "vit-b", "miniature")
    refused(run("segment", photo, "--classes", "cat", "--model", "ViTL"), "'ViTL' (did you mean 'vit-l'?)")
    assert not (tmp_path / "out").exists()


def test_no_space_while_collecting_then_continued(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after=2)
        refused(collected(tmp_path, model), "No space left on device")
    assert sorted(p.name for p in (tmp_path / "bank").rglob("*") if p.is_file()) == [
        "00000.parquet",
        "00001.parquet",
        "log.jsonl",
    ]
    refused(run("bank", "info", tmp_path / "bank"), "half-written")
    assert collected(tmp_path, model).exit_code == 0
    assert run("bank", "info", tmp_path / "bank").exit_code == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "captions.txt"), ("", "captions.txt"), ("\n \n", "captions.txt"), ("{ not json", "captions.txt")],
)
def test_unusable_captions(tmp_path: Path, model: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "captions.txt").write_text(content)
    done = run("collect", tmp_path / "captions.txt", *usual(tmp_path, model))
    refused(done, says)
    assert not (tmp_path / "bank").exists()


def test_any_option_can_be_set(tmp_path: Path, model: Path) -> None:
    done = collected(tmp_path, model, "--set", "threshold_rule=otsu", "--set", "superpixels.scale=7")
    assert done.exit_code == 0, done.output
    options = json.loads((tmp_path / "bank" / "bank.json").read_text())["options"]
    assert (
        options["threshold_rule"] == "otsu" and options["superpixels"]["scale"] == 7 and options["steps"] == 1
    )
    assert "pairs" in done.stdout and "3 captions, 3 pictures" in done.stdout
    refused(collected(tmp_path, model, "--set", "treshold=1"), "unknown option 'treshold'", "'threshold'")
    refused(collected(tmp_path, model, "--set", "threshold"), "is not NAME=VALUE")
    refused(collected(tmp_path, model), "was begun with other settings (options.superpixels.scale was 7.0")


def test_words_instead_of_captions(tmp_path: Path, model: Path) -> None:
    (tmp_path / "words.txt").write_text("stop sign\ncat\n")
    done = run(
        "collect", "--words", tmp_path / "words.txt", *usual(tmp_path, model), "--set", "prompts_per_word=2"
    )
    assert done.exit_code == 0, done.output
    assert set(Bank.open(tmp_path / "bank").nouns) <= {"stop sign", "cat"}
    assert Bank.open(tmp_path / "bank").meta["captions"] == 4
    refused(run("collect", *usual(tmp_path, model)), "give captions or words")
    refused(collected(tmp_path, model, "--words", tmp_path / "words.txt"), "give captions or words")


def test_captions_in_a_column(tmp_path: Path, model: Path) -> None:
    (tmp_path / "c.csv").write_text("key,words\nx,a cat on a table\ny,a dog\n")
    done = run(
        "collect", tmp_path / "c.csv", *usual(tmp_path, model), "--column", "words", "--id-column", "key"
    )
    assert done.exit_code == 0, done.output
    bank = Bank.open(tmp_path / "bank")
    assert {bank.row(i)["caption_id"] for i in range(len(bank))} <= {"x", "y"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--workers", 0), "workers is 0"),
        (("--device", "cpu,cpu", "--workers", 1), "2 devices need as many workers"),
        (("--device", "cpu,tpu"), "unknown device 'tpu'"),
        (("--dtype", "int8"), "unknown dtype 'int8'"),
        (("--tagger", "nltk"), "tagger 'nltk' is unknown"),
        (("--limit", 0), "limit is 0"),
        (("--batch-size", 0), "batch_size"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, model: Path, given: tuple[object, ...], says: str) -> None:
    refused(collected(tmp_path, model, *given), says)
    assert not (tmp_path / "bank").exists()


def test_ctrl_c(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130; the shard at hand is dropped, the others stay; nothing half-written."""
    real, made = runner.make_shard, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if made:
            raise KeyboardInterrupt
        made.append(1)
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "make_shard", interrupted)
        done = collected(tmp_path, model)
    assert done.exit_code == 130 and "the same command goes on" in done.stderr, done.output
    kept = sorted(p.name for p in (tmp_path / "bank").rglob("*") if p.is_file())
    assert kept == ["00000.parquet", "log.jsonl"]
    assert collected(tmp_path, model).exit_code == 0


def test_failed_captions_are_told(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Generator.draw

    def draw(self: Any, captions: Any, *args: Any) -> Any:
        if any("cat" in caption for caption in captions):
            raise RuntimeError("no such cat")
        return real(self, captions, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Generator, "draw", draw)
        done = collected(tmp_path, model)
    assert done.exit_code == 0 and "1 captions failed" in done.stdout and "--retry-failed" in done.stdout
    assert "no such cat" in (tmp_path / "bank" / "log.jsonl").read_text()
    done = collected(tmp_path, model, "--retry-failed")
    assert done.exit_code == 0 and "captions failed" not in done.stdout
