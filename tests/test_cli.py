"""The command line: what it writes and prints, and one clear line for everything a user can get wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from freeda.cli import app, unique_stems
from freeda.options import to_dict
from freeda.presets import Preset

CAPTIONS = "a red stop sign beside a tree\ntwo people ride horses along the beach\na cat on a wooden table\n"
RNG = np.random.default_rng(0)


def run(*arguments: Any) -> Result:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments])


def write_preset(folder: Path, preset: Preset) -> Path:
    """A preset as the JSON file that `--model` takes."""
    path = folder / "tiny.json"
    parts = {part: {"id": getattr(preset, part).id} for part in ("clip", "dense", "generator")}
    path.write_text(
        json.dumps(
            {
                "base": "vit-b",
                **parts,
                "clip_size": preset.clip_size,
                "dense_size": preset.dense_size,
                "segment": to_dict(preset.segment),
                "collect": to_dict(preset.collect),
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def model(tiny_preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("preset"), tiny_preset)


@pytest.fixture(scope="module")
def bank(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank made by the command itself; its random models may reject masks, so none is rejected."""
    folder = tmp_path_factory.mktemp("banks")
    (folder / "captions.txt").write_text(CAPTIONS)
    done = run(
        "collect",
        folder / "captions.txt",
        "--out",
        folder / "bank",
        "--model",
        model,
        "--device",
        "cpu",
        "--steps",
        1,
    )
    assert done.exit_code == 0, done.output
    return folder / "bank"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(RNG.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


def refused(done: Result, *says: str) -> None:
    """Exit code 2 and one line on stderr that holds every word of `says`."""
    assert done.exit_code == 2, (done.exit_code, done.output, done.exception)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for word in says:
        assert word in lines[0]


# --- what works


def test_help_and_version() -> None:
    assert run("--version").output.startswith("freeda ")
    for command in ([], ["segment"], ["collect"], ["demo"], ["bank"], ["bank", "info"]):
        done = run(*command, "--help")
        assert done.exit_code == 0 and "Usage" in done.output


def test_help_loads_no_torch() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from freeda.cli import app; "
        "assert CliRunner().invoke(app, ['segment', '--help']).exit_code == 0; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "freeda", "segment", "no.jpg", "--classes", "a"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no.jpg: no such file\n")


def test_segment_writes_and_prints(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    done = run(
        "segment",
        photo,
        "--classes",
        "cat, wooden table,tree",
        "--model",
        model,
        "--bank",
        bank,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
        "--k",
        3,
    )
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "photo.json",
        "photo.labels.png",
        "photo.overlay.jpg",
    ]
    record = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert [c["name"] for c in record["classes"]] == ["cat", "wooden table", "tree"]
    assert (record["width"], record["height"]) == (90, 60) and record["options"]["k"] == 3
    labels = np.asarray(Image.open(tmp_path / "out" / "photo.labels.png"))
    assert labels.shape == (60, 90) and labels.max() <= 2
    for c in record["classes"]:
        assert c["pixels"] == (labels == c["label"]).sum()
        if c["pixels"]:
            assert f"{c['name']}" in done.output and f"{100 * c['share']:.1f} %" in done.output
    assert "photo.jpg" in done.output and "photo.overlay.jpg" in done.output and "90 x 60" in done.output


def test_classes_from_a_file_and_many_photographs(
    tmp_path: Path, photo: Path, model: Path, bank: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\ufeff# my words\ncat\n\n  wooden table \n", encoding="utf-8")
    (tmp_path / "b").mkdir()
    Image.new("L", (50, 70)).save(tmp_path / "b" / "photo.png")
    done = run(
        "segment",
        photo,
        tmp_path / "b" / "photo.png",
        "--classes-file",
        words,
        "--model",
        model,
        "--bank",
        bank,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
        "--background",
        "constant",
    )
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "out").glob("*.json")} == {"photo.json", "photo-2.json"}
    record = json.loads((tmp_path / "out" / "photo-2.json").read_text())
    assert [c["name"] for c in record["classes"]] == ["cat", "wooden table", "background"]


def test_bank_info(bank: Path) -> None:
    done = run("bank", "info", bank)
    assert done.exit_code == 0, done.output
    assert (
        "pairs" in done.output
        and "key 20, prototype 24" in done.output
        and "options.threshold" in done.output
    )


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


def test_stems_are_unique() -> None:
    paths = [Path(p) for p in ("a/x.jpg", "b/x.png", "x-2.jpg", "x.gif", "y.jpg")]
    assert unique_stems(paths) == ["x", "x-2", "x-2-2", "x-3", "y"]


# --- what a user can get wrong


def test_missing_file(tmp_path: Path, model: Path, bank: Path) -> None:
    done = run("segment", tmp_path / "no.jpg", "--classes", "cat", "--model", model, "--bank", bank)
    refused(done, "no.jpg: no such file")


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"not a picture at all", "not an image"), (None, "truncated")]
)
def test_unusable_photographs(
    tmp_path: Path, photo: Path, model: Path, bank: Path, content: bytes | None, says: str
) -> None:
    bad = tmp_path / "bad.jpg"
    data = photo.read_bytes()
    bad.write_bytes(data[: len(data) // 2] if content is None else content)
    done = run(
        "segment",
        bad,
        "--classes",
        "cat",
        "--model",
        model,
        "--bank",
        bank,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    refused(done, "bad.jpg", says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--classes", ""], "empty"),
        (["--classes", "  "], "empty"),
        (["--classes", "cat,,dog"], "blank"),
        (["--classes", "cat, dog, cat"], "'cat' is given twice"),
        (["--classes", "Cat,cat"], "twice"),
        ([], "--classes"),
        (["--classes", "cat", "--classes-file", "words.txt"], "either"),
        (["--classes-file", "no.txt"], "no.txt"),
        (["--classes", "cat", "--k", "0"], "k is 0"),
        (["--classes", "cat", "--local-weight", "2"], "local_weight is 2"),
        (["--classes", "cat", "--background", "sky"], "background 'sky'"),
        (["--classes", "word " * 60], "word word"),
        (["--classes", "cat", "--device", "toaster"], "toaster"),
    ],
)
def test_unusable_words_and_options(
    tmp_path: Path, photo: Path, model: Path, bank: Path, given: list[str], says: str
) -> None:
    done = run("segment", photo, *given, "--model", model, "--bank", bank, "--out", tmp_path / "out")
    refused(done, says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_empty_class_file(tmp_path: Path, photo: Path, model: Path, bank: Path, content: str) -> None:
    (tmp_path / "words.txt").write_text(content)
    done = run("segment", photo, "--classes-file", tmp_path / "words.txt", "--model", model, "--bank", bank)
    refused(done, "empty")


def test_class_file_that_is_no_text(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\x00\x80")
    refused(run("segment", photo, "--classes-file", tmp_path / "words.txt"), "words.txt", "UTF-8")


@pytest.mark.parametrize("command", ["segment", "collect"])
def test_unknown_preset(tmp_path: Path, photo: Path, command: str) -> None:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    given = [photo, "--classes", "cat"] if command == "segment" else [tmp_path / "captions.txt"]
    done = run(command, *given, "--out", tmp_path / "out", "--model", "vit-xxl")
    refused(done, "unknown model preset 'vit-xxl'", "vit-b", "miniature")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_there(tmp_path: Path, photo: Path, bank: Path, tiny_preset: Preset) -> None:
    gone = replace(tiny_preset, clip=replace(tiny_preset.clip, id=str(tmp_path / "gone")))
    done = run("segment", photo, "--classes", "cat", "--model", write_preset(tmp_path, gone), "--bank", bank)
    refused(done, "gone")


def test_no_bank_given(tmp_path: Path, photo: Path, model: Path) -> None:
    done = run("segment", photo, "--classes", "cat", "--model", model, "--out", tmp_path / "out")
    refused(done, "no bank", "freeda collect")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["models", "dimensions"])
def test_bank_of_another_preset(
    tmp_path: Path, photo: Path, bank: Path, tiny_preset: Preset, tiny_tokenizer: Any, damage: str
) -> None:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    width = 24 if damage == "models" else 16
    torch.manual_seed(9)
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        patch_size=7,
    )
    Dinov2Model(config).save_pretrained(tmp_path / "other-dense")
    other = replace(tiny_preset, dense=replace(tiny_preset.dense, id=str(tmp_path / "other-dense")))
    done = run(
        "segment",
        photo,
        "--classes",
        "cat",
        "--model",
        write_preset(tmp_path, other),
        "--bank",
        bank,
        "--out",
        tmp_path / "out",
    )
    refused(done, str(bank), "built with", "other-dense")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["segment", "info"])
def test_missing_and_half_written_banks(
    tmp_path: Path, photo: Path, model: Path, bank: Path, command: str
) -> None:
    import shutil

    def use(path: Path) -> Result:
        if command == "info":
            return run("bank", "info", path)
        return run(
            "segment", photo, "--classes", "cat", "--model", model, "--bank", path, "--out", tmp_path / "out"
        )

    refused(use(tmp_path / "none"), "none", "no such bank")
    half = tmp_path / "half"
    shutil.copytree(bank, half)
    (half / "bank.json").unlink()
    refused(use(half), "half", "half-written")
    cut = tmp_path / "cut"
    shutil.copytree(bank, cut)
    shard = next((cut / "shards").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(use(cut), "cut", shard.name)
    refused(use(photo.parent), str(photo.parent), "not a bank")
    assert not (tmp_path / "out").exists()


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """From the call number `after` on, no file reaches the disk."""
    calls = iter(range(1000))
    real = os.fsync

    def fsync(handle: int) -> None:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_no_space_while_segmenting(
    tmp_path: Path, photo: Path, model: Path, bank: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_the_disk(monkeypatch, after)
    done = run(
        "segment",
        photo,
        "--classes",
        "cat, dog",
        "--model",
        model,
        "--bank",
        bank,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    refused(done, "photo", "No space left on device")
    assert list((tmp_path / "out").iterdir()) == []


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


def test_output_folder_that_is_a_file(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    done = run(
        "segment",
        photo,
        "--classes",
        "cat",
        "--model",
        model,
        "--bank",
        bank,
        "--out",
        photo,
        "--device",
        "cpu",
    )
    refused(done, "photo.jpg")


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
