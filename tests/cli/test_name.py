"""`freeda name`: the tree, the files of `freeda segment`, and one line for what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import refused, run
from freeda.bank import Bank
from freeda.miniature.scenes import HELD_OUT, render
from freeda.show import write_image
from small_banks import make_bank, make_pair


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    for i in range(2):
        write_image(tmp_path / "in" / f"scene{i}.png", render(HELD_OUT, i).picture(1))
    return tmp_path / "in"


def test_one_scene_and_a_folder(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        "name", scenes / "scene0.png", "--out", out, "--export", "labelme", "--npz", "--explain", "5,5"
    )
    assert done.exit_code == 0, done.output
    record = json.loads((out / "scene0.json").read_text())
    assert {"labels", "overlay"} < set(record) and record["tree"]["areas"]
    for area in record["tree"]["areas"]:
        assert f"{area['name']} " in done.output
    assert " regions" in done.output and "pixel 5,5" in done.output
    assert {p.name for p in out.glob("[!.]*")} == {
        *("scene0.json", "scene0.labels.png", "scene0.overlay.jpg", "scene0.labelme.json", "scene0.npz"),
        "scene0.explain-5-5.png",
    }
    done = run("name", scenes, "--out", out, "--profile", "--dataset", "yolo")
    assert done.exit_code == 0 and "1 already there, 1 labelled" in done.output, done.output
    assert "  0: " in (out / "yolo" / "data.yaml").read_text()  # one list for both
    assert "naming" in done.output and (out / "shares.csv").read_text().startswith("image,width,height")
    assert run("name", scenes, "--out", out, "--set", "naming.votes=0.4").output.count(" labelled") == 1


def test_unhappy_paths(scenes: Path, tmp_path: Path, model: Path, bank: Path) -> None:
    scene = scenes / "scene0.png"
    refused(run("name"), "name the photographs")
    refused(run("name", tmp_path / "none.png"), "none.png")
    refused(run("name", scene, "--model", "vit-b"), "'vit-b'", "--bank", "freeda collect", "freeda segment")
    refused(run("name", scene, "--bank", tmp_path / "nothing"), "nothing")
    refused(run("name", scene, "--bank", bank, "--out", tmp_path / "o"), "built with", "miniature")
    blank = make_bank(tmp_path / "blank", [[make_pair(0, noun="")]], models=Bank.open(bank).meta["models"])
    refused(run("name", scene, "--model", model, "--bank", blank.path), "no row has a noun")
    refused(run("name", scene, "--set", "naming.votes=2"), "votes is 2")
    refused(run("name", scene, "--set", "naming.voters=2"), "naming.voters")
    refused(run("name", scene, "--export", "yolo", "--out", tmp_path / "o"), "yolo numbers classes")
    assert not (tmp_path / "o").exists()


def test_a_bank_of_random_models(photo: Path, model: Path, bank: Path, tmp_path: Path) -> None:
    done = run("name", photo, "--model", model, "--bank", bank, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "photo.json").read_text())["models"]["score"] == "near"
