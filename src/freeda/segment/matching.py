"""A mosaic meets a vocabulary: scores of atoms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import SegmentOptions
from .background import Verdict
from .mosaic import Mosaic
from .prototypes import ReferenceBank
from .support import Support
from .vocabulary import Vocabulary
from .window_encoding import Floats, unit_rows

CHUNK = 1 << 22
"""Scores computed at a time (float32 numbers): what bounds the memory of matching."""
TABLE = 1 << 26
"""Scores kept for reuse, at most (float32 numbers, 256 MiB); beyond that they are computed anew."""


SURE = np.float32(10)
"""How much faster a lesson stops to override other scores than to add to them, without which lessons cost
accuracy beside a good bank. [ours, on the miniature, seed 7]"""


class PlaceScores(Protocol):
    """What labelling asks of scores: places whose planes of scores can be looked up, and the rules for
    them."""

    verdict: Verdict

    @property
    def places(self) -> npt.NDArray[np.int32]:
        """(h, w) the place, 0 to A-1, of every pixel of the working image."""

    def decide(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(A,) labels and (A,) codes of all places (`Verdict.decide`)."""

    def of(self, places: npt.NDArray[np.integer]) -> Floats:
        """(P, n_planes) float32 planes of the places named by (P,) indices, which may repeat."""


class AtomScores:
    """Scores of a mosaic's atoms for the text rows of a vocabulary: the sum that `options.ensemble` weighs.

    FreeDA's is local_weight * local + (1 - local_weight) * <window, text>, averaged over an atom's features
    and windows (its released code: no temperature, no softmax before the merge); a feature's local score is
    `local_scores`. Own is <image-text feature, text>, averaged alike; support is <mean value, text>
    (`Support`); lessons change it last (`heeding`). The background may ask for the averaged local scores
    beside the sum: see `Verdict`.
    """

    def __init__(
        self,
        mosaic: Mosaic,
        vocabulary: Vocabulary,
        options: SegmentOptions,
        score: LocalScore | None = None,
        bank: ReferenceBank | None = None,
        support: Support | None = None,
    ):
        self.mosaic, self.verdict = mosaic, Verdict(vocabulary, options)
        self._weights = options.weights
        self._region = None if support is None else support.region
        text, n_rows = vocabulary.text_embeddings.T, len(vocabulary.text_embeddings)
        if self._weights.freeda:
            self._local = local_scores(mosaic.features, vocabulary, options, score, bank)
            self._weight = np.float32(options.local_weight * self._weights.freeda)
            similarity: Floats = mosaic.embeddings @ text
            self._global = similarity * np.float32((1.0 - options.local_weight) * self._weights.freeda)
        if self._weights.dense:
            if mosaic.joint is None:
                raise InputError("this scene has no image-text features: encode it with the same method")
            if self._weights.support and support is None:
                raise InputError("support needs a bank of region values, and there is none at hand")
            self._own: Floats = mosaic.joint @ text
            self._support = np.zeros((0, n_rows), np.float32) if support is None else support.values @ text
        self._like: Floats | None = None
        if vocabulary.lessons is not None and self._weights.taught:
            self._like = likeness(mosaic.features, vocabulary, self._weights.nearness)
        self.n_atoms: int = mosaic.local.shape[0]
        self._table: Floats | None = None

    @property
    def places(self) -> npt.NDArray[np.int32]:
        """(h, w) the atom of every pixel."""
        return self.mosaic.atoms

    def decide(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """(A,) labels and (A,) codes of all atoms."""
        planes_of = self.verdict.n_planes
        labels, codes = np.empty(self.n_atoms, dtype=np.int32), np.empty(self.n_atoms, dtype=np.int64)
        keep = self.n_atoms * planes_of <= TABLE
        table = np.empty((self.n_atoms, planes_of), dtype=np.float32) if keep else None
        for rows in slices(self.n_atoms, CHUNK // planes_of):
            planes = self._compute(rows)
            labels[rows], codes[rows] = self.verdict.decide(planes)
            if table is not None:
                table[rows] = planes
        self._table = table
        return labels, codes

    def of(self, places: npt.NDArray[np.integer]) -> Floats:
        """(P, n_planes) float32 planes of the atoms named by (P,) indices, which may repeat."""
        if self._table is not None:
            return self._table[places]
        distinct, where = np.unique(places, return_inverse=True)
        return self._compute(distinct)[where.ravel()]

    def _compute(self, rows: slice | npt.NDArray[np.integer]) -> Floats:
        weights, share = self._weights, self.mosaic.local[rows]
        total = np.zeros((share.shape[0], self.verdict.n_rows), np.float32)
        if weights.freeda:
            local: Floats = share @ self._local
            total = local * self._weight
            total += self.mosaic.context[rows] @ self._global
        if weights.dense:
            own: Floats = share @ self._own
            total += own * np.float32(weights.own)
            if weights.support and self._region is None:
                total += share @ self._support * np.float32(weights.support)
            elif self._region is not None and weights.support:  # what is in no region is supported by itself
                region = self._region[rows]
                inside = region >= 0
                own[inside] = self._support[region[inside]]
                total += own * np.float32(weights.support)
        if self._like is not None:
            total = heeding(total, share @ self._like, weights.taught)
        return np.concatenate([total, local], axis=1) if self.verdict.needs_local else total


class LocalScore(Protocol):
    """How much a region looks like each class; docs/extending.md has an example."""

    name: str
    """What results remember it by."""

    def __call__(
        self,
        features: Floats,
        vocabulary: Vocabulary,
        bank: ReferenceBank | None,
        options: SegmentOptions,
    ) -> Floats:
        """Return (B, T) float32 of unit features (B, D): a score for each text row of the vocabulary.

        `bank` is the model's, to be searched by either column (`Bank.search`); None where it has none, or a
        result was read from a file. Scores of 0 to 1 suit `local_weight` and the background.
        """


class PrototypeScore:
    """The published score, sigmoid(<feature, prototype>), the prototype normalised.

    Of several prototypes of a row: the sigmoid of max_share * best + (1 - max_share) * mean of their cosines.
    """

    name = "prototypes"

    def __call__(
        self, features: Floats, vocabulary: Vocabulary, bank: ReferenceBank | None, options: SegmentOptions
    ) -> Floats:
        """(B, T) float32 in 0 to 1."""
        cosine: Floats = features @ unit_rows(vocabulary.prototypes).T
        if vocabulary.owner is None:
            return _sigmoid(cosine)
        n_rows = len(vocabulary.text_embeddings)
        return _sigmoid(mixed(cosine, vocabulary.owners, n_rows, options.max_share))


class VoteScore:
    """Of the prototypes of all rows together, each of the `neighbours` nearest gives sigmoid(cosine) /
    `neighbours` to its row, so that a row's score is its share of the votes times how near they are (the
    release names the choice; the formula is ours)."""

    name = "knn-vote"

    def __call__(
        self, features: Floats, vocabulary: Vocabulary, bank: ReferenceBank | None, options: SegmentOptions
    ) -> Floats:
        """(B, T) float32 in 0 to 1."""
        cosine: Floats = features @ unit_rows(vocabulary.prototypes).T
        n_rows, owners = len(vocabulary.text_embeddings), vocabulary.owners
        n = min(options.neighbours, cosine.shape[1])
        nearest = np.argpartition(-cosine, n - 1, axis=1)[:, :n]
        vote = _sigmoid(np.take_along_axis(cosine, nearest, axis=1)) / np.float32(n)
        place = np.arange(len(cosine))[:, None] * n_rows + owners[nearest]
        counted = np.bincount(place.ravel(), weights=vote.ravel(), minlength=len(cosine) * n_rows)
        return counted.reshape(len(cosine), n_rows).astype(np.float32)


class PlaneScore:
    """Features are the planes of the very rows (see `planes`): they are the scores."""

    name = "planes"

    def __call__(
        self, features: Floats, vocabulary: Vocabulary, bank: ReferenceBank | None, options: SegmentOptions
    ) -> Floats:
        """(B, T) float32 in 0 to 1."""
        return features


class ForgottenScore:
    """The place of a score that a file names and this process does not have."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, features: Floats, vocabulary: Vocabulary, bank: ReferenceBank | None, options: SegmentOptions
    ) -> Floats:
        """Raise InputError."""
        raise InputError(
            f"these labels were scored by {self.name!r}, which a file does not keep: load a model with it "
            "and give it the scene, FreeDA.segment(result.scene, names)"
        )


BUILT_IN: dict[str, LocalScore] = {one.name: one for one in (PrototypeScore(), VoteScore(), PlaneScore())}


def local_scores(
    features: Floats,
    vocabulary: Vocabulary,
    options: SegmentOptions,
    score: LocalScore | None = None,
    bank: ReferenceBank | None = None,
) -> Floats:
    """(B, T) float32: how much unit features (B, D) look like each text row, by `score`; None takes what
    `options.prototypes` says.

    Features are taken in chunks: beside the answer, at most `CHUNK` cosines with prototypes are held. Raises
    InputError for a score that gives anything but finite numbers, one a feature and row.
    """
    usual = "knn-vote" if options.prototypes == "knn-vote" else "prototypes"
    rule = BUILT_IN[usual] if score is None else score
    n_rows = len(vocabulary.text_embeddings)
    out = np.empty((len(features), n_rows), dtype=np.float32)
    for rows in slices(len(features), CHUNK // len(vocabulary.prototypes)):
        found = np.asarray(rule(features[rows], vocabulary, bank, options))
        if found.shape != out[rows].shape or not np.isfinite(found).all():
            raise InputError(
                f"score {rule.name!r} gave shape {found.shape}: expected finite numbers of shape "
                f"{out[rows].shape}, one for each region and text row"
            )
        out[rows] = found
    return out


def likeness(features: Floats, vocabulary: Vocabulary, nearness: float) -> Floats:
    """(B, T + 1) float32, how much unit features (B, D) are like lessons: exp(-nearness * (1 - cosine)),
    summed over each text row's (Tip-Adapter's cache model, Zhang et al., ECCV 2022), and the greatest of all.
    """
    assert vocabulary.lessons is not None and vocabulary.lesson_rows is not None
    out = np.zeros((len(features), len(vocabulary.text_embeddings) + 1), np.float32)
    for rows in slices(len(features), CHUNK // len(vocabulary.lessons)):
        near = np.exp(np.float32(-nearness) * (1 - features[rows] @ vocabulary.lessons.T))
        for row in np.unique(vocabulary.lesson_rows):
            out[rows, row] = near[:, vocabulary.lesson_rows == row].sum(axis=1)
        out[rows, -1] = near.max(axis=1)
    return out


def heeding(total: Floats, like: Floats, weight: float) -> Floats:
    """Scores (N, T) as lessons change them, by `likeness` (N, T + 1).

    With n each row's likeness and k the greatest to the power `SURE`: (1 - k) score + k best n / sum(n) +
    weight n. What is just like one lesson gets its word whatever else was scored; what is like none stays as
    it was. [ours]
    """
    n, k = like[:, :-1], like[:, -1:] ** SURE
    best = total.max(axis=1, keepdims=True)
    share: Floats = n / np.maximum(n.sum(axis=1, keepdims=True), np.float32(1e-12))
    return (1 - k) * total + k * best * share + np.float32(weight) * n


class NearScore:
    """The usual local score, or `inner`, of a region that a row of a bank is near; 0 of any other.

    Names that are found (`FreeDA.name`) are scored so.
    """

    usual = "near"

    def __init__(
        self, nearness: Callable[[Floats], Floats], near: float, inner: LocalScore | None = None
    ) -> None:
        """`nearness` gives (B,) cosines of unit features (B, D) with their nearest rows; `near` are near."""
        self._nearness, self._near, self.inner = nearness, near, inner
        self.name = self.usual if inner is None else f"{self.usual}, {inner.name}"

    def __call__(
        self, features: Floats, vocabulary: Vocabulary, bank: ReferenceBank | None, options: SegmentOptions
    ) -> Floats:
        """(B, T) float32 in 0 to 1."""
        out = local_scores(features, vocabulary, options, self.inner, bank)
        return np.where(self._nearness(features)[:, None] >= self._near, out, np.float32(0))


def of_words(score: LocalScore | None) -> LocalScore | None:
    """What scores words that are given, on a scene that `score` scored."""
    if isinstance(score, NearScore):
        return score.inner
    return None if isinstance(score, ForgottenScore) and score.name == NearScore.usual else score


def mixed(cosine: Floats, owners: npt.NDArray[np.int64], n_rows: int, max_share: float) -> Floats:
    """(B, T) float32 of cosines with prototypes (B, P): max_share * best + (1 - max_share) * mean of each
    row's own."""
    starts = np.searchsorted(owners, np.arange(n_rows))
    count = np.bincount(owners, minlength=n_rows)
    best = np.maximum.reduceat(cosine, starts, axis=1)
    mean = np.add.reduceat(cosine, starts, axis=1) / count
    out: Floats = (max_share * best + (1.0 - max_share) * mean).astype(np.float32)
    return out


def slices(n: int, step: int) -> Iterator[slice]:
    """0 to n in slices of at most max(step, 1)."""
    for start in range(0, n, max(step, 1)):
        yield slice(start, min(start + max(step, 1), n))


def _sigmoid(x: Floats) -> Floats:
    out: Floats = np.float32(1.0) / (np.float32(1.0) + np.exp(-x))
    return out
