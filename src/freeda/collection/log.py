"""log.jsonl in the bank's directory: one JSON line for every shard made, with what it took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError

LOG = "log.jsonl"


def append_line(folder: Path, entry: dict[str, Any]) -> None:
    """Add one line, at the end, in one write. Raises InputError where the system refuses."""
    path = folder / LOG
    try:
        with open(path, "ab") as file:
            file.write((json.dumps(entry, ensure_ascii=True) + "\n").encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def cut_broken_line(folder: Path) -> None:
    """Take away an unfinished last line, which a process killed or a disk full while writing leaves."""
    path = folder / LOG
    try:
        with open(path, "r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
