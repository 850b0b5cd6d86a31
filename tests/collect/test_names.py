"""Names files in their forms, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freeda.collect.names import class_word, read_names
from freeda.errors import InputError


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("names.json", '{"1": "cat", "17": "Stop  sign"}', {1: "cat", 17: "stop sign"}),
        ("names.json", '["background", "cat"]', {0: "background", 1: "cat"}),
        (
            "names.json",
            '{"info": {}, "categories": [{"id": 5, "name": "cat", "x": 1}, {"id": 2, "name": "cat"}]}',
            {5: "cat", 2: "cat"},
        ),
        ("names.txt", "background\n\ncat\nstop_sign\n", {0: "background", 1: "cat", 2: "stop sign"}),
        ("names.txt", "3 cat\n1: stop sign\n7,dog\n8\tcow\n", {3: "cat", 1: "stop sign", 7: "dog", 8: "cow"}),
        ("names.txt", "0 2 euro coin\n", {0: "2 euro coin"}),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str, expected: dict[int, str]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_names(tmp_path / name)
    assert found == expected and list(found) == list(expected)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("names.json", '{"one": "cat"}', "'one' is no value of a mask"),
        ("names.json", '{"-1": "cat"}', "'-1' is no value"),
        ("names.json", '{"1": 2}', "the name of value 1 is 2"),
        ("names.json", '{"1": "cat", "1": "dog"}', "value 1 has a name already, 'cat'"),
        ("names.json", '{"1": " "}', "blank"),
        ("names.json", "{}", "names no class"),
        ("names.json", '"cat"', "not a names file"),
        ("names.json", "{", "damaged JSON"),
        ("names.json", '{"categories": [{"id": 1}]}', "category 0"),
        ("names.json", '{"categories": [{"id": true, "name": "cat"}]}', "True is no value"),
        ("names.txt", "1 cat\ndog\n", "line 2: 'dog' has no number"),
        ("names.txt", "\n", "names no class"),
        ("names.txt", b"\xff\xfe\xff", "names.txt"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, data: Any, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError) as caught:
        read_names(path)
    assert str(caught.value).startswith(f"{path}: ") and says in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(InputError, match="no such names file"):
            read_names(path)


def test_a_byte_order_mark_and_many_names(tmp_path: Path) -> None:
    names = {str(i): f"thing {i}" for i in range(1, 201)}
    (tmp_path / "names.json").write_text("\ufeff" + json.dumps(names), encoding="utf-8")
    assert read_names(tmp_path / "names.json") == {i: f"thing {i}" for i in range(1, 201)}


def test_words() -> None:
    assert class_word("  Wine_glass\t") == "wine glass"
    with pytest.raises(InputError, match="here: "):
        class_word("", "here: ")
