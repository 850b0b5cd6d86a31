"""Captions made of words: a bank without captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freeda.collection.captions import Caption, to_captions, word_captions
from freeda.collection.nouns import Noun, nouns_of
from freeda.errors import InputError
from freeda.options import CollectOptions
from freeda.presets import Preset

TWO = CollectOptions(word_prompts=("a photo of the {}", "the {} at night"), prompts_per_word=3)


def test_every_word_in_every_prompt_round_by_round() -> None:
    made = word_captions(["cat", "Stop  sign"], TWO)
    assert made == [
        Caption("cat/1", "a photo of the cat", "cat"),
        Caption("Stop sign/1", "a photo of the Stop sign", "Stop sign"),
        Caption("cat/2", "the cat at night", "cat"),
        Caption("Stop sign/2", "the Stop sign at night", "Stop sign"),
        Caption("cat/3", "a photo of the cat", "cat"),
        Caption("Stop sign/3", "a photo of the Stop sign", "Stop sign"),
    ]
    assert word_captions(["cat", "Stop  sign"], TWO, limit=3) == made[:3]
    assert to_captions(made) == made


def test_a_words_captions_do_not_depend_on_the_others() -> None:
    alone, among = word_captions(["cat"], TWO), word_captions(["dog", "cat", "tree"], TWO)
    assert [c for c in among if c.word == "cat"] == alone


def test_defaults_give_different_prompts() -> None:
    options = CollectOptions()
    made = word_captions(["zebra"], options)
    assert len(made) == options.prompts_per_word == len({c.text for c in made}) > 5
    assert all(nouns_of(c, "pattern")[0].lemma == "zebra" for c in made)


@pytest.mark.parametrize("word", ["scissors", "Eiffel Tower", "running", "people", "naïve art", "T-shirts"])
def test_only_the_wanted_word_is_looked_for(word: str) -> None:
    """Also one that no tagger would call a noun; a plural stays one, and every place of it counts."""
    options = CollectOptions(word_prompts=("a {}",))
    (caption,) = word_captions([word], options, limit=1)
    assert nouns_of(caption, "pattern") == [Noun(word.lower(), ((2, 2 + len(word)),))]
    twice = Caption("x", f"{word.upper()} beside {word}", word)
    (noun,) = nouns_of(twice, "pattern")
    assert [twice.text[s:e].lower() for s, e in noun.spans] == [word.lower()] * 2


def test_a_file_of_words(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\ufeff# vehicles\r\nfire engine\r\n\r\n  tram =bus;\r\nTRAM\r\n", encoding="utf-8")
    made = word_captions(file, TWO)
    assert list(dict.fromkeys(c.word for c in made)) == ["fire engine", "tram", "bus"] and made.repeated == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no word"),
        (b"# nothing\n", "holds no word"),
        (b"cat\n!?\n", "'!\\?' is no word"),
        (b"cat\na dog runs over the green meadow\n", "green meadow' is no word but a sentence"),
        (b"cat\n\xff\n", "line 2: not UTF-8"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        word_captions(file, TWO)
    assert str(file) in str(error.value)


def test_bad_words_and_options() -> None:
    with pytest.raises(InputError, match="no words"):
        word_captions([], TWO)
    with pytest.raises(InputError, match="word 1 is 3"):
        word_captions([3], TWO)  # type: ignore[list-item]
    with pytest.raises(InputError, match="word 1: not UTF-8"):
        word_captions(["cat \udc80"], TWO)
    with pytest.raises(InputError, match="limit is 0"):
        word_captions(["cat"], TWO, 0)
    with pytest.raises(InputError, match="word prompt"):
        CollectOptions(word_prompts=("a photo",))
    with pytest.raises(InputError, match="word prompt"):
        CollectOptions(word_prompts=())
    with pytest.raises(InputError, match="prompts_per_word is 0"):
        CollectOptions(prompts_per_word=0)


def test_a_bank_of_words(tmp_path: Path, tiny_preset: Preset, tiny_models: Any) -> None:
    """Horses stay horses, and the people in the prompt are nobody's business."""
    options = replace(
        tiny_preset.collect,
        word_prompts=("people and {} on the beach", "the {} in a room"),
        prompts_per_word=2,
        min_area=0.0,
        max_area=1.0,
    )
    from freeda.collection.job import collect

    kept: list[tuple[str, list[str]]] = []
    bank = collect(
        None,
        tmp_path / "bank",
        tiny_preset,
        "cpu",
        options=options,
        words=["horses", "boat"],
        models=tiny_models,
        on_picture=lambda c, image, found: kept.append((c.text, [noun.lemma for noun, _ in found])),
    )
    assert kept == [
        ("people and horses on the beach", ["horses"]),
        ("people and boat on the beach", ["boat"]),
        ("the horses in a room", ["horses"]),
        ("the boat in a room", ["boat"]),
    ]
    assert bank.meta["captions"] == 4 and set(bank.nouns) == {"horses", "boat"}


def test_repeats_left_out_are_told(
    tmp_path: Path, tiny_preset: Preset, tiny_models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from freeda.collection.job import collect

    options = replace(tiny_preset.collect, duplicates="skip")
    captions = ["a dog on the grass", "a cat", "a dog  on the grass"]
    for progress in (False, True):
        out = tmp_path / str(progress)
        bank = collect(
            captions, out, tiny_preset, "cpu", options=options, progress=progress, models=tiny_models
        )
        assert bank.meta["captions"] == 2
        assert ("left out 1 whose text was there before" in capsys.readouterr().out) == progress
