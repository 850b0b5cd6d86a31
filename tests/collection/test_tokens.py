"""Character spans to text positions, as the pipeline tokenizes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freeda.collection.nouns import find_nouns
from freeda.collection.tokens import span_columns, token_offsets, whole
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


spans = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda s: (min(s), max(s))), max_size=5
)


@given(spans, spans.map(lambda found: [s for s in found if s[0] < s[1]]))
def test_columns_against_single_characters(
    offsets: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    """Slow and plain: a position is taken if one of its characters is one of the spans'."""
    characters = {c for start, end in wanted for c in range(start, end)}
    expected = [i for i, (start, end) in enumerate(offsets) if characters & set(range(start, end))]
    assert span_columns(offsets, wanted) == expected


def test_a_long_caption_keeps_the_nouns_that_fit(tiny_tokenizer: Any) -> None:
    """Wherever the end falls, also inside a word: what is kept is what the kept positions cover in full."""
    kept_counts = set()
    for padding in range(40):
        text = "the " * padding + "cat and a mountaineer by the stop sign with a dog"
        every = tiny_tokenizer(text, return_offsets_mapping=True)["offset_mapping"][1:-1]
        kept = every[: tiny_tokenizer.model_max_length - 2]
        seen = {c for start, end in kept for c in range(start, end)}
        offsets = token_offsets(tiny_tokenizer, text)
        for noun in find_nouns(text, "pattern"):
            (span,) = noun.spans
            fits = set(range(*span)) - {text.find(" ", span[0], span[1])} <= seen
            assert whole(offsets, span) == fits, (text[-60:], noun)
            assert len(kept) < len(every) or fits
        kept_counts.add(sum(whole(offsets, n.spans[0]) for n in find_nouns(text, "pattern")))
    assert kept_counts == {0, 1, 2, 3, 4}
