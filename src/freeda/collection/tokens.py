"""From characters of a caption to the text positions that a model's attention runs over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ModelError, first_line, out_of_memory


def token_offsets(tokenizer: Any, text: str, length: int | None = None) -> list[tuple[int, int]]:
    """Half-open character span of every text position, exactly as a pipeline tokenizes its prompt.

    Padded and cut to `length`, or to `tokenizer.model_max_length`; special tokens have the empty span (0, 0).
    Raises ModelError for a tokenizer that cannot tell offsets (one that is not "fast").
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{type(tokenizer).__name__} tells no character offsets: a tokenizer.json is needed")
    coded = tokenizer(
        text,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length if length is None else length,
        return_offsets_mapping=True,
    )
    return [(int(start), int(end)) for start, end in coded["offset_mapping"]]


def prove_tokenizer(tokenizer: Any) -> None:
    """Raise ModelError where a tokenizer does not say where a word stands, which is no caption's fault."""
    try:
        placed = span_columns(token_offsets(tokenizer, "a dog"), [(2, 5)])
    except Exception as error:  # libraries raise all kinds
        if isinstance(error, ModelError) or out_of_memory(error):
            raise
        told = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(f"the generator's tokenizer does not work here ({told})") from error
    if not placed:
        raise ModelError("the generator's tokenizer does not say where a word stands: its files are damaged")


def span_columns(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[int]:
    """Text positions whose characters overlap any of the spans, ascending; empty if they were cut off."""
    return [
        i
        for i, (start, end) in enumerate(offsets)
        if end > start and any(start < stop and begin < end for begin, stop in spans)
    ]


def whole(offsets: Sequence[tuple[int, int]], span: tuple[int, int]) -> bool:
    """Whether a span lies within what the tokenizer kept of the text."""
    return span[1] <= max((end for _, end in offsets), default=0)
