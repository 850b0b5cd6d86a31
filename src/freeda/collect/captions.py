"""Captions from a text file (one a line) or from COCO's captions JSON, told apart by content."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class Caption:
    """A caption and the id that its picture's seed is made from."""

    id: str
    text: str


def read_captions(path: str | Path, limit: int | None = None) -> list[Caption]:
    """The captions of a file, at most `limit` of them, in file order.

    A text file holds one caption a line (blank lines are skipped; the id is the line number, from 1). A JSON
    file is COCO's: {"annotations": [{"id", "caption"}, ...]}. White space is collapsed to single blanks.
    Raises InputError naming the file when it is missing, not UTF-8, damaged or holds no caption.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: captions cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a caption file: it must be UTF-8 text or COCO captions JSON"
        ) from error
    found = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_lines(text.splitlines())
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: at least 1 caption must be taken")
    if not found:
        raise InputError(f"{path}: holds no caption: one caption a line, or COCO captions JSON, is needed")
    return found[:limit]


def to_captions(captions: str | Path | Iterable[str | Caption], limit: int | None = None) -> list[Caption]:
    """Captions from a file, or from texts given directly (ids are then their places, from 1).

    Raises InputError for no caption, an empty one, or two with the same id.
    """
    if isinstance(captions, (str, Path)):
        found = read_captions(captions, limit)
    else:
        found = [
            c if isinstance(c, Caption) else Caption(str(i), " ".join(c.split()))
            for i, c in enumerate(captions, 1)
        ][:limit]
    if not found:
        raise InputError("no captions were given")
    seen: set[str] = set()
    for caption in found:
        if not caption.text.strip():
            raise InputError(f"caption {caption.id} is empty")
        if caption.id in seen:
            raise InputError(
                f"caption id {caption.id} occurs twice: ids must differ, since seeds are made from them"
            )
        seen.add(caption.id)
    return found


def _from_lines(lines: list[str]) -> list[Caption]:
    return [Caption(str(i), " ".join(line.split())) for i, line in enumerate(lines, 1) if line.strip()]


def _from_json(path: Path, text: str) -> list[Caption]:
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        if (
            text.lstrip()[0] == "["
        ):  # a caption may open with a bracket; JSON that is a list holds no COCO captions
            return _from_lines(text.splitlines())
        raise InputError(f"{path}: damaged JSON ({error})") from error
    rows = data.get("annotations") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise InputError(f"{path}: JSON without an 'annotations' list: COCO's captions format is needed")
    found = []
    for i, row in enumerate(rows):
        if not isinstance(row, dict) or not isinstance(row.get("caption"), str) or "id" not in row:
            raise InputError(
                f"{path}: annotation {i} has no 'id' and 'caption': COCO's captions format is needed"
            )
        if row["caption"].strip():
            found.append(Caption(str(row["id"]), " ".join(row["caption"].split())))
    return found
