"""Lessons: kept, taken back, read again after any stop, and refused where damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.bank import Bank
from freeda.bank.merge import merge
from freeda.bank.taught import Taught
from freeda.bank.verify import find_damage
from freeda.errors import BankError, InputError

MODELS = {"clip": {"id": "a/clip"}, "clip_dim": 4, "dense": {"id": "a/dense"}, "dense_dim": 3}


def vectors(seed: int = 0, value: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    key, own = rng.standard_normal((2, 4))
    unit = key / np.linalg.norm(key)
    return {
        "key": unit,
        "prototype": rng.standard_normal(3),
        "value": own / np.linalg.norm(own) if value else None,
    }


def words(taught: Taught) -> list[str]:
    return [lesson.word for lesson in taught.lessons]


@pytest.mark.parametrize("kept", [True, False])
def test_lessons_hold_until_taken_back(tmp_path: Path, kept: bool) -> None:
    taught = Taught(tmp_path / "lessons.jsonl" if kept else None)
    assert taught.undo() is None and taught.redo() is None and len(taught) == 0
    for i, word in enumerate(("cat", "dog", "cow")):
        assert taught.add(MODELS, word, f"{i}.jpg", 0.25, **vectors(i, i != 1)).id == str(i + 1)
    assert words(taught) == ["cat", "dog", "cow"] and taught.version == 3
    assert taught.undo().word == "cow" and taught.undo("1").word == "cat"  # type: ignore[union-attr]
    assert words(taught) == ["dog"] and taught.undo("1") is None
    assert taught.redo().word == "cat" and words(taught) == ["dog", "cat"]  # type: ignore[union-attr]
    taught.add(MODELS, "hen", "3.jpg", 0.5, **vectors(3))
    assert taught.redo() is None and words(taught) == ["dog", "cat", "hen"]
    if kept:
        again = Taught(tmp_path / "lessons.jsonl")
        assert (words(again), again.version, again.models) == (words(taught), 7, MODELS)
        for one, other in zip(again.lessons, taught.lessons, strict=True):
            assert np.array_equal(one.prototype, other.prototype) and np.array_equal(one.key, other.key)
            assert (one.value is None) == (other.value is None) and one.picture == other.picture
        assert again.undo().word == "hen" and again.redo().word == "hen"  # type: ignore[union-attr]


def test_any_stop_loses_no_lesson_that_was_told(tmp_path: Path) -> None:
    """Whatever a stopped process left of the last line: what came before it is there, and goes on."""
    path = tmp_path / "lessons.jsonl"
    taught, whole = Taught(path), []
    for i in range(3):
        taught.add(MODELS, f"word {i}", "a.jpg", 0.1, **vectors(i))
        whole.append(path.stat().st_size)
    data = path.read_bytes()
    for cut in (whole[0] - 1, whole[1], whole[1] + 1, whole[1] + 200, whole[2] - 1):
        path.write_bytes(data[:cut])
        there = sum(cut >= size for size in whole)
        again = Taught(path)
        assert len(again) == there
        again.add(MODELS, "new", "b.jpg", 0.2, **vectors(9))
        assert words(Taught(path))[-1] == "new" and len(Taught(path)) == there + 1


def test_reading_changes_no_file(tmp_path: Path) -> None:
    """A line that is being written by another process looks torn: who only reads must not cut it off."""
    path = tmp_path / "lessons.jsonl"
    Taught(path).add(MODELS, "cat", "a.jpg", 0.1, **vectors())
    data = path.read_bytes() + b'{"teach": {"id'
    path.write_bytes(data)
    assert len(Taught(path)) == 1 and path.read_bytes() == data


@pytest.mark.parametrize("wrong", [5, ["a.jsonl"], "s3://bucket/lessons.jsonl"])
def test_what_is_no_file_is_told(wrong: Any) -> None:
    with pytest.raises(InputError, match="is no file of lessons"):
        Taught(wrong)


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "lessons.jsonl"
    one, other = Taught(path), Taught(path)
    one.add(MODELS, "cat", "a.jpg", 0.1, **vectors())
    kept = path.read_bytes()
    with pytest.raises(InputError, match=r"lessons\.jsonl: something else has written"):
        other.add(MODELS, "dog", "a.jpg", 0.1, **vectors(1))
    assert path.read_bytes() == kept and len(other) == 0
    path.unlink()
    with pytest.raises(InputError, match=r"lessons\.jsonl: cannot be written"):
        one.undo()
    assert words(one) == ["cat"] and not path.exists()
    line = kept.splitlines(keepends=True)[1]
    path.write_bytes(kept + line)  # as two that did not look would leave it
    with pytest.raises(
        BankError, match=r"lessons\.jsonl: line 3 is damaged.*lesson 1 is told after lesson 1"
    ):
        Taught(path)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lessons.jsonl"
    taught = Taught(path)
    taught.add(MODELS, "cat", "a.jpg", 0.1, **vectors())
    kept = path.read_bytes()
    with monkeypatch.context() as full:
        full.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(InputError, match="No space left"):
            taught.add(MODELS, "dog", "a.jpg", 0.1, **vectors(1))
    assert path.read_bytes() == kept and words(taught) == ["cat"]
    taught.add(MODELS, "cow", "a.jpg", 0.1, **vectors(2))
    assert words(Taught(path)) == ["cat", "cow"]


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lessons.jsonl"
    taught = Taught(path)
    taught.add(MODELS, "cat", "a.jpg", 0.1, **vectors())
    taught.add(MODELS, "dog", "a.jpg", 0.1, **vectors(1))
    data = path.read_bytes()
    for wrong in (
        data.replace(b'"cat"', b'"cot"'),
        data.replace(b'"version": 1', b'"version": 2'),
        b'{"some": "json"}\n' + data,
        b"[]\n",
        b"\xff\xfe\n",
        data.split(b"\n", 1)[1],
    ):
        path.write_bytes(wrong)
        with pytest.raises(BankError, match=r"lessons\.jsonl: line \d+ is damaged"):
            Taught(path)
        assert path.read_bytes() == wrong


def test_other_models_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    taught = Taught(tmp_path / "lessons.jsonl")
    with pytest.raises(InputError, match=r"a\.jpg: .* not finite"):
        taught.add(MODELS, "cat", "a.jpg", 0.1, **vectors() | {"prototype": np.array([1, np.nan, 2])})
    assert len(taught) == 0 and not (tmp_path / "lessons.jsonl").exists()
    taught.add(MODELS, "cat", "a.jpg", 0.1, **vectors())
    with pytest.raises(InputError, match="b/clip is loaded"):
        taught.add(MODELS | {"clip": {"id": "b/clip"}}, "cat", "a.jpg", 0.1, **vectors())


def test_as_a_bank(tmp_path: Path) -> None:
    """References from pictures, as `freeda bank add-images` makes them."""
    taught = Taught()
    with pytest.raises(BankError, match="no lessons"):
        taught.to_bank(tmp_path / "bank")
    for i, word in enumerate(("Cat", "dog", "cow")):
        taught.add(MODELS, word, f"{i}.jpg", 0.25, **vectors(i))
    taught.undo("2")
    bank = Bank.open(taught.to_bank(tmp_path / "bank"))
    assert list(bank.nouns) == ["cat", "cow"] and bank.real.tolist() == [0, 1]
    assert bank.row(1)["caption"] == "2.jpg" and bank.row(1)["area"] == 0.25
    assert np.array_equal(bank.prototypes[0], np.float16(vectors(0)["prototype"]))
    assert not [*find_damage(tmp_path / "bank")]
    with pytest.raises(InputError, match="is there already"):
        taught.to_bank(tmp_path / "bank")


def test_lessons_of_two_people_outlive_a_merge(tmp_path: Path) -> None:
    """Of another place they are no copies, whatever their numbers, words and pictures are called."""
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        taught = Taught()
        taught.add(MODELS, "cat", "image", 0.25, **vectors(seed))
        taught.to_bank(tmp_path / name)
    merge([tmp_path / name for name in "abc"], tmp_path / "all")
    assert Bank.open(tmp_path / "all").prototypes.shape == (2, 3)
