"""`freeda export` and `freeda segment --export`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import refused, run
from export_readers import read_geojson, read_yolo
from freeda.references.formats import open_annotated
from freeda.segment import Segmentation


@pytest.fixture
def kept(model: Path, bank: Path, photo: Path, tmp_path: Path) -> Path:
    """A photograph labelled by the command with some exports."""
    out = tmp_path / "out"
    args = ["--classes", "cat, dog", "--model", model, "--bank", bank, "--out", out, "--device", "cpu"]
    done = run("segment", photo, *args, "--npz", "--export", "yolo", "--export", "geojson")
    assert done.exit_code == 0, done.output
    ends = ("geojson", "json", "labels.png", "npz", "overlay.jpg", "txt")
    assert sorted(p.name for p in out.glob("[!.]*")) == [f"photo.{end}" for end in ends]
    return out / "photo.npz"


def test_the_same_files_either_way(kept: Path, tmp_path: Path) -> None:
    done = run("export", kept, "--to", "yolo", "--to", "geojson", "--to", "labels", "--out", tmp_path / "b")
    assert done.exit_code == 0, done.output
    for name in ("photo.txt", "photo.geojson", "photo.labels.png"):
        assert (tmp_path / "b" / name).read_bytes() == kept.with_name(name).read_bytes(), name
        assert str(tmp_path / "b" / name) in done.output
    labels = np.asarray(Image.open(kept.with_name("photo.labels.png")))
    np.testing.assert_array_equal(read_yolo(tmp_path / "b" / "photo.txt", labels.shape), labels)
    np.testing.assert_array_equal(read_geojson(tmp_path / "b" / "photo.geojson", labels.shape)[0], labels)


def test_data_sets(model: Path, bank: Path, photo: Path, tmp_path: Path) -> None:
    """One of all photographs, of what was labelled before as well; read by our own import."""
    (tmp_path / "in" / "b").mkdir(parents=True)
    for name in ("photo.png", "b/photo.png"):
        (tmp_path / "in" / name).write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    use = ("segment", tmp_path / "in", "-r", "--classes", "cat, dog", "--model", model, "--bank", bank)
    use += ("--out", out, "--device", "cpu")
    assert run(*use).exit_code == 0
    done = run(*use, "--dataset", "yolo", "--dataset", "coco-panoptic")
    assert done.exit_code == 0 and "2 already there" in done.stdout, done.output
    assert f"data set: {out / 'yolo'}" in done.stdout.replace("\n", "")
    for kind in ("yolo", "coco-panoptic"):
        folder = open_annotated(out / kind)
        names = [Path(picture.name).name for picture in folder.pairs.pictures]
        assert names == ["photo-2.png", "photo.png"]
        for picture in folder.pairs.pictures:
            labels = np.asarray(Image.open(out / f"{Path(picture.name).stem}.labels.png"))
            masks = folder.masks(picture)
            assert sum(mask.sum() for mask in masks.values()) == labels.size
            for name, mask in masks.items():
                np.testing.assert_array_equal(mask, labels == ["cat", "dog"].index(name))
    refused(run(*use, "--dataset", "yolo"), "yolo: this data set is there already")
    refused(run(*use, "--dataset", "voc"), "there is no data set 'voc'")
    Image.fromarray(labels[:-1]).save(out / "photo.labels.png")
    refused(
        run(*use, "--dataset", "labels"), "photo.labels.png: is not the label map that photo.json tells of"
    )
    assert not (out / "labels").exists()


def test_beside_the_file_and_simplified(kept: Path) -> None:
    assert run("export", kept, "--to", "svg").exit_code == 0
    exact = kept.with_suffix(".svg").read_bytes()
    assert run("export", kept, "--to", "svg", "--tolerance", "2").exit_code == 0
    assert kept.with_suffix(".svg").read_bytes() != exact


def test_bad_input_is_one_line(kept: Path, tmp_path: Path, model: Path, photo: Path) -> None:
    (tmp_path / "x.npz").write_text("no npz")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "photo.txt").write_text("a caption")
    cases: list[tuple[list[Any], str]] = [
        (["export", kept, "--to", "yolo", "--out", tmp_path / "d"], "photo.txt: not written over, since"),
        (["export", kept, "--to", "psd"], "there is no export 'psd'"),
        (["export", kept, "--to", "npz"], "this very npz file"),
        (["export", tmp_path / "gone.npz", "--to", "svg"], "gone.npz: no such file"),
        (["export", tmp_path / "x.npz", "--to", "svg"], "not a saved segmentation"),
        (["export", kept, kept, "--to", "svg", "--out", tmp_path / "c"], "two of these are called photo"),
        (["segment", photo, "--classes", "a", "--export", "psd", "--model", model], "there is no export"),
    ]
    for arguments, told in cases:
        done = run(*arguments)
        assert done.exit_code == 2 and told in done.output and done.output.count("error:") == 1, done.output
        named = sum(
            done.output.count(str(path)) for path in (kept, tmp_path / "gone.npz", tmp_path / "x.npz")
        )
        assert named <= 1, done.output  # one line, and the file's name in it once


def test_no_model_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from freeda.cli import app\n"
        "try: app(['export', sys.argv[1], '--to', 'svg'])\n"
        "except SystemExit as e: print(e.code, 'transformers' in sys.modules)"
    )
    names, options = ("a",), __import__("freeda.options", fromlist=["x"]).SegmentOptions()
    result = Segmentation(np.zeros((3, 4), np.int32), names, options, cut=np.zeros((3, 4), np.int64))
    path = result.save_npz(tmp_path / "p.npz", keep="labels")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
