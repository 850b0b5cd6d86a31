"""Caption files of every usual form, read row by row.

Text with one caption a line; CSV or TSV with a header; Parquet; JSON lines; COCO's captions JSON; a JSON list
of texts or objects. Text is UTF-8, or UTF-16 with its mark; any of them but Parquet may be gzipped. The form
is seen by content where that is possible; CSV and TSV by their suffix, because a column is named, or by a
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
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError, first_line, no_such_file, shortened

TEXT_COLUMNS = ("caption", "captions", "text", "sentence", "prompt", "description", "title", "raw", "comment")
"""Where captions are looked for when no column is named, the first that is there; in any case."""
Entry = tuple[str, Any, Any]
"""Place in the file ("line 3"), text and id as they stand there."""

# As in Flickr8k.token.txt, which names no columns: "1000268201_693b08cb0e.jpg#0<TAB>A child ..."
_PICTURE = re.compile(r"\S+\.(jpe?g|png|webp|bmp|gif|tiff?)(#\d+)?\s*[,\t;|]", re.IGNORECASE)
_LONGEST = 100_000  # characters a line or caption may have; more is a file of another kind
# Also what errors="surrogateescape" makes of bytes that are no text.
_NOT_UTF8 = re.compile("[\ud800-\udfff]")


def caption_rows(
    path: Path, column: str | None = None, id_column: str | None = None
) -> Iterator[tuple[str, str, str]]:
    """Yield place, id and text, white space collapsed, of a file's rows that hold text.

    Raises InputError as `captions.to_captions` says.
    """
    with _opened(path) as (file, first):
        for place, text, name in _entries(path, file, first, column, id_column):
            if text is None:
                continue
            if not isinstance(text, str):
                raise InputError(f"{place}: the caption is {shortened(text)}: it must be text")
            if len(text) > _LONGEST:
                raise InputError(f"{place}: the caption is longer than {_LONGEST:,} characters")
            check_text(place, text)
            text = " ".join(text.split())
            if not text:
                continue
            if isinstance(name, bool) or not isinstance(name, (str, int)) or not str(name).strip():
                raise InputError(f"{place}: the id is {shortened(name)}: it must be a whole number or text")
            check_text(place, str(name))
            yield place, str(name).strip(), text


def whole_text(path: Path) -> str:
    """Return a text file, whole. Raises InputError for one that cannot be read or is no text."""
    with _opened(path) as (file, _):
        text: str = file.read()
        for number, line in enumerate(text.splitlines(), 1):
            check_text(f"line {number}", line)
    return text


def check_text(place: str, text: str) -> None:
    """Raise InputError naming the place for text that no tokenizer takes: a NUL, a lone surrogate."""
    if "\0" in text:
        raise InputError(f"{place}: holds a NUL character (U+0000): no text, or UTF-16 without a mark")
    if not text.isascii() and _NOT_UTF8.search(text):
        raise InputError(f"{place}: not UTF-8 text: save the file as UTF-8")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """The file as text, unzipped, and its first character that is not blank; InputErrors name the file."""
    try:
        with open(path, "rb") as raw:
            zipped = raw.peek(2).startswith(b"\x1f\x8b")
            binary: Any = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw
            start = binary.peek(1024)[:1024]
            utf16 = start.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
            encoding = "utf-16" if utf16 else "utf-8-sig"
            with io.TextIOWrapper(binary, encoding, errors="strict" if utf16 else "surrogateescape") as file:
                yield file, start[: len(start) & ~1].decode(encoding, "ignore").lstrip()[:1]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: it is neither UTF-8 nor whole UTF-16 text") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged or incomplete gzip file ({error})") from error
    except FileNotFoundError as error:
        raise InputError(no_such_file(path)) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _entries(path: Path, file: Any, first: str, *columns: str | None) -> Iterator[Entry]:
    """The rows in whichever form; `columns` are those of text and id, where they were named."""
    suffix = next((s.lower() for s in reversed(path.suffixes) if s.lower() != ".gz"), "")
    if file.buffer.peek(4).startswith(b"PAR1"):
        return _parquet(file.buffer, *columns)
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(_lines(file), *columns)
    if first in ("{", "[") and suffix not in (".csv", ".tsv"):
        return _json(file, *columns)
    lines = _lines(file)
    header = next(lines, "")
    if suffix in (".csv", ".tsv") or columns != (None, None) or _are_columns(header):
        # The tab is TSV's; elsewhere what separates the header's names (";" and "|" are seen, too).
        delimiter = "\t" if suffix == ".tsv" else max(",\t;|", key=header.count)
        return _table(chain([header], lines), delimiter, *columns)
    if _PICTURE.match(header):
        raise InputError(
            "line 1: begins with a picture's file: a first line that names the columns is needed, such as "
            "image,caption"
        )
    return _plain(chain([header], lines))


def _lines(file: Any) -> Iterator[str]:
    """The lines, each checked to be text."""
    number = 0
    while line := file.readline(_LONGEST + 1):
        number += 1
        if len(line) > _LONGEST:
            raise InputError(
                f"line {number} is longer than {_LONGEST:,} characters: one caption a line is needed"
            )
        check_text(f"line {number}", line)
        yield line


def _plain(lines: Iterable[str]) -> Iterator[Entry]:
    return ((f"line {number}", line, number) for number, line in enumerate(lines, 1))


def _are_columns(header: str) -> bool:
    """Whether a first line is nothing but names of columns, captions among them: "image,caption"."""
    names = [name.strip(' "\n') for name in re.split(r"[,\t;|]", header)]
    return len(names) > 1 and all(map(str.isidentifier, names)) and _guess(names) is not None


def _table(
    lines: Iterable[str], delimiter: str, column: str | None, id_column: str | None
) -> Iterator[Entry]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        text_at = names.index(_chosen(names, column, id_column))
        id_at = None if id_column is None else names.index(id_column)
        for number, cells in enumerate(reader, 1):
            place = f"line {reader.line_num}"
            if cells and len(cells) != len(names):
                raise InputError(
                    f"{place}: {len(cells)} fields where the header has {len(names)}: text with "
                    f"{delimiter!r} must stand in double quotes"
                )
            if cells:
                yield place, cells[text_at], number if id_at is None else cells[id_at]
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: not a row of a table ({error})") from error


def _chosen(names: Sequence[str], column: str | None, id_column: str | None) -> str:
    """The column of the text, of those that a table has."""
    for wanted in (column, id_column):
        if wanted is not None and wanted not in names:
            raise InputError(f"has no column {wanted!r}: its columns are {_listed(names)}")
    if column is None and (column := _guess(names)) is None:
        raise InputError(f"name the column that holds the captions: its columns are {_listed(names)}")
    return column


def _guess(names: Iterable[str]) -> str | None:
    by_name = {name.lower(): name for name in reversed(list(names))}
    return next((by_name[name] for name in TEXT_COLUMNS if name in by_name), None)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:12])
    return shown + (", ..." if len(names) > 12 else "") if names else "none"


def _parquet(file: Any, column: str | None, id_column: str | None) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        schema = table.schema_arrow
        column = _chosen(schema.names, column, id_column)
        kind = schema.field(column).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(value) or pa.types.is_large_string(value)):
            raise InputError(f"column {column!r} holds {kind}: a column of text is needed")
        begin, wanted = 1, [name for name in (column, id_column) if name is not None]
        for batch in table.iter_batches(8192, columns=wanted):
            numbers = range(begin, begin := begin + len(batch))
            ids = numbers if id_column is None else batch[id_column].to_pylist()
            for number, text, name in zip(numbers, batch[column].to_pylist(), ids, strict=True):
                yield f"row {number}", text, name
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"damaged Parquet file ({first_line(error)})") from error


def _json_lines(lines: Iterable[str], *columns: str | None) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"line {number}: damaged JSON ({error})") from error
            yield _json_entry(f"line {number}", value, number, *columns)


def _json(file: Any, column: str | None, id_column: str | None) -> Iterator[Entry]:
    """COCO's captions, or a list. JSON is read whole: for millions, JSON lines take less memory."""
    text = file.read()
    check_text("JSON", text)
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip()[0] == "[":  # a caption may open with a bracket
            return _plain(_lines(io.StringIO(text)))
        if str(error).startswith("Extra data"):  # one value after another
            return _json_lines(_lines(io.StringIO(text)), column, id_column)
        raise InputError(f"damaged JSON ({error})") from error
    if isinstance(data, list):
        places = (f"item {number}" for number in range(1, len(data) + 1))
    else:
        data = data.get("annotations")
        if not isinstance(data, list):
            raise InputError("JSON without an 'annotations' list: COCO's captions format is needed")
        places = (f"annotation {number}" for number in range(len(data)))
        column, id_column = column or "caption", id_column or "id"
    entries = enumerate(zip(places, data, strict=True), 1)
    return (_json_entry(place, value, number, column, id_column) for number, (place, value) in entries)


def _json_entry(place: str, value: Any, number: int, column: str | None, id_column: str | None) -> Entry:
    if isinstance(value, str) and column is None and id_column is None:
        return place, value, number
    if not isinstance(value, dict):
        raise InputError(f"{place}: is {shortened(value)}: an object with a caption is needed")
    column = _guess(value) if column is None else column
    for wanted in (column, id_column):
        if wanted is not None and wanted not in value:
            raise InputError(f"{place}: has no {wanted!r}: its keys are {_listed(list(value))}")
    if column is None:
        raise InputError(f"{place}: name the key that holds the caption: {_listed(list(value))}")
    return place, value[column], number if id_column is None else value[id_column]
