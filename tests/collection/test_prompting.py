"""What is drawn for a word: captions that hold it, else prompts, never one that was used."""

from __future__ import annotations

from pathlib import Path

import pytest

from freeda.collection.captions import prompts_for
from freeda.errors import InputError
from freeda.options import CollectOptions

OPTIONS = CollectOptions(word_prompts=("a photo of the {}", "the {} at night"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "captions.txt"
    path.write_text(
        "A Cat on a mat\na category of things\nthe fire engine is red\na  cat on a mat\na fire by night\n"
        "A Cat on a mat\ntwo cats\na cat and a fire\na fire-red cat\n"
    )
    return path


def test_prompts_are_those_of_a_word_list() -> None:
    found = prompts_for(["cat"], 3, {}, OPTIONS)
    assert [(c.id, c.text, c.word) for c in found["cat"]] == [
        ("cat/1", "a photo of the cat", "cat"),
        ("cat/2", "the cat at night", "cat"),
        ("cat/3", "a photo of the cat", "cat"),
    ]


def test_what_was_used_is_passed_over() -> None:
    found = prompts_for(["cat", "dog"], 2, {"cat": {"cat/1", "cat/3"}}, OPTIONS)
    assert [c.id for c in found["cat"]] == ["cat/2", "cat/4"] and [c.id for c in found["dog"]] == [
        "dog/1",
        "dog/2",
    ]


def test_captions_that_hold_the_word_come_first(file: Path) -> None:
    found = prompts_for(["cat", "fire", "fire engine"], 3, {}, OPTIONS, file)
    assert [c.text for c in found["cat"]] == ["A Cat on a mat", "a cat on a mat", "a cat and a fire"]
    # "fire" inside "fire engine" is another word; three captions hold it by itself.
    assert [c.text for c in found["fire"]] == ["a fire by night", "a cat and a fire", "a fire-red cat"]
    engine = found["fire engine"]
    assert engine[0].text == "the fire engine is red"
    assert [c.id for c in engine[1:]] == ["fire engine/1", "fire engine/2"]  # filled up with prompts
    ids = [c.id for captions in found.values() for c in captions]
    assert len(set(ids)) == len(ids) == 9


def test_a_captions_id_is_made_of_its_text(file: Path, tmp_path: Path) -> None:
    (first, *_) = prompts_for(["cat"], 1, {}, OPTIONS, file)["cat"]
    other = tmp_path / "other.csv"
    other.write_text("id,caption\n99,a dog\n12,A Cat  on a mat\n")
    again = prompts_for(["cat"], 1, {}, OPTIONS, other)["cat"]
    assert [c.id for c in again] == [first.id]
    used = prompts_for(["cat"], 1, {"cat": {first.id}}, OPTIONS, other)["cat"]
    assert [c.id for c in used] == ["cat/1"]


def test_the_file_is_read_no_further_than_needed(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes(b"a cat\n" * 3 + b"another cat\n" + b"x" * 200_000 + b"\n" + b"\xff\xfe\x00bad\n")
    assert [c.text for c in prompts_for(["cat"], 2, {}, OPTIONS, path)["cat"]] == ["a cat", "another cat"]
    with pytest.raises(InputError, match=r"captions\.txt"):
        prompts_for(["dog"], 2, {}, OPTIONS, path)


@pytest.mark.parametrize("word", ["", "...", "one two three four five six seven"])
def test_no_words(word: str) -> None:
    with pytest.raises(InputError, match="word"):
        prompts_for([word], 1, {}, OPTIONS)
