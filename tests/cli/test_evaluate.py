"""`freeda evaluate`: figures and files, options and their refusals, interruption."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import freeda.evaluation.job
from commands import refused, run
from freeda.errors import InputError
from waiting import wait_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine small photographs with masks of two classes and a background."""
    place, rng = tmp_path_factory.mktemp("annotated"), np.random.default_rng(0)
    for part in ("images", "masks"):
        (place / part).mkdir()
    for i in range(9):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(place / f"images/{i}.png")
        mask = np.kron(rng.integers(0, 3, (4, 5), dtype=np.uint8), np.ones((10, 10), np.uint8))
        Image.fromarray(mask).save(place / f"masks/{i}.png")
    (place / "names.json").write_text(json.dumps({"0": "background", "1": "cat", "2": "tree"}))
    return place


def test_a_folder_of_one_s_own(tmp_path: Path, folder: Path, model: Path, bank: Path) -> None:
    out = tmp_path / "out"
    given = ("evaluate", "folder", "--data", folder, "--preset", model, "--bank", bank, "--device", "cpu")
    done = run(*given, "--out", out, "--limit", 3)
    assert done.exit_code == 0, done.output
    assert f"{folder / 'names.json'}: 0 = background, 1 = cat, 2 = tree" in done.stdout
    assert "mIoU" in done.output and "report.md" in done.output and "not the protocol" not in done.output
    told = json.loads((out / "report.json").read_text())
    assert told["images"] == 3 and (out / "report.md").exists() and (out / "confusion.png").exists()
    longer = run(*given, "--out", out)
    assert longer.exit_code == 0 and json.loads((out / "report.json").read_text())["images"] == 9
    assert sorted(p.name for p in (out / "parts").iterdir()) == ["00000-3.npz", "00000-8.npz", "00001-1.npz"]
    other = run(*given, "--out", out, "--set", "k=2")
    refused(other, str(out), "options.k was 5, now 2", "--no-resume")
    anew = run(*given, "--out", out, "--set", "k=2", "--set", "superpixels.scale=30", "--no-resume")
    assert anew.exit_code == 0, anew.output
    assert "not the protocol: k is 2, not 5" in anew.output
    assert "not the protocol: superpixels.scale is 30.0, not 20.0" in anew.output


def test_how_to_draw_means_nothing_where_nothing_is_drawn(tmp_path: Path) -> None:
    done = run("evaluate", "miniature", "--out", tmp_path / "out", "--draw", "steps=5")
    refused(done, "--draw", "--grow")


def test_bad_files_are_named_before_anything_is_loaded(
    tmp_path: Path, folder: Path, model: Path, bank: Path
) -> None:
    given = ("evaluate", "folder", "--model", model, "--bank", bank, "--out", tmp_path / "out")
    broken = tmp_path / "broken"
    for part in ("images", "masks"):
        (broken / part).mkdir(parents=True)
        for path in (folder / part).iterdir():
            (broken / part / path.name).write_bytes(path.read_bytes())
    (broken / "names.json").write_bytes((folder / "names.json").read_bytes())
    (broken / "masks/5.png").write_bytes((folder / "masks/5.png").read_bytes()[:60])
    refused(run(*given, "--data", broken), "masks/5.png")
    assert not list((tmp_path / "out/parts").iterdir()) and not (tmp_path / "out/vocabulary.npz").exists()
    few = run(*given, "--data", broken, "--bank", bank, "--limit", 3, "--device", "cpu")
    assert few.exit_code == 0, few.output  # what is not measured is not checked
    (broken / "masks/5.png").unlink()
    refused(run(*given, "--data", broken), "5.png: has no mask")


def test_every_option_reaches_the_job(
    tmp_path: Path, folder: Path, model: Path, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def job(*given: Any, **more: Any) -> None:
        names = list(inspect.signature(evaluate).parameters)
        seen.update(dict(zip(names, given, strict=False)) | more)
        raise InputError("that is all")

    class Grown:
        bank = "grown"

    def ready_model(loaded: Any, base: Any, names: list[str], how: Any) -> type[Grown]:
        seen["grown"] = (names, how.yes, how.preset.segment.k)
        seen["drawn"] = (how.preset.collect.steps, how.usual.collect.steps, how.images, how.dtype)
        return Grown

    evaluate = freeda.evaluation.job.evaluate
    monkeypatch.setattr(freeda.evaluation.job, "evaluate", job)
    (tmp_path / "two.txt").write_text("0 background\n1 Katze\n2 Baum\n")
    (folder / "few.txt").write_text("3\n4\n")
    given = ("evaluate", "folder", "--data", folder, "--model", model, "--bank", bank, "--split", "few")
    given += ("--classes", tmp_path / "two.txt", "--out", tmp_path / "o", "--limit", 7, "--workers", 2)
    given += ("--device", "cpu", "--dtype", "bfloat16", "--set", "k=3", "--no-resume")
    given += ("--engine", "ray", "--gpus-per-worker", 0.5)
    refused(run(*given), "that is all")
    options = seen.pop("options")
    assert options.k == 3 and options.background == "local"  # the user's, and the protocol's
    assert seen.pop("model").segment.k != 3  # what is a change is told apart from the preset
    assert seen == {
        **{"dataset": "folder", "data": folder, "out": tmp_path / "o", "bank": bank, "device": "cpu"},
        **{"limit": 7, "split": "few", "classes": tmp_path / "two.txt", "workers": 2, "dtype": "bfloat16"},
        **{"resume": False, "engine": "ray", "gpus_per_worker": 0.5, "progress": True},
    }
    monkeypatch.setattr("freeda.cli.growing.ready_model", ready_model)
    drawing = ("--draw", "steps=9", "--images-per-word", 4)
    refused(run(*given, "--grow", "--yes", *drawing), "that is all")
    assert seen["bank"] == "grown" and seen["grown"] == (["katze", "baum"], True, 3)
    assert seen["drawn"] == (9, 2, 4, "bfloat16")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("voc20",), "--data DIR"),
        (("voc20", "--data", "nowhere"), "JPEGImages"),
        (("vox20",), "voc20, voc21"),
        (("miniature", "--model", "vit-b", "--set", "method=freeda"), "needs a bank"),
        (("miniature", "--set", "k"), "NAME=VALUE"),
        (("miniature", "--set", "background=local"), "has no background"),
        (("miniature", "--split", "val"), "number of a seed"),
        (("miniature", "--bank", "nowhere"), "nowhere"),
        (("miniature", "--workers", "0"), "workers is 0"),
        (("miniature", "--device", "abacus"), "abacus"),
        (("miniature", "--dtype", "float8"), "float8"),
    ],
)
def test_refusals(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    refused(run("evaluate", *arguments, "--out", tmp_path / "out"), says)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="no signals here")
@pytest.mark.slow
def test_ctrl_c(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = (
        "-m",
        "freeda",
        "evaluate",
        "miniature",
        "--limit",
        "5000",
        "--out",
        str(out),
        "--device",
        "cpu",
    )
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(out.glob("parts/*.npz")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert len(errors.splitlines()) == 1 and "the same command goes on" in errors
    assert not list(out.rglob("*.tmp")) and not (out / ".lock").exists()
