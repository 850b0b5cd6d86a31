"""How well a bank knows the words of a vocabulary: what lies behind every class prototype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..bank.layered import NEAR
from ..options import SegmentOptions
from .prototypes import ReferenceBank, Retrieved, by_frequency, nouns_of, retrieve
from .window_encoding import Floats

ENOUGH = 8
"""Near keys below which a word is poorly covered, where so many are retrieved at all. Our choice."""
_NAMED = 3


class NamedBank(ReferenceBank, Protocol):
    """A bank that knows the noun of every row."""

    @property
    def nouns(self) -> Sequence[str]:
        """N nouns."""


@dataclass(frozen=True)
class Coverage:
    """What was retrieved for one word."""

    word: str
    nearest: float
    """Cosine of the word and the nearest key, -1 to 1."""
    mean: float
    """Mean cosine of the word and the retrieved keys, -1 to 1."""
    retrieved: int
    """References that its prototype is made of, see `freeda.segment.prototypes`: as a rule `k`."""
    near: int
    """Those of them whose cosine is at least `NEAR`."""
    nouns: int
    """Distinct nouns behind the retrieved keys."""
    most: tuple[tuple[str, int], ...]
    """The most frequent of these nouns, with their number of keys."""
    agreement: float
    """Length of the mean of the retrieved prototypes, each brought to length 1: 1 where all point the same
    way, about 1 / sqrt(retrieved) where they have nothing in common. NaN where none is finite."""

    @property
    def poor(self) -> bool:
        """Whether too few of the retrieved keys are near the word for its prototype to be its own."""
        return self.near < min(ENOUGH, self.retrieved) or self.retrieved == 0


def coverage(bank: NamedBank, text: Floats, words: Sequence[str], options: SegmentOptions) -> list[Coverage]:
    """The coverage of words with text embeddings (T, K) float32, L2-normalised, as `options` retrieve.

    Raises InputError as the bank's `search` does.
    """
    if len(bank) == 0:
        return [Coverage(word, float("nan"), float("nan"), 0, 0, 0, (), float("nan")) for word in words]
    return [_one(bank, *one) for one in zip(words, retrieve(bank, text, options), strict=True)]


def not_in_bank(
    bank: ReferenceBank, classes: Mapping[str, Sequence[str]], behind: Sequence[Sequence[str] | None]
) -> dict[str, tuple[str, ...]] | None:
    """The classes none of whose words is a noun of the bank, each with the nouns that answered for it.

    `behind` has per class the nouns of the rows that were retrieved, most frequent first, of which the first
    few are told. None where the bank's rows have no nouns, so that nothing can be said.
    """
    found: dict[str, tuple[str, ...]] = {}
    every: set[str] | None = None
    for (name, words), nouns in zip(classes.items(), behind, strict=True):
        if nouns is None:
            return None
        told = tuple(noun for noun in nouns if noun.strip())[:_NAMED]
        own = {word.casefold() for word in words}
        if not own.isdisjoint(noun.casefold() for noun in nouns):
            continue
        if every is None:  # retrieval may have missed a word's own rows; to read all nouns takes a while
            there = nouns_of(bank)
            different = () if there is None else getattr(there, "different", there)
            every = {str(noun).casefold() for noun in different}
        if told and own.isdisjoint(every):
            found[name] = told
    return found


def _one(bank: NamedBank, word: str, found: Retrieved) -> Coverage:
    scores = found.similarity
    if len(scores) == 0:
        return Coverage(word, float("nan"), float("nan"), 0, 0, 0, (), float("nan"))
    nouns = by_frequency(bank.nouns, found.rows)
    return Coverage(
        word,
        float(scores.max()),
        float(scores.mean(dtype=np.float64)),
        len(scores),
        int((scores >= NEAR).sum()),
        len(nouns),
        tuple(nouns.items())[:_NAMED],
        _agreement(found.prototypes.astype(np.float64)),
    )


def _agreement(prototypes: npt.NDArray[Any]) -> float:
    """Mean resultant length of rows (n, D); rows that are zero or not finite are left out."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(prototypes, axis=1)
    good = np.isfinite(length) & (length > 0)
    if not good.any():
        return float("nan")
    return float(np.linalg.norm((prototypes[good] / length[good, None]).mean(axis=0)))
