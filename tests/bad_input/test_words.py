"""Class names from the usual to the absurd: each gives the right result or one clear error."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bad_input.common import NOISE, one_line
from commands import refused, run
from freeda.collection.names import word_list
from freeda.errors import InputError

# The labels' names, or what the error says.
NAMES: dict[str, tuple[Any, list[str] | str]] = {
    "none": ([], "empty"),
    "blank": (["cat", "   "], "blank"),
    "twice": (["cat", "dog", "cat"], "'cat' is given twice"),
    "twice but for case": (["Straße", "STRASSE"], "'STRASSE' is given twice"),
    "twice but for accents": (["caf\xe9", "cafe\u0301"], "given twice"),
    "twice but for a mark": (["cat", "cat\u200e"], "'cat' is given twice"),
    "only a zero-width space": (["\u200b"], "blank"),
    "only a tag": (["\U000e0041"], "blank"),
    "a NUL": (["a\0b"], "U+0000"),
    "an escape": (["\x1b[31mred"], "U+001B"),
    "a lone surrogate": (["a\udc80"], "U+DC80"),
    "the end token": (["cat <|endoftext|> dog"], "<|endoftext|>"),
    "too long": (["word " * 90], "tokens long"),
    "one endless word": (["a" * 5000], "tokens long"),
    "a whole book": (["a" * 10**7], "has 10,000,000 characters: at most 5,000"),
    "emoji": (["🦊", "🚗"], ["🦊", "🚗"]),
    "right to left": (["قطة", "שלום"], ["قطة", "שלום"]),
    "pasted marks": (["\ufeffcat", "\u202adog\u202c", "stop\xa0sign"], ["cat", "dog", "stop sign"]),
    "joined letters": (["می\u200cخواهم"], ["می\u200cخواهم"]),
    "markup": (["[bold]cat[/]", "{}"], ["[bold]cat[/]", "{}"]),
    "punctuation": (["..."], ["..."]),
}


@pytest.mark.parametrize("case", NAMES)
def test_class_names(
    tmp_path: Path, photo: Path, tiny_model: Any, preset_file: Path, tiny_bank: Path, case: str
) -> None:
    names, expected = NAMES[case]
    words = tmp_path / "words.txt"
    words.write_bytes("\n".join(names).encode("utf-8", "surrogatepass"))
    arguments = ("--model", preset_file, "--bank", tiny_bank, "--out", tmp_path / "out", "--device", "cpu")
    if isinstance(expected, list):
        assert list(tiny_model.segment(NOISE, names).names) == expected
        done = run("segment", photo, "--classes-file", words, *arguments)
        assert done.exit_code == 0, (done.output, done.exception)
        return
    with pytest.raises(InputError) as caught:
        tiny_model.segment(NOISE, names)
    one_line(caught.value, expected)
    said = "UTF-8" if case == "a lone surrogate" else "empty" if case == "blank" else expected
    if case != "blank":  # blank lines of a file are skipped
        refused(run("segment", photo, "--classes-file", words, *arguments), said)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("", "the list of class names is empty"),
        ("# cat\n", "the list of class names is empty"),
        (None, "NoneType"),
        (7, "int"),
        ({"cat", "dog"}, "set, which has no order"),
        ([b"cat"], "b'cat' is not a string"),
        (["cat", None], "None is not a string"),
        ({"cat": None}, "synonyms of class 'cat'"),
        ({"cat": "dog"}, "synonyms of class 'cat'"),
        ({"cat": ["\0"]}, "U+0000"),
        ({7: ["a"]}, "7 is not a string"),
    ],
)
def test_what_is_no_list_of_names(tiny_model: Any, names: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        tiny_model.vocabulary(names)
    one_line(caught.value, says)


def test_class_files_in_another_encoding(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "words.txt").write_text("café\n", encoding="utf-16")
    assert word_list(tmp_path / "words.txt") == ["café"]
    (tmp_path / "words.txt").write_text("café\n", encoding="latin-1")
    refused(run("segment", photo, "--classes-file", tmp_path / "words.txt"), "words.txt", "UTF-8")
    refused(run("segment", photo, "--classes-file", tmp_path), "cannot be read")


def test_two_thousand_classes(tmp_path: Path, tiny_model: Any) -> None:
    result = tiny_model.segment(NOISE, [f"thing {i}" for i in range(2000)])
    assert len(result.names) == 2000 and result.labels.max() < 2000
    files = result.save(tmp_path, "many")
    np.testing.assert_array_equal(np.asarray(Image.open(files["labels"])), result.labels)
    wide, tall = Image.open(files["overlay"]).size
    assert wide < 3000 and tall < 1500  # the legend lists what was found, so far as there is room


def test_names_are_never_read_as_markup(
    tmp_path: Path, photo: Path, preset_file: Path, tiny_bank: Path
) -> None:
    """Paths and words may look like the terminal library's tags: they are shown as they are."""
    place = tmp_path / "[red]out[" / "]x"  # as a path: [red]out[/]x
    shutil.copytree(tiny_bank, place / "bank")
    arguments = ("--model", preset_file, "--bank", place / "bank", "--out", place, "--device", "cpu")
    words = ("--classes", "[bold]cat[/], dog", "--save-vocabulary", place / "words.npz")
    done = run("segment", photo, *words, *arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "[red]out[/]x/words.npz" in done.output and "[red]out[/]x/photo.json" in done.output.replace(
        "\n", ""
    )
    done = run("bank", "info", place / "bank")
    assert done.exit_code == 0 and "[red]out[/]x/bank" in done.output
    refused(run("bank", "info", place / "none"), "[red]out[/]x/none")
