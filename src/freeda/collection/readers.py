"""Caption files of every usual form, read row by row.

Text with one caption a line; CSV or TSV with a header; Parquet; JSON lines; COCO's captions JSON; a JSON list
of texts or objects. Text is UTF-8, or UTF-16 with its mark; any of them but Parquet may be gzipped. The form
is told by content where that is possible; CSV and TSV by their suffix, because a column is named, or by a
first line of column names.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import InputError, first_line, no_such_file, shortened

TEXT_COLUMNS = ("caption", "captions", "text", "sentence", "prompt", "description", "title", "raw", "comment")
"""Where captions are looked for when no column is named, the first that is there; in any case."""

Row = tuple[str, str, str]
"""Place in the file ("line 3"), id, and text with its white space collapsed."""

# As in Flickr8k.token.txt, which names no columns: "1000268201_693b08cb0e.jpg#0<TAB>A child ..."
_PICTURE = re.compile(r"\S+\.(jpe?g|png|webp|bmp|gif|tiff?)(#\d+)?\s*[,\t;|]", re.IGNORECASE)
_LONGEST = 100_000  # characters a line or caption may have; more is a file of another kind
_PARQUET, _GZIP = b"PAR1", b"\x1f\x8b"
_NOT_UTF8 = re.compile(
    "[\ud800-\udfff]"
)  # also what errors="surrogateescape" makes of bytes that are no text


def caption_rows(path: Path, column: str | None = None, id_column: str | None = None) -> Iterator[Row]:
    """The rows of a caption file that hold text, one by one. Raises InputError, see `read_captions`."""
    with _opened(path) as (binary, start):
        kind = _suffix(path)
        if start.startswith(_PARQUET):
            yield from _parquet(path, binary, column, id_column)
            return
        with _decoded(binary, start) as (file, first):
            if kind in (".jsonl", ".ndjson"):
                yield from _json_lines(path, _lines(path, file), column, id_column)
            elif first in ("{", "[") and kind not in (".csv", ".tsv"):
                yield from _json(path, file, column, id_column)
            else:
                lines = _lines(path, file)
                header = next(lines, "")
                named = column is not None or id_column is not None or _are_columns(header)
                if kind in (".csv", ".tsv") or named:
                    yield from _table(path, header, lines, kind, column, id_column)
                elif _PICTURE.match(header):
                    raise InputError(
                        f"{path}: line 1: begins with a picture's file: a first line that names the columns "
                        "is needed, such as image,caption"
                    )
                else:
                    yield from _plain(path, _again(header, lines))


def whole_text(path: Path) -> str:
    """A text file, whole. Raises InputError for one that cannot be read or is no text."""
    with _opened(path) as (binary, start), _decoded(binary, start) as (file, _):
        text = file.read()
    for number, line in enumerate(text.splitlines(), 1):
        check_text(f"{path}: line {number}", line)
    return text


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, bytes]]:
    """The file's bytes, unzipped, and the first of them; what fails in reading becomes an InputError."""
    try:
        with open(path, "rb") as raw:
            zipped = raw.peek(2).startswith(_GZIP)
            binary: Any = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw
            yield binary, binary.peek(1024)[:1024]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: it is neither UTF-8 nor whole UTF-16 text") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or incomplete gzip file ({error})") from error
    except FileNotFoundError as error:
        raise InputError(no_such_file(path)) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def _decoded(binary: Any, start: bytes) -> Iterator[tuple[IO[str], str]]:
    """The file as text, and its first character that is not blank."""
    utf16 = start.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    encoding = "utf-16" if utf16 else "utf-8-sig"
    with io.TextIOWrapper(binary, encoding, errors="strict" if utf16 else "surrogateescape") as file:
        yield file, start[: len(start) & ~1].decode(encoding, "ignore").lstrip()[:1]


def _suffix(path: Path) -> str:
    """The file's suffix in lower case, a final .gz aside."""
    suffixes = [s.lower() for s in path.suffixes]
    return next((s for s in reversed(suffixes) if s != ".gz"), "")


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    """The lines, each checked to be text."""
    number = 0
    while line := file.readline(_LONGEST + 1):
        number += 1
        if len(line) > _LONGEST:
            raise InputError(
                f"{path}: line {number} is longer than {_LONGEST:,} characters: one caption a line is needed"
            )
        check_text(f"{path}: line {number}", line)
        yield line


def check_text(place: str, text: str) -> None:
    """Raise InputError naming the place for text that no tokenizer takes: a NUL, a lone surrogate."""
    if "\0" in text:
        raise InputError(f"{place}: holds a NUL character (U+0000): no text, or UTF-16 without a mark")
    if not text.isascii() and _NOT_UTF8.search(text):
        raise InputError(f"{place}: not UTF-8 text: save the file as UTF-8")


def _plain(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        text = " ".join(line.split())
        if text:
            yield f"line {number}", str(number), text


def _are_columns(header: str) -> bool:
    """Whether a first line is nothing but names of columns, captions among them: "image,caption"."""
    names = [name.strip(' "\n') for name in re.split(r"[,\t;|]", header)]
    return len(names) > 1 and all(map(str.isidentifier, names)) and _guess(names) is not None


def _table(
    path: Path, header: str, lines: Iterator[str], kind: str, column: str | None, id_column: str | None
) -> Iterator[Row]:
    # The tab is TSV's; elsewhere what separates the header's names (";" and "|" are seen in the field, too).
    delimiter = "\t" if kind == ".tsv" else max(",\t;|", key=header.count)
    reader = csv.reader(_again(header, lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        text_at, id_at = _columns(path, names, column, id_column)
        for number, cells in enumerate(reader, 1):
            if not cells:
                continue
            place = f"line {reader.line_num}"
            if len(cells) != len(names):
                raise InputError(
                    f"{path}: {place}: {len(cells)} fields where the header has {len(names)}: text with "
                    f"{delimiter!r} must stand in double quotes"
                )
            yield from _row(path, place, cells[text_at], None if id_at is None else cells[id_at], number)
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not a row of a table ({error})") from error


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _columns(
    path: Path, names: Sequence[str], column: str | None, id_column: str | None
) -> tuple[int, int | None]:
    """Where the text and the id stand among a table's columns."""
    for wanted in (column, id_column):
        if wanted is not None and wanted not in names:
            raise InputError(f"{path}: has no column {wanted!r}: its columns are {_listed(names)}")
    if column is None:
        column = _guess(names)
        if column is None:
            raise InputError(
                f"{path}: name the column that holds the captions: its columns are {_listed(names)}"
            )
    return names.index(column), None if id_column is None else names.index(id_column)


def _guess(names: Iterable[str]) -> str | None:
    by_name = {name.lower(): name for name in reversed(list(names))}
    return next((by_name[name] for name in TEXT_COLUMNS if name in by_name), None)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:12])
    return shown + (", ..." if len(names) > 12 else "") if names else "none"


def _row(path: Path, place: str, text: object, name: object, number: int) -> Iterator[Row]:
    """The row, or nothing where its text is missing or blank; `name` None stands for the row's number."""
    if text is None:
        return
    if not isinstance(text, str):
        raise InputError(f"{path}: {place}: the caption is {shortened(text)}: it must be text")
    if len(text) > _LONGEST:
        raise InputError(f"{path}: {place}: the caption is longer than {_LONGEST:,} characters")
    check_text(f"{path}: {place}", text)
    text = " ".join(text.split())
    if not text:
        return
    if name is None:
        name = number
    if isinstance(name, bool) or not isinstance(name, (str, int)) or not str(name).strip():
        raise InputError(f"{path}: {place}: the id is {shortened(name)}: it must be a whole number or text")
    check_text(f"{path}: {place}", str(name))
    yield place, str(name).strip(), text


def _parquet(path: Path, file: Any, column: str | None, id_column: str | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        names = list(table.schema_arrow.names)
        text_at, id_at = _columns(path, names, column, id_column)
        kind = table.schema_arrow.field(text_at).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(value) or pa.types.is_large_string(value)):
            raise InputError(f"{path}: column {names[text_at]!r} holds {kind}: a column of text is needed")
        wanted = [names[text_at]] if id_at is None else [names[text_at], names[id_at]]
        number = 0
        for batch in table.iter_batches(batch_size=8192, columns=wanted):
            texts = batch.column(names[text_at]).to_pylist()
            ids = batch.column(names[id_at]).to_pylist() if id_at is not None else [None] * len(texts)
            for text, name in zip(texts, ids, strict=True):
                number += 1
                name = "" if name is None and id_at is not None else name
                yield from _row(path, f"row {number}", text, name, number)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged Parquet file ({first_line(error)})") from error


def _json_lines(path: Path, lines: Iterable[str], column: str | None, id_column: str | None) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"line {number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: {place}: damaged JSON ({error})") from error
            yield from _json_row(path, place, value, column, id_column, number)


def _json(path: Path, file: IO[str], column: str | None, id_column: str | None) -> Iterator[Row]:
    """COCO's captions, or a list. JSON is read whole: for millions, JSON lines take less memory."""
    text = file.read()
    check_text(f"{path}: JSON", text)
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip()[0] == "[":  # a caption may open with a bracket
            yield from _plain(path, _lines(path, io.StringIO(text)))
            return
        if str(error).startswith("Extra data"):  # one value after another
            yield from _json_lines(path, _lines(path, io.StringIO(text)), column, id_column)
            return
        raise InputError(f"{path}: damaged JSON ({error})") from error
    del text
    coco = isinstance(data, dict)
    rows = data.get("annotations") if coco else data
    if not isinstance(rows, list):
        raise InputError(f"{path}: JSON without an 'annotations' list: COCO's captions format is needed")
    if coco:
        column, id_column = column or "caption", id_column or "id"
    for number, value in enumerate(rows, 1):
        place = f"annotation {number - 1}" if coco else f"item {number}"
        yield from _json_row(path, place, value, column, id_column, number)


def _json_row(
    path: Path, place: str, value: object, column: str | None, id_column: str | None, number: int
) -> Iterator[Row]:
    if isinstance(value, str) and column is None and id_column is None:
        yield from _row(path, place, value, None, number)
        return
    if not isinstance(value, dict):
        raise InputError(f"{path}: {place}: is {shortened(value)}: an object with a caption is needed")
    text_at = _guess(value) if column is None else column
    for wanted in (text_at, id_column):
        if wanted is not None and wanted not in value:
            raise InputError(f"{path}: {place}: has no {wanted!r}: its keys are {_listed(list(value))}")
    if text_at is None:
        raise InputError(f"{path}: {place}: name the key that holds the caption: {_listed(list(value))}")
    name = None if id_column is None else value[id_column]
    yield from _row(path, place, value[text_at], "" if name is None and id_column else name, number)
