"""`freeda bank add-images`, and segmenting with what it made."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import refused, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(2):
        for name in ("images", "masks"):
            (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 64, 3), dtype=np.uint8)).save(
            tmp_path / "own" / "images" / f"{i}.jpg"
        )
        values = np.repeat(np.array([[1, 2]], np.uint8), 32, axis=1).repeat(40, axis=0)
        Image.fromarray(values).save(tmp_path / "own" / "masks" / f"{i}.png")
    (tmp_path / "own" / "names.json").write_text(json.dumps({"1": "okapi", "2": "zamboni"}))
    return tmp_path / "own"


def test_references_then_a_photograph(tmp_path: Path, folder: Path, model: Path, photo: Path) -> None:
    out = tmp_path / "refs"
    done = run("bank", "add-images", folder, "--out", out, "--model", model, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert f"{folder / 'names.json'}: 1 = okapi, 2 = zamboni" in done.stdout
    assert "4 references from 2 pictures" in done.stdout
    assert "bank of 4 pairs" in done.stdout and "min_similarity" not in done.stdout  # they count by design
    again = run("bank", "add-images", folder, "--out", out, "--model", model, "--device", "cpu")
    assert again.exit_code == 0 and "0 references from 0 pictures, 4 there already" in again.stdout
    assert run("bank", "verify", out).exit_code == 0 and run("bank", "info", out).exit_code == 0
    done = run(
        *("segment", photo, "--classes", "okapi, zamboni", "--model", model, "--bank", out),
        *("--out", tmp_path / "out", "--explain", "3,4"),
    )
    assert done.exit_code == 0 and done.stdout.count("nearest of 2 references") == 2, done.output


def test_added_to_a_collected_bank(tmp_path: Path, folder: Path, model: Path, bank: Path) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(bank, mine)
    done = run("bank", "add-images", folder, "--out", mine, "--model", model, "--shots", 1, "--keep-images")
    assert done.exit_code == 0 and "2 references" in done.stdout, done.output
    assert run("bank", "verify", mine).exit_code == 0


def test_files_of_other_tools(tmp_path: Path, folder: Path, model: Path) -> None:
    box = [0, 0, 32, 0, 32, 40, 0, 40]
    parts = [{"image_id": i, "category_id": 1, "segmentation": [box]} for i in (0, 1, 2)]
    images = [{"id": i, "file_name": f"C:\\data\\{i}.jpg", "width": 64, "height": 40} for i in (0, 1, 2)]
    about = {"images": images, "annotations": [*parts, parts[0] | {"segmentation": []}]}
    (folder / "coco.json").write_text(json.dumps({**about, "categories": [{"id": 1, "name": "Okapi"}]}))
    use = ("bank", "add-images", folder, "--out", tmp_path / "refs", "--model", model, "--format", "coco")
    done = run(*use)
    assert done.exit_code == 0 and "2 references from 2 pictures" in done.stdout, done.output
    assert f"{folder / 'coco.json'}: COCO" in done.stdout and "1 masks without a picture" in done.stdout
    assert "left out: 1 annotations without a mask" in done.stdout.replace("\n", " ")
    again = run(*use)
    assert again.exit_code == 0 and "0 references from 0 pictures, 2 there already" in again.stdout
    refused(run(*use[:-1], "voc"), "there is no format 'voc'")
    held = base64.b64encode((folder / "images" / "0.jpg").read_bytes()).decode()
    shapes = [{"label": "zamboni", "points": [[0, 0], [31, 39]], "shape_type": "rectangle"}]
    about = {
        "shapes": shapes,
        "imagePath": "gone.jpg",
        "imageData": held,
        "imageHeight": 40,
        "imageWidth": 64,
    }
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "a.json").write_text(json.dumps(about))
    done = run("bank", "add-images", tmp_path / "held", *use[3:-2])
    assert done.exit_code == 0 and "1 reference from 1 picture" in done.stdout, done.output
    assert f"{tmp_path / 'held' / 'a.json'}: LabelMe" in done.stdout and "bank of 3 pairs" in done.stdout
    refused(run(*use, "--ignore", 3), "--ignore means nothing to COCO")


def test_refusals(tmp_path: Path, folder: Path, model: Path) -> None:
    def use(*more: object, source: Path = folder) -> None:
        nonlocal done
        done = run("bank", "add-images", source, "--out", tmp_path / "refs", "--model", model, *more)

    done = run("--version")
    use("--set", "steps=3")
    refused(done, "'steps' means nothing to pictures with masks", "min_area")
    use("--set", "min_area=2")
    refused(done, "min_area")
    use(source=tmp_path / "none")
    refused(done, "none", "no such folder")
    use("--names", tmp_path / "none.json")
    refused(done, "none.json", "no such names file")
    use("--shots", 0)
    refused(done, "shots is 0")
    use("--ignore", 1, "--ignore", 2)
    refused(done, "own: gives no reference: its masks hold no class")
    (folder / "names.json").write_text(json.dumps({"1": "okapi"}))
    use()
    refused(done, "0.png: holds value 2", "--ignore 2")
    assert not (tmp_path / "refs").exists()
