"""The nouns of a caption that a picture can show, each with every place where it stands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .captions import Caption, word_spans
from .tagging import FIXED, IRREGULAR, LISTS, Word, choose_tagger, tag_words

_LONGEST = 3  # words in one compound; longer runs are tagger mistakes far more often than nouns


@dataclass(frozen=True)
class Noun:
    """A noun in the singular, lower case ("stop sign"), and its half-open character spans in the caption."""

    lemma: str
    spans: tuple[tuple[int, int], ...]


def find_nouns(text: str, tagger: str = "auto") -> list[Noun]:
    """The drawable nouns of a caption in order of first mention.

    Adjacent nouns are one compound ("brick wall"), a lemma met twice is one Noun with two spans, and words
    that name composition, amount or time ("group", "front", "day") are left out. `text[start:end]` of a span
    is the noun as written, plural included. `tagger` as in `tagging.choose_tagger`.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for run in map(_drop_not_objects, _runs(tag_words(text, tagger), text)):
        if run:
            found.setdefault(_lemma(run), []).append((run[0].start, run[-1].end))
    return [Noun(lemma, tuple(spans)) for lemma, spans in found.items()]


def nouns_of(caption: Caption, tagger: str = "auto") -> list[Noun]:
    """The nouns to look for in a caption's picture: all, or the word wanted of it, plural or not."""
    if caption.word is None:
        return find_nouns(caption.text, tagger)
    spans = word_spans(caption.text, caption.word)
    return [Noun(" ".join(caption.word.lower().split()), spans)] if spans else []


def singular(word: str) -> str:
    """The singular of a lower-case English noun, by a table of exceptions and then by its ending."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if (
        word in LISTS.PLURAL_ONLY
        or len(word) < 4
        or not word.endswith("s")
        or word.endswith(("ss", "us", "is"))
    ):
        return word
    if word.endswith(("ies", "oes")) and len(word) <= 4:
        return word[:-1]
    if word.endswith("ies"):
        return word[:-3] + "y"
    lost = ("sses", "ches", "shes", "xes", "zzes", "oes")
    if word.endswith(lost) or (word.endswith("uses") and not word.endswith("ouses")):
        return word[:-2]
    return word[:-1]


def _runs(words: list[Word], text: str) -> list[list[Word]]:
    """Maximal runs of nouns that stand side by side, cut after persons and plurals, which modify nothing."""
    runs: list[list[Word]] = []
    for i, word in enumerate(words):
        if not word.is_noun:
            continue
        last = words[i - 1]
        joined = (
            i > 0
            and last.is_noun
            and text[last.end : word.start].isspace()
            and (f"{last.text} {word.text}" in FIXED or last.text not in LISTS.PERSONS | LISTS.NOT_OBJECTS)
            and (not _is_plural(last) or last.text in LISTS.PLURAL_MODIFIERS)
            and len(runs[-1]) < _LONGEST
        )
        if joined:
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


def _is_plural(word: Word) -> bool:
    """By tag and form: the tagger takes "broccoli" for a plural, which would cut "broccoli plant" in two."""
    return word.tag in ("NNS", "NNPS") and singular(word.text) != word.text


def _drop_not_objects(run: list[Word]) -> list[Word]:
    """The run without words at its ends that name nothing drawable; nothing of "tennis" is left."""
    if all(w.text in LISTS.GAMES for w in run):
        return []
    if singular(run[-1].text) in LISTS.CONTESTS and not (len(run) > 1 and run[-2].text in LISTS.SHOWN_GAMES):
        return []
    if " ".join(w.text for w in run[-2:]) in FIXED:  # "parking lot", though a lot is nothing by itself
        return run
    while run and _not_object(run[-1]):
        run = run[:-1]
    while run and _not_object(run[0]):
        run = run[1:]
    return run


def _not_object(word: Word) -> bool:
    return (
        len(word.text) < 2
        or word.text in LISTS.NOT_OBJECTS
        or singular(word.text) in LISTS.NOT_OBJECTS
        or (word.text in LISTS.COLOURS and word.tag != "NN")
    )


def _lemma(run: list[Word]) -> str:
    *first, head = (w.text for w in run)
    one = "glass" if first and head == "glasses" else singular(head)  # wine glasses, but a pair of glasses
    return " ".join([*first, one])


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
        return self.nouns.total()

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
