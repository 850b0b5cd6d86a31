"""Caption files: told apart by content, ids kept, damage named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freeda.collect.captions import Caption, read_captions, to_captions
from freeda.errors import InputError


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "c.txt"
    file.write_bytes("\ufeffa  cat\r\n\r\n a dog \tbarks\n".encode())
    assert read_captions(file) == [Caption("1", "a cat"), Caption("3", "a dog barks")]
    assert read_captions(file, limit=1) == [Caption("1", "a cat")]


def test_coco_by_content_not_by_name(tmp_path: Path) -> None:
    file = tmp_path / "c.txt"
    file.write_text(
        json.dumps(
            {
                "info": {},
                "annotations": [
                    {"image_id": 5, "id": 38, "caption": "A bear.\n"},
                    {"image_id": 5, "id": 39, "caption": "  "},
                ],
            }
        )
    )
    assert read_captions(file) == [Caption("38", "A bear.")]


def test_a_line_may_open_with_a_bracket(tmp_path: Path) -> None:
    file = tmp_path / "c.txt"
    file.write_text("[blurred] a cat\na dog\n")
    assert [c.text for c in read_captions(file)] == ["[blurred] a cat", "a dog"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no caption"),
        (b" \n\n", "holds no caption"),
        (b"\xff\xfe\x00caption", "UTF-8"),
        (b'{"annotations": [', "damaged JSON"),
        (b'{"images": []}', "annotations"),
        (b'{"annotations": [{"id": 1}]}', "annotation 0"),
        (b'{"annotations": []}', "holds no caption"),
    ],
)
def test_damage_is_one_line_naming_the_file(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        read_captions(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_missing_file_folder_and_limit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_captions(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_captions(tmp_path)
    file = tmp_path / "c.txt"
    file.write_text("a cat\n")
    with pytest.raises(InputError, match="limit is 0"):
        read_captions(file, limit=0)


def test_captions_given_directly() -> None:
    assert to_captions(["a  cat", Caption("x", "a dog")]) == [Caption("1", "a cat"), Caption("x", "a dog")]
    with pytest.raises(InputError, match="no captions"):
        to_captions([])
    with pytest.raises(InputError, match="caption 2 is empty"):
        to_captions(["a cat", " "])
    with pytest.raises(InputError, match="twice"):
        to_captions([Caption("x", "a"), Caption("x", "b")])
