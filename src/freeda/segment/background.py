"""What wins where: rows' scores become labels', and the background takes what no class is good enough for.

All rules act on scores that are merged over windows and already resized, so they mean the same at every size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..options import SegmentOptions
from .vocabulary import Vocabulary, tidy
from .window_encoding import Floats

BACKGROUND = "background"
"""The name of the extra last label."""


class Verdict:
    """From planes of scores to labels, by the rules of some options.

    Planes (N, n_planes) hold, for N places, the T text rows' ensemble scores and, where the background looks
    at them, their T local scores after these. A label's score is its best row's (`Vocabulary.label`). The
    background is one more label at the end, whose score is

    - "constant": the threshold;
    - "local": best score + threshold - best local score: it wins where no local score reaches the threshold;
    - "local-of-winner": best score + threshold - local score of the row with the best score;
    - "probability": best score + threshold - best probability, a softmax of `background_scale` times the
      rows' scores (CorrCLIP).

    A class that exactly reaches the threshold stays. The first three are FreeDA's released ones; writing them
    as a plane, which leaves every decision as it was, is ours. Where the words behind `others` are called
    "background" themselves, both are that one label.
    """

    def __init__(self, vocabulary: Vocabulary, options: SegmentOptions):
        self._rule, self._threshold = options.background, np.float32(options.background_threshold)
        self.n_rows: int = len(vocabulary.text_embeddings)
        self._starts = (
            None
            if vocabulary.label is None
            else np.searchsorted(vocabulary.label, np.arange(len(vocabulary.names)))
        )
        self._label = vocabulary.row_labels
        self.needs_local: bool = options.background in ("local", "local-of-winner")
        self.n_planes: int = self.n_rows * (1 + self.needs_local)
        self._scale = np.float32(options.background_scale)
        self._named = self._rule != "none" and names_background(options)
        self.n_labels: int = len(vocabulary.names) + (self._rule != "none" and not self._named)

    def scores(self, planes: Floats) -> Floats:
        """(N, n_labels) float32 of planes (N, n_planes)."""
        total = planes[:, : self.n_rows]
        labels = total if self._starts is None else np.maximum.reduceat(total, self._starts, axis=1)
        if self._rule == "none":
            return labels
        background = self._background(planes)[:, None]
        if self._named:
            return np.concatenate([labels[:, :-1], np.maximum(labels[:, -1:], background)], axis=1)
        return np.concatenate([labels, background], axis=1)

    def decide(self, planes: Floats) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Labels (N,) and codes (N,) of planes (N, n_planes).

        Places of one code have one label, and so has every blend of them with weights from 0 to 1: the same
        row wins, the same row is locally best, and both are on the same side of the threshold.
        """
        total = planes[:, : self.n_rows]
        winner = total.argmax(axis=1)
        labels = self._label[winner].astype(np.int32)
        codes = winner
        if self._rule != "none":
            empty = self._background(planes) > total.max(axis=1)
            labels[empty] = self.n_labels - 1
            if self._rule == "local":
                codes = codes * self.n_rows + planes[:, self.n_rows :].argmax(axis=1)
            codes = codes * 2 + empty
            if self._rule == "probability":
                # Blends of places that nothing is probable at may have a probable class: they are alike only
                # where all their scores are, which their sum with fixed odd weights tells.
                weights = np.random.default_rng(0).integers(1, 2**62, self.n_rows) * 2 + 1
                codes[empty] = -(np.abs(total[empty].view(np.int32).astype(np.int64) @ weights) + 1)
        return labels, codes.astype(np.int64)

    def _background(self, planes: Floats) -> Floats:
        total, local = planes[:, : self.n_rows], planes[:, self.n_rows :]
        if self._rule == "constant":
            return np.full(len(planes), self._threshold, dtype=np.float32)
        if self._rule == "probability":
            best = total.max(axis=1)
            behind = 1 / np.exp(self._scale * (total - best[:, None])).sum(axis=1)
        elif self._rule == "local":
            behind = local.max(axis=1)
        else:
            behind = np.take_along_axis(local, total.argmax(axis=1)[:, None], axis=1)[:, 0]
        return total.max(axis=1) + (self._threshold - behind)


def names_background(options: SegmentOptions) -> bool:
    """Whether the words behind `others` are called what the background is."""
    return options.others is not None and tidy(options.others).casefold() == BACKGROUND


def rest_labels(names: Sequence[str], options: SegmentOptions) -> dict[str, int]:
    """The labels of `names` that are no thing: "others", by what the option calls it, and "background"."""
    told = {"others": tidy(options.others).casefold() if options.others else "", "background": BACKGROUND}
    folded = [name.casefold() for name in names]
    return {kind: folded.index(name) for kind, name in told.items() if name in folded}


def label_names(names: tuple[str, ...], options: SegmentOptions) -> tuple[str, ...]:
    """The names that labels index: the vocabulary's, then the background where there is one.

    Raises InputError where a class already has the background's name.
    """
    if options.background == "none" or names_background(options):
        return names
    if BACKGROUND in map(str.casefold, names):
        raise InputError(
            f"class name {BACKGROUND!r} is taken by option background={options.background!r}: drop one"
        )
    return (*names, BACKGROUND)
