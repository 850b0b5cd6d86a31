"""From characters of a caption to the text positions that a model's attention runs over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ModelError, first_line, out_of_memory


class PromptTokenizer:
    """A pipeline's tokenizer, given a caption as the pipelines of PixArt and Sana give it.

    They take it in lower case without blanks at its ends. Sana's puts an instruction before it, and its
    denoiser attends to the first position and the last `length` - 1. Offsets are those of the caption's own
    characters, at the positions that the denoiser attends to; a position without any has (0, 0).

    Args:
        tokenizer: the pipeline's own, a fast one.
        length: text positions that the denoiser attends to.
        before: the instruction, if there is one.
    """

    def __init__(self, tokenizer: Any, length: int, before: str = "") -> None:
        self._tokenizer, self._before, self.model_max_length = tokenizer, before, length
        self.is_fast = getattr(tokenizer, "is_fast", False)
        self._whole = len(tokenizer.encode(before)) + length - 2 if before else length

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        """`input_ids`, all that the text encoder is given, and `offset_mapping`, (length,) spans."""
        # Lower case may be longer: the two characters of a dotted capital I stand for one.
        own = [i for i, character in enumerate(text) for _ in character.lower()]
        lowered = text.lower()
        read = lowered.strip()
        own = own[len(lowered) - len(lowered.lstrip()) :][: len(read)]
        coded = self._tokenizer(
            self._before + read,
            padding="max_length",
            truncation=True,
            max_length=self._whole,
            return_offsets_mapping=True,
            padding_side="right",
        )
        offsets = []
        for start, end in coded["offset_mapping"]:
            start, end = max(0, start - len(self._before)), end - len(self._before)
            offsets.append((own[start], own[end - 1] + 1) if end > start else (0, 0))
        seen = [offsets[0], *offsets[len(offsets) - self.model_max_length + 1 :]]
        return {"input_ids": coded["input_ids"], "offset_mapping": seen}


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
