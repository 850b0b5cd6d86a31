"""Names files in their forms, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freeda.collection.names import class_word, read_names
from freeda.errors import InputError

LABELME = {255: "ignore", 0: "background", 1: "cat", 2: "stop sign"}


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
        ("names.txt", ' ["background", "cat"]\n', {0: "background", 1: "cat"}),
        ("classes.txt", "# ours\nbackground\n# animals\ncat\n", {0: "background", 1: "cat"}),
        ("labels.txt", "__ignore__\n_background_\ncat\nstop sign\n", LABELME),
        ("labels.json", '["__ignore__", "_background_", "cat", "stop sign"]', LABELME),
        ("class_names.txt", "_background_\ncat", {0: "background", 1: "cat"}),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\nstop sign:250,50,83:pole,plate:\n",
            {0: "background", 0xFA3253: "stop sign"},
        ),
        ("label_colors.txt", "0 0 0 Void\n64 128 64 Animal\n", {0: "void", 0x408040: "animal"}),
        ("names.txt", "# ours\n#ff0000 cat\n# more\n#00ff00: dog\n", {0xFF0000: "cat", 0x00FF00: "dog"}),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str, expected: dict[int, str]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = read_names(tmp_path / name)
    assert found == expected and list(found) == list(expected)
    assert found.coloured == (max(expected) > 255)
    shown = {f"#{v:06x}" if found.coloured else str(v): name for v, name in expected.items()}
    assert str(found) == f"{tmp_path / name}: " + ", ".join(f"{v} = {name}" for v, name in shown.items())


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
        ("names.txt", "\n# remark\n", "names no class"),
        ("labelmap.txt", "# remark\ncat:::\n", "line 2: a colour and a class are needed"),
        ("labelmap.txt", "cat:0,0,0::\ndog\n", "line 2: a colour and a class are needed"),
        ("labelmap.txt", "cat:0,0,256::\n", "line 1: a colour and a class are needed"),
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
