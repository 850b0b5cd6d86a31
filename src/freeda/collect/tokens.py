"""From characters of a caption to the text positions that a model's attention runs over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ModelError


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
