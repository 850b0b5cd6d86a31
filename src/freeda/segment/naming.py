"""Names without a list of words: a photograph's regions retrieve rows of a bank, whose nouns vote.

The names that got enough votes become a vocabulary, and the photograph is labelled with it as with any other:
regions nominate, labelling decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BankError, InputError
from ..options import Naming, SegmentOptions
from ..profile import OFF, Clock
from ..show.tree import Area, AreaTree, NamedRegion, Word
from .background import BACKGROUND
from .matching import LocalScore, NearScore
from .prototypes import ReferenceBank, looked_up, nouns_of
from .result import Segmentation, segment_scene
from .scene import Scene
from .vocabulary import Vocabulary, tidy
from .window_encoding import Floats, unit_rows

Ints = npt.NDArray[np.int64]
SAMPLE = 512
"""Rows of a bank that tell how near its rows are to one another, and where its middle is."""
OF_NOUN = 64
"""Rows of a noun that its means are taken over, at most."""
ENOUGH = 0.3
"""Local score that makes no background: a pixel's windows are averaged, what is near has 0.5 or more in each,
what is not has 0, so that about half of them decide."""


@dataclass(frozen=True)
class Found:
    """What a bank says of a scene's regions."""

    names: dict[str, tuple[str, ...]]
    """Each name with its other nouns; the first has the most votes."""
    words: tuple[str, ...]
    """The nouns that voted."""
    votes: npt.NDArray[np.float64]
    """(R, words) the share of the region's votes that each noun has."""
    nearest: Floats
    """(R,) cosine with the nearest row that has a noun, -1 where there is none."""


class Namer:
    """Finds names among the nouns of a bank; made once for any number of photographs (`FreeDA.namer`).

    Takes the place of a vocabulary in `FreeDA.segment_many`. A noun that is blank, no text or "background"
    names nothing.
    """

    def __init__(self, bank: ReferenceBank | None, options: Naming, preset: str = "") -> None:
        """Raises InputError where there is no bank, BankError for one whose rows have no nouns."""
        self.bank, self.options = nouns_bank(bank, preset), options
        different, which = _different(self.bank)
        known: dict[str, int] = {}
        number = [known.setdefault(word, len(known)) if word else -1 for word in map(_as_name, different)]
        self._number: Ints = np.array(number, np.int64)[which]
        self.words = tuple(known)
        """The bank's different nouns, as they name regions."""
        if not known:
            raise BankError(f"{self.bank!r}: no row has a noun that could name anything")
        self._order = np.argsort(self._number, kind="stable")
        self._starts = np.searchsorted(self._number[self._order], np.arange(len(known) + 1))
        rows = _some(np.flatnonzero(self._number >= 0), SAMPLE)
        keys, looks = self._read(rows)
        self._middle = keys.mean(axis=0), looks.mean(axis=0)
        self.near = self._nearness(rows, looks)
        """Cosine from which a row counts as near; 2 where no row is near another of its noun."""
        self.point = lru_cache(4096)(self._mean)
        """A word's mean key and mean look, less the bank's, at length 1; by its number in `words`."""

    def digest(self) -> str:
        """SHA-256 (hex) of the bank and the options; new each time for a bank that cannot tell what it is."""
        banks = getattr(self.bank, "banks", (self.bank,))
        told = [getattr(bank, "identity", None) or f"{id(bank)} {id(self)}" for bank in banks]
        return sha256(repr((type(self.bank).__name__, told, self.options)).encode()).hexdigest()

    def find(self, scene: Scene) -> Found:
        """The names of a scene's regions. Raises InputError for a scene without regions."""
        features = scene.region_features()
        if not len(features):
            raise InputError("there are no regions to name: choose superpixels, or give a map of regions")
        scores, numbers = self.neighbours(features)
        voted, column = np.unique(numbers, return_inverse=True)
        votes = np.zeros((len(features), len(voted)))
        region = np.repeat(np.arange(len(features)), numbers.shape[1])
        np.add.at(votes, (region, column.ravel()), np.maximum(scores, 0).ravel())
        voted, votes = voted[voted >= 0], votes[:, voted >= 0]
        group = self.merged(voted)
        leaders = np.unique(group)
        merged: npt.NDArray[np.float64] = votes @ (group[:, None] == leaders)
        total = np.maximum(merged.sum(axis=1, keepdims=True), 1e-12)
        standing = ((merged / total >= self.options.votes) & (merged > 0)).any(axis=0)
        strength = merged.sum(axis=0)
        order = sorted(range(len(leaders)), key=lambda i: (-strength[i], self.words[leaders[i]]))
        chosen = [int(leaders[i]) for i in order if standing[i]] or [int(leaders[i]) for i in order[:1]]
        if not chosen:  # none of the rows retrieved has a noun
            chosen = [int(np.diff(self._starts).argmax())]
        names = {
            self.words[one]: tuple(self.words[w] for w in voted[group == one] if w != one) for one in chosen
        }
        return Found(names, tuple(self.words[w] for w in voted), votes / total, _nearest(scores, numbers))

    def neighbours(self, features: Floats) -> tuple[Floats, Ints]:
        """Cosines and words (R, k) of the nearest rows of unit features (R, D); -1 for a row that names
        nothing."""
        bank: Any = self.bank
        scores, rows = bank.search(features, min(self.options.neighbours, len(bank)), "prototype")
        good = (rows >= 0) & np.isfinite(scores)
        return np.where(good, scores, np.float32(0)), np.where(good, self._number[rows], -1)

    def nearness(self, features: Floats) -> Floats:
        """(R,) cosine of unit features (R, D) with the nearest row that has a noun; -1 where none has."""
        return _nearest(*self.neighbours(features))

    def merged(self, words: Ints) -> Ints:
        """(W,) for each of some words (W,) the one whose name it goes by.

        The words are taken by how many rows they have, of equal ones by the alphabet; each joins the first
        before it that leads and is alike (`Naming.merge`), or leads.
        """
        count = np.diff(self._starts)
        order = sorted(range(len(words)), key=lambda i: (-count[words[i]], self.words[words[i]]))
        group, leaders = np.array(words, np.int64), list[int]()
        for i in order:
            mine = self.point(int(words[i]))
            same = (j for j in leaders if self._alike(mine, self.point(int(words[j]))))
            first = next(same, None)
            if first is None:
                leaders.append(i)
            else:
                group[i] = words[first]
        return group

    def _alike(self, one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> bool:
        return all(float(a @ b) >= self.options.merge for a, b in zip(one, other, strict=True))

    def _mean(self, word: int) -> tuple[Floats, Floats]:
        """A word's mean key and mean look, less the bank's, at length 1."""
        keys, looks = self._read(_some(self._order[self._starts[word] : self._starts[word + 1]], OF_NOUN))
        means = (
            np.stack([keys.mean(axis=0) - self._middle[0]]),
            np.stack([looks.mean(axis=0) - self._middle[1]]),
        )
        key, look = map(unit_rows, means)
        return key[0], look[0]

    def _read(self, rows: Ints) -> tuple[Floats, Floats]:
        """Keys and looks (prototypes at length 1) of rows; zeros where they are not finite."""
        bank: Any = self.bank
        both = (looked_up(part, rows).astype(np.float32) for part in (bank.keys, bank.prototypes))
        keys, looks = (np.where(np.isfinite(x).all(axis=1, keepdims=True), x, np.float32(0)) for x in both)
        return keys, unit_rows(looks)

    def _nearness(self, rows: Ints, looks: Floats) -> float:
        """The cosine of a row and the nearest of its noun that all but the share `far` of `rows` reach; rows
        without such a one among their nearest do not count."""
        bank: Any = self.bank
        scores, found = bank.search(looks, min(self.options.neighbours + 1, len(bank)), "prototype")
        same = (self._number[found] == self._number[rows][:, None]) & (found >= 0) & (found != rows[:, None])
        has = same.any(axis=1)
        if not has.any():
            return 2.0
        return float(np.quantile(scores[has, same.argmax(axis=1)[has]], self.options.far))


def name_scene(
    scene: Scene,
    namer: Namer,
    ready: Callable[[Mapping[str, Sequence[str]]], Vocabulary],
    options: SegmentOptions,
    clock: Clock = OFF,
    score: LocalScore | None = None,
) -> Segmentation:
    """Label a scene with the names that are found for its regions, made `ready` as a vocabulary.

    Names that get no pixel are left out. Where `options` have no background, pixels that nothing in the bank
    is near become one. Raises as `Namer.find`.
    """
    with clock("naming"):
        found = namer.find(scene)
    if options.background == "none":
        options = replace(options, background="local-of-winner", background_threshold=ENOUGH)
        score = NearScore(namer.nearness, namer.near, score)
    names = found.names
    result = segment_scene(scene, ready(names), options, namer.bank, clock, score)
    there = {name: names[name] for name in names if result.shares[name] > 0} or dict([*names.items()][:1])
    if len(there) < len(names):
        result = segment_scene(scene, ready(there), options, namer.bank, clock, score)
    return replace(result, tree=_tree(result, there, found, namer.near))


def nouns_bank(bank: ReferenceBank | None, preset: str = "") -> ReferenceBank:
    """The bank, if its rows have nouns. Raises InputError for none, BankError for another."""
    if bank is None:
        raise InputError(
            f"names come from a bank, and preset '{preset}' has none of its own: give one (bank=DIR or "
            "--bank DIR), made by `freeda collect`, or words of your own (`freeda segment --classes`)"
        )
    if nouns_of(bank) is None or not hasattr(bank, "keys"):
        raise BankError(f"{bank!r}: its rows have no nouns, so it can name nothing: take another bank")
    if len(bank) == 0:
        raise BankError("the bank holds no pairs: collect some captions first")
    return bank


def _different(bank: Any) -> tuple[Sequence[str], Ints]:
    """The nouns of a bank, each once, and which of them every row has."""
    if hasattr(bank.nouns, "part"):
        different, which = bank.nouns.part
        return different, np.asarray(which, np.int64)
    different, which = np.unique(np.asarray(list(bank.nouns), object).astype(str), return_inverse=True)
    return different.tolist(), which.astype(np.int64)


def _as_name(noun: str) -> str:
    """A noun as it names regions; "" where it cannot."""
    try:
        name = tidy(noun).casefold()
    except InputError:
        return ""
    return "" if name == BACKGROUND else name


def _some(rows: Ints, most: int) -> Ints:
    """At most so many of rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _nearest(scores: Floats, numbers: Ints) -> Floats:
    return np.where(numbers >= 0, scores, np.float32(-1)).max(axis=1)


def _tree(result: Segmentation, names: Mapping[str, Sequence[str]], found: Found, near: float) -> AreaTree:
    """The areas of a label map: names, their words, and regions by the word that has the most votes there."""
    labels, regions = result.labels.astype(np.int64), result.regions.astype(np.int64)
    pairs, counts = np.unique(labels * (len(found.nearest) + 1) + regions + 1, return_counts=True)
    parts: dict[int, dict[str, list[NamedRegion]]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        label, region = divmod(pair, len(found.nearest) + 1)
        words = parts.setdefault(label, {})
        if region == 0:
            continue
        votes = dict(zip(found.words, found.votes[region - 1].tolist(), strict=True))
        votes = {w: v for w, v in sorted(votes.items(), key=lambda one: (-one[1], one[0])) if v > 0}
        name = result.names[label]
        own = (name, *names[name]) if name in names else ("",)
        word = max(own, key=lambda w: votes.get(w, 0.0))  # of equal ones the name itself
        one = NamedRegion(region - 1, count / labels.size, float(found.nearest[region - 1]), votes)
        words.setdefault(word, []).append(one)
    areas = [
        Area(result.names[label], result.shares[result.names[label]], _by_size(words))
        for label, words in parts.items()
    ]
    return AreaTree(tuple(sorted(areas, key=lambda area: -area.share)), near)


def _by_size(words: Mapping[str, Sequence[NamedRegion]]) -> tuple[Word, ...]:
    made = [
        Word(word, sum(one.share for one in ones), tuple(sorted(ones, key=lambda one: -one.share)))
        for word, ones in words.items()
    ]
    return tuple(sorted(made, key=lambda word: -word.share))
