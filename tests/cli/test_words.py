"""Class names as the command line takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freeda.app.limits import Limits
from freeda.app.workspace import parsed
from freeda.cli.options import read_names
from freeda.errors import InputError
from freeda.segment.vocabulary import parse_names

COMMENTED = {"sofa": ("couch",), "bread, sliced": (), "#1 fan": ()}


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("cat", ["cat"]),
        (" cat ,wooden  floor,\n dog\r\n", ["cat", "wooden floor", "dog"]),
        ('"bread, sliced", house', ["bread, sliced", "house"]),
        ('house, "bread, sliced=toast=rusk"', {"house": (), "bread, sliced": ("toast", "rusk")}),
        ('12" disc, the "old" gate', ['12" disc', 'the "old" gate']),
        ('"the ""old"" gate, left"', ['the "old" gate, left']),
        ("l'eau, d'or", ["l'eau", "d'or"]),
        ("größe 🙂, a/b\\c, <b>&", ["größe 🙂", "a/b\\c", "<b>&"]),
        ("sunset; water=sea\ntree,,", {"sunset": (), "water": ("sea",), "tree": ()}),
        ('# indoors\nsofa = couch\n  # out; of, doors\n"bread, sliced";"#1 fan"\n', COMMENTED),
        ("2 euro coin; [old] coin", ["2 euro coin", "[old] coin"]),
        ("1 euro coin\n2 euro coin\n", ["1 euro coin", "2 euro coin"]),
    ],
)
def test_lists(tmp_path: Path, classes: str, names: Any) -> None:
    """One grammar on the command line, in a file, on the page and in Python."""
    path = tmp_path / "words.txt"
    path.write_text(classes, encoding="utf-8-sig")
    wanted = {name: tuple(more) for name, more in parse_names(dict.fromkeys(names, ())).items()}
    if isinstance(names, dict):
        wanted = {name: (name, *more) for name, more in names.items()}
    assert parsed(classes, Limits()) == wanted
    for given in (read_names(classes, None), read_names(None, path), classes):
        assert parse_names(given) == wanted


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("names.json", '{"85": "clock", "3": "Stop_sign"}', ["clock", "stop sign"]),
        ("words.txt", '["background", "cat", "dog"]', ["cat", "dog"]),
        ("names.txt", "# COCO\n1 person\n18: dog\n", ["person", "dog"]),
        ("labels.txt", "__ignore__\n_background_\ncat\n", ["cat"]),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:1,2,3::\n", ["cat"]),
    ],
)
def test_names_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, expected: list[str]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_names(None, tmp_path / name) == expected
    assert f"{name}: {'; '.join(expected)}\n" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["words.txt", "cat, animals.JSON", ["cat", "words.txt"]])
def test_a_file_is_no_word(given: Any) -> None:
    with pytest.raises(InputError, match="is the name of a file, not a word: give what it holds"):
        parse_names(given)


@pytest.mark.parametrize("text", ['["cat", "dog"]', '{"85": "clock"}', " [cat, dog]\n"])
def test_json_is_no_list_of_words(text: str) -> None:
    with pytest.raises(InputError, match="is no list of words: write cat, sofa=couch"):
        parse_names(text)


def test_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--classes and --classes-file are both given"):
        read_names("cat", tmp_path / "none.txt")
    with pytest.raises(InputError, match="either --classes"):
        read_names(None, None)


@pytest.mark.parametrize("classes", ['"bread, house', 'house, "bread', '"bread, sliced"=toast', '"a"b'])
def test_quotes_that_do_not_close(classes: str) -> None:
    with pytest.raises(InputError, match="double quotes go around a whole class") as caught:
        read_names(classes, None)
    assert "\n" not in str(caught.value) and repr(classes.removeprefix("house, ")) in str(caught.value)
