"""What the nouns of many captions are, before a single picture is drawn."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .captions import Caption
from .nouns import find_nouns, nouns_of
from .tagging import choose_tagger


@dataclass
class Survey:
    """Counts over captions; a noun counts once a caption, as it makes one pair."""

    tagger: str
    captions: int = 0
    repeated: int = 0
    """Captions whose text was there before."""
    per_caption: Counter[int] = field(default_factory=Counter)
    """Number of nouns -> captions that have so many."""
    nouns: Counter[str] = field(default_factory=Counter)
    """Lemma -> captions that mention it."""
    seconds: float = 0.0
    """Time taken to find the nouns, once the tagger is loaded."""

    @property
    def mentions(self) -> int:
        """Nouns over all captions: the most pairs that a bank of them can hold."""
        return sum(self.nouns.values())

    @property
    def without(self) -> int:
        """Captions without a noun; they are not drawn."""
        return self.per_caption[0]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, nouns by falling frequency."""
        return {
            "tagger": self.tagger,
            "captions": self.captions,
            "repeated": self.repeated,
            "without_nouns": self.without,
            "mentions": self.mentions,
            "nouns_per_caption": self.mentions / max(self.captions, 1),
            "captions_by_nouns": {str(n): self.per_caption[n] for n in sorted(self.per_caption)},
            "seconds": self.seconds,
            "nouns": dict(ranked(self.nouns)),
        }


def survey(captions: Iterable[Caption], tagger: str = "auto") -> Survey:
    """Find the nouns of all captions and count them. Raises InputError for an unknown tagger."""
    out, texts = Survey(choose_tagger(tagger)), set[str]()
    find_nouns("a word", out.tagger)  # loads the tagger
    for caption in captions:
        begin = time.perf_counter()
        found = nouns_of(caption, out.tagger)
        out.seconds += time.perf_counter() - begin
        out.captions += 1
        out.repeated += caption.text in texts
        texts.add(caption.text)
        out.per_caption[len(found)] += 1
        out.nouns.update(noun.lemma for noun in found)
    return out


def ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """By falling count, equal ones in the alphabet's order, so that the same captions give the same list."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
