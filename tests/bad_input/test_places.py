"""Places that results cannot be written to, and paths of any bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bad_input.common import NOISE, WORDS, one_line
from commands import fill_the_disk
from freeda.errors import InputError


def test_places_that_cannot_be_written(tmp_path: Path, photo: Path, tiny_model: Any) -> None:
    result = tiny_model.segment(NOISE, WORDS)
    for place, says in (
        (photo, "photo.png"),
        (photo / "below", "photo.png"),
        ("a\0b", "NUL"),
        ("a\ud800", "disk"),
    ):
        with pytest.raises(InputError) as caught:
            result.save(place)
        one_line(caught.value, says)
    for stem, says in (("x" * 300, "File name too long"), ("a/b", "not a file name")):
        with pytest.raises(InputError) as caught:
            result.save(tmp_path / "out", stem)
        one_line(caught.value, says)
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_a_full_disk(tmp_path: Path, tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tiny_model.segment(NOISE, WORDS)
    fill_the_disk(monkeypatch, after=1)
    with pytest.raises(InputError, match="No space left on device"):
        result.save(tmp_path / "out", "x")
    with pytest.raises(InputError, match="No space left on device"):
        result.save_npz(tmp_path / "out" / "x.npz")
    assert not list((tmp_path / "out").glob("[!.]*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_may_not_be_read_or_written(tmp_path: Path, photo: Path, tiny_model: Any) -> None:
    photo.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        tiny_model.encode(photo)
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(InputError, match="Permission denied"):
        tiny_model.segment(NOISE, WORDS).save(tmp_path / "out")


def test_a_photograph_whose_name_is_no_text(tmp_path: Path, tiny_model: Any) -> None:
    """File names are bytes on Linux; one that is not UTF-8 comes through the record unharmed."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        Image.fromarray(NOISE).save(path)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    result = tiny_model.segment(path, WORDS)
    files = result.save(tmp_path / "out")
    assert json.loads(files["json"].read_text("utf-8"))["image"] == str(path)
    assert type(result).load_npz(result.save_npz(tmp_path / "x.npz")).source == str(path)
