"""Class names as the command line takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freeda.cli.words import read_names
from freeda.errors import InputError
from freeda.segment.vocabulary import parse_names


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
    ],
)
def test_lists(classes: str, names: Any) -> None:
    given = read_names(classes, None)
    assert parse_names(given) == parse_names(names)


def test_a_file_takes_commas_and_quotes_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text('# remark\nbread, sliced\n\n"old" gate=door, iron\n', encoding="utf-8-sig")
    assert parse_names(read_names(None, path)) == parse_names(
        {"bread, sliced": [], '"old" gate': ["door, iron"]}
    )


@pytest.mark.parametrize("classes", ['"bread, house', 'house, "bread', '"bread, sliced"=toast', '"a"b'])
def test_quotes_that_do_not_close(classes: str) -> None:
    with pytest.raises(InputError, match="double quotes go around a whole class") as caught:
        read_names(classes, None)
    assert "\n" not in str(caught.value) and repr(classes) in str(caught.value)
