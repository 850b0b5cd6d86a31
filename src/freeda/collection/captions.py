"""Captions, from a file or given directly, each with the id that its picture's seed is made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .readers import caption_rows, check_text


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and the id that its picture's seed is made from."""

    id: str
    text: str
    word: str | None = None
    """The one noun that is wanted of this caption; None finds all of its nouns (see `nouns.nouns_of`)."""


class Captions(list[Caption]):
    """Captions in their order, and how many were left out because their text had been there before."""

    repeated: int = 0


def read_captions(
    path: str | Path,
    limit: int | None = None,
    *,
    column: str | None = None,
    id_column: str | None = None,
    duplicates: str = "keep",
) -> Captions:
    """The captions of a file, in file order: see `readers` for the forms it may have.

    White space is collapsed to single blanks; rows without text are skipped.

    Args:
        limit: take only the first so many, and read no further.
        column: the column (or JSON key) of the text; None takes one of `readers.TEXT_COLUMNS`.
        id_column: the column (or JSON key) of the id; None takes the number of the row, from 1, and "id" in
            COCO's JSON. Ids must differ.
        duplicates: "keep", or "skip" captions whose text was there before (letter by letter).

    Raises:
        InputError: in one line, naming the file and the place in it, for a file that is missing, damaged,
            of another kind, without such a column, or without a caption.
    """
    path = Path(path)
    rows = caption_rows(path, column, id_column)
    found = _gather(((f"{path}: {place}: ", Caption(i, t)) for place, i, t in rows), limit, duplicates)
    if not found:
        raise InputError(f"{path}: holds no caption: one caption a line, or COCO captions JSON, is needed")
    return found


def to_captions(
    captions: str | Path | Iterable[str | Caption],
    limit: int | None = None,
    *,
    column: str | None = None,
    id_column: str | None = None,
    duplicates: str = "keep",
) -> Captions:
    """Captions from a file as `read_captions`, or from texts given directly (ids are their places, from 1).

    Raises InputError also for no caption, an empty one, two with the same id, and one that does not hold the
    `word` wanted of it.
    """
    if isinstance(captions, (str, Path)):
        return read_captions(captions, limit, column=column, id_column=id_column, duplicates=duplicates)
    if column is not None or id_column is not None:
        raise InputError("column and id_column are for caption files: these captions were given directly")
    found = _gather((("", caption) for caption in _given(captions)), limit, duplicates)
    if not found:
        raise InputError("no captions were given")
    return found


def word_spans(text: str, word: str) -> tuple[tuple[int, int], ...]:
    """Where `word` stands in `text` as a word by itself, in any case: half-open character spans."""
    parts = r"\s+".join(re.escape(part) for part in word.split())
    if not parts:
        return ()
    return tuple(m.span() for m in re.finditer(rf"(?<!\w){parts}(?!\w)", text, re.IGNORECASE))


def _given(captions: Iterable[str | Caption]) -> Iterator[Caption]:
    for place, given in enumerate(captions, 1):
        if not isinstance(given, (str, Caption)):
            raise InputError(f"caption {place} is {given!r}: it must be text or a Caption")
        caption = given if isinstance(given, Caption) else Caption(str(place), " ".join(given.split()))
        for part in (caption.id, caption.text):
            check_text(f"caption {caption.id}", part)
        if not caption.text.strip():
            raise InputError(f"caption {caption.id} is empty")
        if caption.word is not None and not word_spans(caption.text, caption.word):
            raise InputError(f"caption {caption.id} does not hold the word {caption.word!r} wanted of it")
        yield caption


def _gather(found: Iterable[tuple[str, Caption]], limit: int | None, duplicates: str) -> Captions:
    """The captions, checked; each comes with its place in words, which an error names."""
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: at least 1 caption must be taken")
    if duplicates not in ("keep", "skip"):
        raise InputError(f"duplicates is {duplicates!r}: it must be 'keep' or 'skip'")
    out, ids, texts = Captions(), set[str](), set[str]()
    for place, caption in found:
        if caption.id in ids:
            raise InputError(
                f"{place}caption id {caption.id} occurs twice: ids must differ, seeds are made from them"
            )
        ids.add(caption.id)
        if duplicates == "skip":
            if caption.text in texts:
                out.repeated += 1
                continue
            texts.add(caption.text)
        out.append(caption)
        if len(out) == limit:
            break
    return out
