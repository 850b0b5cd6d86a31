"""Character spans to text positions, as the pipeline tokenizes."""

from __future__ import annotations

from typing import Any

import pytest

from freeda.collect.tokens import span_columns, token_offsets, whole
from freeda.errors import ModelError


def test_columns_hold_exactly_the_words(tiny_tokenizer: Any) -> None:
    text = "a Mountaineer by the stop  sign, and another SIGN"
    offsets = token_offsets(tiny_tokenizer, text)
    ids = tiny_tokenizer(text, padding="max_length", truncation=True, max_length=32)["input_ids"]
    assert len(offsets) == len(ids) == 32
    assert offsets[0] == (0, 0) and offsets[-1] == (0, 0)
    for start, end in ((2, 13), (21, 31), (45, 49)):
        columns = span_columns(offsets, [(start, end)])
        assert columns and 0 not in columns
        assert "".join(text[slice(*offsets[c])] for c in columns).replace(" ", "") == text[start:end].replace(
            " ", ""
        )
    both = span_columns(offsets, [(45, 49), (27, 31)])
    assert both == sorted(span_columns(offsets, [(27, 31)]) + span_columns(offsets, [(45, 49)]))


def test_what_is_cut_off_has_no_columns(tiny_tokenizer: Any) -> None:
    text = "the " * 40 + "cat"
    offsets = token_offsets(tiny_tokenizer, text)
    assert span_columns(offsets, [(160, 163)]) == []
    assert not whole(offsets, (160, 163)) and whole(offsets, (0, 3))


def test_touching_is_not_overlapping() -> None:
    offsets = [(0, 0), (0, 3), (3, 5), (5, 5), (5, 9), (0, 0)]
    assert span_columns(offsets, [(3, 5)]) == [2]
    assert span_columns(offsets, [(2, 6)]) == [1, 2, 4]


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="offsets"):
        token_offsets(Slow(), "a cat")
