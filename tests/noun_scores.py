"""Precision and recall of found nouns against nouns marked by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Span = tuple[int, int]
Nouns = Mapping[str, Sequence[Span]]


@dataclass
class Score:
    """Mentions: a noun that stands in two places of a caption counts twice."""

    right: int = 0
    found: int = 0
    marked: int = 0

    @property
    def precision(self) -> float:
        return self.right / self.found

    @property
    def recall(self) -> float:
        return self.right / self.marked

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.3f} ({self.right} of {self.found} found), "
            f"recall {self.recall:.3f} ({self.right} of {self.marked} marked)"
        )


def exact(pairs: Iterable[tuple[Nouns, Nouns]]) -> Score:
    """(found, marked) of every caption: right is the same lemma at the same characters."""
    score = Score()
    for found, marked in pairs:
        a, b = mentions(found), mentions(marked)
        score.right += len(a & b)
        score.found += len(a)
        score.marked += len(b)
    return score


def lenient(pairs: Iterable[tuple[Nouns, Nouns]]) -> Score:
    """Right is also a compound with another number of words that ends in the same word and place."""
    return exact((heads(found), heads(marked)) for found, marked in pairs)


def mentions(nouns: Nouns) -> set[tuple[str, int, int]]:
    return {(lemma, start, end) for lemma, spans in nouns.items() for start, end in spans}


def heads(nouns: Nouns) -> Nouns:
    out: dict[str, list[Span]] = {}
    for lemma, spans in nouns.items():
        out.setdefault(lemma.split()[-1], []).extend((end, end) for _, end in spans)
    return out
