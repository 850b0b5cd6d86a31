"""`freeda segment`: what it writes and prints, and one clear line for everything a user can get wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from commands import fill_the_disk, refused, run, write_preset
from freeda.presets import Preset


def segmented(photo: Path, model: Path, bank: Path, out: Path, *more: object) -> Result:
    return run("segment", photo, "--model", model, "--bank", bank, "--out", out, "--device", "cpu", *more)


def test_segment_writes_and_prints(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    words = ("--classes", "cat, wooden table,tree", "--k", 3)
    done = segmented(photo, model, bank, tmp_path / "out", *words)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "out").glob("[!.]*")) == [
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
    alone = 'cat is the only word, so it gets every pixel: --others "everything else" gives'
    for more, told in ([], 1), (["--others", "rest"], 0), (["--background", "constant"], 0):
        one = segmented(photo, model, bank, tmp_path / "out", "--classes", "cat", *more).output
        assert " ".join(one.split()).count(alone) == told, one
    assert alone not in done.output


def test_classes_from_a_file_and_many_photographs(
    tmp_path: Path, photo: Path, model: Path, bank: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\ufeff# my words\ncat\n\n  wooden table \n", encoding="utf-8")
    (tmp_path / "b").mkdir()
    Image.new("L", (50, 70)).save(tmp_path / "b" / "photo.png")
    more = (tmp_path / "b" / "photo.png", "--classes-file", words, "--background", "constant")
    done = segmented(photo, model, bank, tmp_path / "out", *more)
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "out").glob("*.json")} == {"photo.json", "photo-2.json"}
    record = json.loads((tmp_path / "out" / "photo-2.json").read_text())
    assert [c["name"] for c in record["classes"]] == ["cat", "wooden table", "background"]


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
    done = segmented(bad, model, bank, tmp_path / "out", "--classes", "cat")
    refused(done, "bad.jpg", says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--classes", ""], "empty"),
        (["--classes", "  "], "empty"),
        (["--classes", ",;"], "empty"),
        (["--classes", "cat=,dog"], "blank"),
        (["--classes", "words.txt"], "--classes-file FILE"),
        (["--classes", "cat, dog, cat"], "'cat' is given twice"),
        (["--classes", "Cat,cat"], "twice"),
        ([], "--classes"),
        (["--classes", "cat", "--classes-file", "words.txt"], "both given"),
        (["--classes-file", "no.txt"], "no.txt"),
        (["--classes", "cat", "--k", "0"], "k is 0"),
        (["--classes", "cat", "--local-weight", "2"], "local_weight is 2"),
        (["--classes", "cat", "--background", "sky"], "'sky'"),
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
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\x00")
    refused(run("segment", photo, "--classes-file", tmp_path / "words.txt"), "words.txt", "UTF-8")


def test_weights_that_are_not_there(tmp_path: Path, photo: Path, bank: Path, tiny_preset: Preset) -> None:
    gone = replace(tiny_preset, clip=replace(tiny_preset.clip, id=str(tmp_path / "gone")))
    done = run("segment", photo, "--classes", "cat", "--model", write_preset(tmp_path, gone), "--bank", bank)
    refused(done, "gone")


def test_no_bank_given(tmp_path: Path, photo: Path, model: Path) -> None:
    given = ("segment", photo, "--classes", "cat", "--model", model, "--out", tmp_path / "out")
    done = run(*given)
    assert done.exit_code == 0 and "no bank: labelled by" in done.output, done.output
    refused(run(*given, "--again", "--set", "method=freeda"), "needs a bank", "freeda collect")
    refused(run(*given, "--again", "--set", "method=values"), "bank of region values")


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
    done = segmented(photo, write_preset(tmp_path, other), bank, tmp_path / "out", "--classes", "cat")
    refused(done, str(bank), "built with", "other-dense")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("after", [0, 1, 2])
def test_no_space_while_segmenting(
    tmp_path: Path, photo: Path, model: Path, bank: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_the_disk(monkeypatch, after)
    done = segmented(photo, model, bank, tmp_path / "out", "--classes", "cat, dog")
    refused(done, "out", "No space left on device")
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_output_folder_that_is_a_file(tmp_path: Path, photo: Path, model: Path, bank: Path) -> None:
    done = segmented(photo, model, bank, photo, "--classes", "cat")
    refused(done, "photo.jpg")
