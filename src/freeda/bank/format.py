"""The bank's files: one Parquet file a shard, one row a pair, and what a shard says about itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import BankError
from ..files import atomic_path

FORMAT, VERSION = "freeda-bank", 2
MANIFEST, SHARDS = "bank.json", "shards"
REGIONS = "regions"
"""The folder, within a bank's, of its bank of region values (docs/bank.md)."""
_ABOUT = b"freeda"
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError)  # as JSON can be
_MOST_PACKED = 200
"""How many times its size a shard may unpack to: keys repeat, prototypes do not."""
_ROW_GROUP = 1024  # small, so that one row can be read without its whole shard

VECTORS = ("key", "prototype")
Kept = npt.NDArray[np.bool_]
"""Which rows of a shard, or of a bank, stay: (n,)."""
SCHEMA = pa.schema(
    [
        pa.field("caption_id", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("noun", pa.string(), nullable=False),
        pa.field("spans", pa.list_(pa.list_(pa.int32())), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("key", pa.list_(pa.float16()), nullable=False),
        pa.field("prototype", pa.list_(pa.float16()), nullable=False),
        pa.field("area", pa.float32(), nullable=False),
        pa.field("contrast", pa.float32(), nullable=False),
        pa.field("agreement", pa.float32(), nullable=False),
        pa.field("image", pa.binary()),
        pa.field("mask", pa.binary()),
    ]
)
"""A shard's columns; its vectors are lists of a fixed length, but in an empty shard and an older one."""


class OtherFormat(BankError):
    """A shard of another version of the format: not damaged, and never to be made again unasked."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One noun of one caption: a row of the bank."""

    caption_id: str
    caption: str
    noun: str
    """Singular, lower case."""
    spans: tuple[tuple[int, int], ...]
    """Half-open character spans of the noun in the caption."""
    seed: int
    """Seed of the generated picture, 0 to 2**63 - 1."""
    key: npt.NDArray[np.float16]
    """(dk,) textual key, L2-normalised."""
    prototype: npt.NDArray[np.float16]
    """(dp,) visual prototype, un-normalised."""
    area: float
    """Share of the picture inside the mask, 0 to 1."""
    contrast: float
    """Mean of the word's map inside the mask minus outside, 0 to 1."""
    agreement: float
    """Cosine of the picture's CLIP embedding with the key, -1 to 1."""
    image: bytes | None = None
    """JPEG of the picture; only on the first pair of a caption, and only where pictures are kept."""
    mask: bytes | None = None
    """PNG (one bit) of the noun's mask, at the JPEG's size."""


@dataclass(frozen=True)
class ShardInfo:
    """What a shard's file says about itself."""

    settings: dict[str, Any]
    """Models, options and seed that the shard was made with."""
    digest: str
    """Of its captions, see `caption_digest`."""
    captions: int
    pictures: int
    """Captions with at least one noun that could be looked for; the others are not drawn."""
    rejected: dict[str, int]
    """Reason -> number of nouns that gave no row for it."""
    failed: list[dict[str, str]]
    """Captions on which a model failed: {"caption_id", "error"} each; none of their nouns gave a row."""
    pairs: int


@dataclass(frozen=True)
class ShardEntry:
    """A shard as bank.json lists it."""

    file: str
    """Path within the bank."""
    captions: int
    pictures: int
    rejected: dict[str, int]
    """Reason -> number of nouns."""
    failed: int
    """Captions on which a model failed; the shard itself names them."""
    pairs: int
    bytes: int
    sha256: str
    """Of the file; looked at by `verify`, not at every opening."""


def shard_name(index: int) -> str:
    """Path of a shard within a bank: shards/00000.parquet, ..."""
    return f"{SHARDS}/{index:05d}.parquet"


def caption_digest(captions: Iterable[tuple[str, str]]) -> str:
    """A digest of (id, text) pairs in order."""
    found = hashlib.sha256()
    for identity, text in captions:
        found.update(json.dumps([identity, text]).encode())
    return found.hexdigest()


def write_shard(path: Path, pairs: Sequence[Pair], info: dict[str, Any]) -> None:
    """Write one shard, whole or not at all; `info` holds ShardInfo's fields but `pairs`."""
    columns = {name: [getattr(p, name) for p in pairs] for name in SCHEMA.names}
    arrays = [
        vectors(values) if name in VECTORS else pa.array(values, SCHEMA.field(name).type)
        for name, values in columns.items()
    ]
    write_rows(path, pa.table(arrays, schema=SCHEMA), info)


def write_rows(path: Path, table: Any, info: dict[str, Any]) -> None:
    """`write_shard` for rows that are an Arrow table of a shard's columns already."""
    schema = SCHEMA
    for name in VECTORS:
        i, widths = SCHEMA.get_field_index(name), pc.unique(pc.list_value_length(table.column(name)))
        if len(widths) == 1 and widths[0].as_py() > 0:
            schema = schema.set(i, SCHEMA.field(i).with_type(pa.list_(pa.float16(), widths[0].as_py())))
    about = json.dumps({"format": FORMAT, "version": VERSION, **info}, sort_keys=True)
    table = table.cast(schema).replace_schema_metadata({_ABOUT: about.encode()})
    with atomic_path(path) as temp:
        # Checksums a page, so that a shard can be told whole from damaged with nothing else at hand.
        pq.write_table(
            table,
            temp,
            compression="zstd",
            row_group_size=_ROW_GROUP,
            use_dictionary=["caption_id", "caption", "noun"],  # vectors hardly repeat a value
            write_statistics=False,  # nobody asks for them, and no checksum covers them
            write_page_checksum=True,
        )


def read_info(path: Path) -> ShardInfo:
    """What a shard says about itself. Raises BankError naming it when it is missing, damaged or foreign.

    Only its footer is read, and what that promises is held against the file's size: no later reading takes
    more memory than a bank's rows can need.
    """
    try:
        file = pq.read_metadata(path)
        about = json.loads((file.metadata or {})[_ABOUT])
        if about.pop("format") != FORMAT or about.pop("version") != VERSION:
            raise OtherFormat(
                f"{path}: written in a bank format this version does not read (it reads {VERSION})"
            )
        info = ShardInfo(pairs=file.num_rows, **about)
        counts = (info.captions, info.pictures)
        kinds = isinstance(info.settings, dict) and isinstance(info.digest, str)
        if not kinds or not is_counts(info.rejected) or not isinstance(info.failed, list):
            raise ValueError("values of the wrong kind")
        if not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("counts of the wrong kind")
        if not is_shard(file.schema.to_arrow_schema()):
            raise BankError(f"{path}: its columns are not those of a bank's shard")
        _check_promises(path, file)
        return info
    except FileNotFoundError as error:
        raise BankError(f"{path}: this shard is missing") from error
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise BankError(f"{path}: not a whole shard of a bank") from error


def is_shard(schema: Any) -> bool:
    """Whether columns are those of a shard, its vectors lists of any length or of a fixed one."""
    for i, field in enumerate(schema):
        if field.name in VECTORS and pa.types.is_fixed_size_list(field.type):
            schema = schema.set(i, field.with_type(pa.list_(field.type.value_type)))
    return bool(schema.equals(SCHEMA))


def _check_promises(path: Path, file: Any) -> None:
    """Raise BankError where a shard's footer promises more than its file can hold.

    Vectors are written plainly, two bytes a number, and hardly shrink; a file that unpacks to very much more
    than its size, or whose vectors are fewer bytes than numbers, is made to fill memory.
    """
    groups = [file.row_group(i) for i in range(file.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    unpacked = sum(column.total_uncompressed_size for column in columns)
    size = path.stat().st_size
    if unpacked > size * _MOST_PACKED + 2**20:
        raise BankError(f"{path}: refused: its {size:,} bytes would unpack to {unpacked:,}")
    for column in columns:
        name = column.path_in_schema.split(".")[0]
        if name in VECTORS and column.num_values * 2 > column.total_uncompressed_size:
            raise BankError(f"{path}: refused: its column '{name}' is packed as no bank's is")


def is_counts(value: Any) -> bool:
    """Whether a value is reason -> number, none of them negative."""
    return isinstance(value, dict) and all(type(n) is int and n >= 0 for n in value.values())


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Raise BankError where this of a shard cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        raise BankError(f"{path}: damaged shard: {what} cannot be read") from error


def read_column(path: Path, name: str) -> Any:
    """One column of a shard as a pyarrow array. Raises BankError when it cannot be read."""
    with _reading(path, f"its column '{name}'"):
        return pq.read_table(path, columns=[name]).column(name).combine_chunks()


def read_strings(path: Path, name: str) -> tuple[list[str], npt.NDArray[np.int32]]:
    """A column of strings as its different values, and which of them each row has, (n,).

    Raises BankError when it cannot be read.
    """
    with _reading(path, f"its column '{name}'"), pq.ParquetFile(path, read_dictionary=[name]) as file:
        column = file.read(columns=[name]).column(name).combine_chunks()
    return column.dictionary.to_pylist(), column.indices.to_numpy(zero_copy_only=False)


def read_vectors(path: Path, name: str, dim: int) -> npt.NDArray[np.float16]:
    """A "key" or "prototype" column as (n, dim) float16. Raises BankError for another width."""
    column = read_column(path, name)
    flat: npt.NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    if len(flat) != len(column) * dim or not pc.all(pc.equal(pc.list_value_length(column), dim)).as_py():
        raise BankError(f"{path}: damaged shard: its column '{name}' is not {dim} wide throughout")
    return flat.astype(np.float16, copy=False).reshape(len(column), dim)


def read_first(path: Path, *names: str) -> list[tuple[Any, ...]]:
    """These columns of a shard's first rows, a few of them. Raises BankError when they cannot be read."""
    with _reading(path, f"its columns {names}"), pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(64, columns=list(names)), None)
    columns = [] if batch is None else [batch.column(name).to_pylist() for name in names]
    return list(zip(*columns, strict=True))


def read_row(path: Path, row: int) -> dict[str, Any]:
    """One row of a shard as plain values. Raises BankError when it cannot be read."""
    with _reading(path, f"row {row}"), pq.ParquetFile(path) as file:
        left = row
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if left < rows:
                found: dict[str, Any] = file.read_row_group(group).slice(left, 1).to_pylist()[0]
                return found
            left -= rows
    raise BankError(f"{path}: this shard has no row {row}")


def vectors(rows: Sequence[npt.NDArray[np.float16]] | npt.NDArray[np.float16]) -> Any:
    """Rows (D,) as an Arrow array of lists."""
    flat = np.concatenate(rows) if len(rows) else np.zeros(0, np.float16)
    offsets = np.cumsum([0] + [len(r) for r in rows]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, pa.float16()))


def read_rows(path: Path, columns: list[str] | None = None) -> Any:
    """A shard's rows as an Arrow table of these columns, or all. Raises BankError when it cannot be read."""
    read_info(path)  # which looks at what the footer promises
    with _reading(path, "its rows"):
        return pq.read_table(path, columns=columns, page_checksum_verification=True)


def copy_rows(source: Path, target: Path, kept: Kept) -> ShardInfo:
    """Write the rows of a shard that are `kept` (n,) as another shard; what it now says about itself.

    A caption's picture lies with its first row: where that row goes, the next of the caption gets it. A
    caption none of whose rows is left is no longer counted. A shard of which all is kept is copied as it is.
    """
    info = read_info(source)
    if kept.all():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return info
    table = _pictures_moved(read_rows(source), kept).filter(pa.array(kept))
    before = read_rows(source, ["caption_id"]).column("caption_id").to_pylist()
    gone = len(set(before)) - len(set(table.column("caption_id").to_pylist()))
    counts = {name: max(getattr(info, name) - gone, 0) for name in ("captions", "pictures")}
    about = {name: value for name, value in {**asdict(info), **counts}.items() if name != "pairs"}
    write_rows(target, table, about)
    return read_info(target)


def _pictures_moved(table: Any, kept: Kept) -> Any:
    """The table with each picture on the first row of its caption that stays."""
    column = table.column("image")
    if column.null_count == len(table):
        return table
    ids, images = table.column("caption_id").to_pylist(), column.to_pylist()
    caption, waiting = "", None
    for i, name in enumerate(ids):
        image = waiting if images[i] is None and name == caption else images[i]
        caption, waiting = name, None if kept[i] else image
        images[i] = image
    at = SCHEMA.get_field_index("image")
    return table.set_column(at, SCHEMA.field(at), pa.array(images, pa.binary()))
