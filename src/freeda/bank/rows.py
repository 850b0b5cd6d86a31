"""Some rows of a shard, as a shard of another bank: what merging and cleaning share."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import BankError
from .format import SCHEMA, ShardInfo, read_info, write_rows

Kept = npt.NDArray[np.bool_]


def read_rows(path: Path, columns: list[str] | None = None) -> Any:
    """A shard's rows as an Arrow table of these columns, or all. Raises BankError when it cannot be read."""
    read_info(path)  # which looks at what the footer promises
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise BankError(f"{path}: damaged shard: it cannot be read whole") from error


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
    write_rows(
        target,
        table,
        {
            "settings": info.settings,
            "digest": info.digest,
            "captions": max(info.captions - gone, 0),
            "pictures": max(info.pictures - gone, 0),
            "rejected": info.rejected,
            "failed": info.failed,
        },
    )
    return read_info(target)


def _pictures_moved(table: Any, kept: Kept) -> Any:
    """The table with each picture on the first row of its caption that stays."""
    column = table.column("image")
    if column.null_count == len(table):
        return table
    ids, images = table.column("caption_id").to_pylist(), column.to_pylist()
    waiting: tuple[str, bytes] | None = None
    for i, name in enumerate(ids):
        if waiting is not None and waiting[0] != name:
            waiting = None
        if images[i] is not None and not kept[i]:
            waiting = (name, images[i])
        elif waiting is not None and kept[i]:
            if images[i] is None:
                images[i] = waiting[1]
            waiting = None
    at = SCHEMA.get_field_index("image")
    return table.set_column(at, SCHEMA.field(at), pa.array(images, pa.binary()))
