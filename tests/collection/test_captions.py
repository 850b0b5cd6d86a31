"""Caption files of every form: ids kept, nothing lost in silence, damage named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freeda.collection.captions import Caption, to_captions, word_spans
from freeda.errors import InputError

TEXTS = ["a cat", 'a "red" dog, barking', "Köln by night", "stop; go | tab"]


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "c.txt"
    file.write_bytes("\ufeffa  cat\r\n\r\n a dog \tbarks\n".encode())
    assert to_captions(file) == [Caption("1", "a cat"), Caption("3", "a dog barks")]
    assert to_captions(file, limit=1) == [Caption("1", "a cat")]


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
    assert to_captions(file) == [Caption("38", "A bear.")]


def test_a_line_may_open_with_a_bracket(tmp_path: Path) -> None:
    file = tmp_path / "c.txt"
    file.write_text("[blurred] a cat\na dog\n")
    assert [c.text for c in to_captions(file)] == ["[blurred] a cat", "a dog"]


def as_table(delimiter: str) -> Callable[[Iterable[str]], bytes]:
    def write(texts: Iterable[str]) -> bytes:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerow(["key", "Caption", "url"])
        writer.writerows([f"k{i}", text, ""] for i, text in enumerate(texts))
        return out.getvalue().encode()

    return write


def as_parquet(texts: Iterable[str], kind: Any = None) -> bytes:
    texts = list(texts)
    out = io.BytesIO()
    column = pa.array(texts, kind or pa.string())
    table = pa.table({"key": [f"k{i}" for i in range(len(texts))], "caption": column, "n": range(len(texts))})
    pq.write_table(table, out, row_group_size=2)
    return out.getvalue()


def as_json_lines(texts: Iterable[str]) -> bytes:
    return "\n".join(json.dumps({"key": f"k{i}", "text": t}) for i, t in enumerate(texts)).encode()


def as_json_list(texts: Iterable[str]) -> bytes:
    return json.dumps([{"key": f"k{i}", "caption": t} for i, t in enumerate(texts)]).encode()


FORMS: dict[str, tuple[str, Callable[[Iterable[str]], bytes]]] = {
    "csv": ("c.csv", as_table(",")),
    "tsv": ("c.TSV", as_table("\t")),
    "csv with bars": ("c.csv", as_table("|")),
    "parquet": ("c.parquet", as_parquet),
    "parquet by content": ("c.data", as_parquet),
    "parquet dictionary": ("c.pq", lambda t: as_parquet(t, pa.dictionary(pa.int32(), pa.string()))),
    "parquet large": ("c.pq", lambda t: as_parquet(t, pa.large_string())),
    "json lines": ("c.jsonl", as_json_lines),
    "json lines by content": ("c.json", as_json_lines),
    "json list": ("c.json", as_json_list),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_with_columns(tmp_path: Path, form: str) -> None:
    name, write = FORMS[form]
    file = tmp_path / name
    file.write_bytes(write(TEXTS))
    assert to_captions(file) == [Caption(str(i), text) for i, text in enumerate(TEXTS, 1)]
    assert to_captions(file, id_column="key") == [Caption(f"k{i}", t) for i, t in enumerate(TEXTS)]
    assert [c.text for c in to_captions(file, limit=2, column="key")] == ["k0", "k1"]
    with pytest.raises(InputError, match=r"no (column )?'nothing'.*'key'"):
        to_captions(file, column="nothing")


@pytest.mark.parametrize("form", ["csv", "tsv", "json lines", "json list"])
@pytest.mark.parametrize("code", ["utf-8-sig", "utf-16", "utf-16-be with its mark"])
@pytest.mark.parametrize("zipped", [False, True])
def test_encodings_and_gzip(tmp_path: Path, form: str, code: str, zipped: bool) -> None:
    name, write = FORMS[form]
    text = write(TEXTS).decode()
    data = ("\ufeff" + text).encode("utf-16-be") if "mark" in code else text.encode(code)
    file = tmp_path / (name + ".gz" if zipped else name)
    file.write_bytes(gzip.compress(data) if zipped else data)
    assert [c.text for c in to_captions(file)] == TEXTS


def test_blank_lines_between_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('\n{"text": "a cat"}\n  \n{"text": "a dog"}\n\n')
    assert to_captions(file) == [Caption("2", "a cat"), Caption("4", "a dog")]


def test_a_list_of_texts(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(["a cat", "", "a dog"]))
    assert to_captions(file) == [Caption("1", "a cat"), Caption("3", "a dog")]


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ('image,caption\n1.jpg,A child .\n1.jpg,\n2.jpg,"A cat, asleep"\n', ["A child .", "A cat, asleep"]),
        ("image_name| comment_number| comment\n1.jpg| 0| A child .\n", ["A child ."]),
        ('"id"\t"Title"\n7\tA child\n', ["A child"]),
        ("a caption, text\nimage, cat\n", ["a caption, text", "image, cat"]),
        ("image,file\na cat\n", ["image,file", "a cat"]),
    ],
)
def test_a_table_that_does_not_say_so(tmp_path: Path, text: str, captions: list[str]) -> None:
    """As Kaggle has Flickr's captions.txt."""
    (tmp_path / "captions.txt").write_text(text)
    assert [caption.text for caption in to_captions(tmp_path / "captions.txt")] == captions


def test_a_table_as_people_type_it(tmp_path: Path) -> None:
    """Blanks after the commas and around the ids; of two columns for captions the first."""
    file = tmp_path / "c.csv"
    file.write_text('id, Caption, caption\n7 , "a cat, asleep", other\n 8, a dog, other\n')
    assert to_captions(file, id_column="id") == [Caption("7", "a cat, asleep"), Caption("8", "a dog")]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=6))
def test_any_text_survives_a_table(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("any") / "c.csv"
    file.write_bytes(as_table(",")(texts))
    expected = [Caption(str(i), " ".join(t.split())) for i, t in enumerate(texts, 1) if t.split()]
    assert list(to_captions(file) if expected else []) == expected


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.json", b"", "holds no caption"),
        ("c.json", b" \n\n", "holds no caption"),
        ("c.txt", b"a cat\n\xffcaption", "line 2: not UTF-8"),
        ("c.txt", b"\xff\xfea cat", "UTF-16"),
        ("c.txt", b"a cat\na\0dog", "line 2: holds a NUL"),
        (
            "c.txt",
            b"1000268201_693b08cb0e.jpg#0\tA child .\n",
            "line 1: begins with a picture's file: .*, such as image,caption",
        ),
        ("c.txt", b"a cat\n" + b"dog " * 30_000, "line 2 is longer"),
        ("c.json", b'{"annotations": [', "damaged JSON"),
        ("c.json", b'{"images": []}', "annotations"),
        ("c.json", b'{"annotations": [{"id": 1}]}', "annotation 0.*caption"),
        ("c.json", b'{"annotations": [{"caption": "a"}]}', "annotation 0.*id"),
        ("c.json", b'{"annotations": [{"id": 1, "caption": 5}]}', "annotation 0.*5.*text"),
        ("c.json", b'{"annotations": [{"id": null, "caption": "a"}]}', "annotation 0.*id"),
        (
            "c.json",
            b'{"annotations": [{"id": 1, "caption": "a"}, {"id": 1, "caption": "b"}]}',
            "1 occurs twice",
        ),
        ("c.json", b'{"annotations": []}', "holds no caption"),
        ("c.json", b'{"annotations": [{"id": 1, "caption": "a \\ud800 cat"}]}', "annotation 0: not UTF-8"),
        ("c.json", b'{"annotations": [{"id": "\\u0000", "caption": "a cat"}]}', "annotation 0: holds a NUL"),
        ("c.json", b'[{"caption": "a"}, 7]', "item 2.*7"),
        ("c.json", b'[{"x": "a"}]', "name the key.*'x'"),
        ("c.json", b'["a cat", "' + b"dog " * 25_001 + b'"]', "item 2: the caption is longer than 100,000"),
        ("c.jsonl", b'{"caption": "a"}\n{"caption": ', "line 2: damaged JSON"),
        ("c.jsonl", b'{"caption": "a"}\n' + b"[" * 100_000, "line 2: damaged JSON"),
        ("c.json", b"[" * 200_000, "line 1 is longer"),
        ("c.csv", b"", "name the column.*none"),
        ("c.csv", b"caption\n", "holds no caption"),
        ("c.csv", b"a,b\n1,2\n", "name the column.*'a', 'b'"),
        ("c.csv", b"id,caption\n1,a cat\n2,a dog, barking\n", "line 3: 3 fields.*2.*quotes"),
        ("c.csv", b'id,caption\n1,a cat\n2,"a dog\n', "line 3: not a row"),
        ("c.csv.gz", gzip.compress(b"caption\n" + b"a cat\n" * 99, mtime=0)[:-9], "gzip"),
        ("c.gz", b"\x1f\x8bnothing", "gzip"),
        ("c.parquet", b"PAR1 and then nothing", "damaged Parquet"),
        ("c.parquet", as_parquet(["a"] * 9)[:-30], "damaged Parquet"),
    ],
)
def test_damage_is_one_line_naming_the_file(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        to_captions(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_columns_of_another_kind(tmp_path: Path) -> None:
    file = tmp_path / "c.parquet"
    file.write_bytes(as_parquet(TEXTS))
    with pytest.raises(InputError, match="'n' holds int64: a column of text"):
        to_captions(file, column="n")
    assert to_captions(file, id_column="n")[3].id == "3"
    pq.write_table(pa.table({"caption": ["a", None, "c"], "id": [1, 2, None]}), file)
    assert to_captions(file) == [Caption("1", "a"), Caption("3", "c")]
    with pytest.raises(InputError, match="row 3: the id"):
        to_captions(file, id_column="id")


def test_repeated_texts(tmp_path: Path) -> None:
    file = tmp_path / "c.txt"
    file.write_text("a cat\na dog\na  cat\nA cat\na cat\na cow\n")
    kept = to_captions(file)
    assert [c.id for c in kept] == ["1", "2", "3", "4", "5", "6"] and kept.repeated == 0
    skipped = to_captions(file, duplicates="skip")
    assert [c.id for c in skipped] == ["1", "2", "4", "6"] and skipped.repeated == 2
    assert [c.id for c in to_captions(file, 3, duplicates="skip")] == ["1", "2", "4"]


def test_missing_file_folder_and_limit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        to_captions(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read"):
        to_captions(tmp_path)
    file = tmp_path / "c.txt"
    file.write_text("a cat\n")
    with pytest.raises(InputError, match="limit is 0"):
        to_captions(file, limit=0)


def test_a_limit_reads_no_further(tmp_path: Path) -> None:
    for name, data in (
        ("c.txt", b"a cat\n" * 3 + b"\xff"),
        ("c.csv", b"caption\n" + b"a cat\n" * 3 + b"a,b\n"),
    ):
        (tmp_path / name).write_bytes(data)
        assert len(to_captions(tmp_path / name, limit=3)) == 3
        with pytest.raises(InputError):
            to_captions(tmp_path / name)


def test_captions_given_directly() -> None:
    assert to_captions(["a  cat", Caption("x", "a dog")]) == [Caption("1", "a cat"), Caption("x", "a dog")]
    with pytest.raises(InputError, match="no captions"):
        to_captions([])
    with pytest.raises(InputError, match="caption 2 is empty"):
        to_captions(["a cat", " "])
    with pytest.raises(InputError, match="twice"):
        to_captions([Caption("x", "a"), Caption("x", "b")])
    with pytest.raises(InputError, match="caption 2 is 7"):
        to_captions(["a cat", 7])  # type: ignore[list-item]
    for odd in ("a \ud800 cat", "a \0 cat"):
        with pytest.raises(InputError, match="caption 1: "):
            to_captions([odd])
        with pytest.raises(InputError, match="caption a"):
            to_captions([Caption(odd, "a cat")])
    with pytest.raises(InputError, match="given directly"):
        to_captions(["a cat"], column="text")
    with pytest.raises(InputError, match="does not hold the word 'cat'"):
        to_captions([Caption("x", "two cats", "cat")])


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("the Stop  sign and a stop sign", "stop sign", [(4, 14), (21, 30)]),
        ("catfish, cat-tail, cat", "cat", [(9, 12), (19, 22)]),
        ("concat cats", "cat", []),
        ("a c++ book", "c++", [(2, 5)]),
        ("größe", "größe", [(0, 5)]),
        ("a.b", ".", []),
        ("a", " ", []),
    ],
)
def test_word_spans(text: str, word: str, expected: list[tuple[int, int]]) -> None:
    assert list(word_spans(text, word)) == expected


@given(st.text(alphabet="ab c", max_size=12), st.text(alphabet="ab", min_size=1, max_size=2))
def test_word_spans_against_splitting(text: str, word: str) -> None:
    """One word of letters: exactly the pieces between blanks that are it."""
    expected = [m.span() for m in re.finditer(r"\S+", text) if m.group() == word]
    assert list(word_spans(text, word)) == expected
