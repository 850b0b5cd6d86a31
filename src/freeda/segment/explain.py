"""Why a pixel got its word: the scores' parts, and the references in the bank that its region looks like."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bank import Bank
from ..bank.inspect import kept_picture
from ..errors import InputError
from ..show.explanation import ClassReferences, ClassScore, Explanation, Reference
from .background import Verdict
from .evidence import Evidence, atom_shares, gather_evidence, score_parts
from .label_map import LabelMap
from .matching import mixed
from .prototypes import ReferenceBank, Retrieved, condense, retrieve
from .regions import nearest
from .support import values_of
from .upsample import enlarged, pixel_planes
from .vocabulary import Vocabulary
from .window_encoding import Floats, unit_rows

_FIELDS = {
    "local": "local_score",
    "global": "global_score",
    "cosine": "cosine",
    "own": "own_score",
    "support": "support_score",
    "taught": "taught_score",
}
"""Parts of a score -> fields of ClassScore."""
SAME_BANK = 0.02
"""How far the mean of a class's prototypes may be from what a bank gives for it, as a share of its length:
keys of one similarity may be taken in another order elsewhere; another bank is much farther off. [ours]"""


def explain_pixel(
    result: LabelMap,
    x: int,
    y: int,
    bank: ReferenceBank | str | Path | None,
    classes: int,
    references: int,
) -> Explanation:
    """See `Segmentation.explain`."""
    scene, vocabulary = result.need_scene()
    x, y = _inside(x, "x", result.size[1], "wide"), _inside(y, "y", result.size[0], "high")
    classes, references = _count(classes, "classes"), _count(references, "references")
    if not (bank is None or isinstance(bank, (str, Path)) or hasattr(bank, "search")):
        raise InputError(f"bank is {bank!r}: it must be a bank directory or an open Bank")
    total, ranked = _scores(result, x, y)
    shares = atom_shares(scene, result.options, x, y)
    evidence = gather_evidence(scene.mosaic, shares, scene.size, x, y)
    about = (result.options, result.score, result.bank, result.support)
    parts = score_parts(scene.mosaic, shares, vocabulary, *about)
    if result.options.weights.freeda:
        parts["cosine"] = _cosines(result, vocabulary, evidence).astype(np.float32)

    rows = _best_rows(vocabulary, total)
    winner = int(result.labels[y, x])
    # Of equal scores the label that was given comes first.
    order = sorted(range(len(ranked)), key=lambda label: (-ranked[label], label != winner, label))
    scores = [
        ClassScore(result.names[label], label, float(ranked[label]))
        if label >= len(rows) or scene.prompts is not None
        else ClassScore(
            result.names[label],
            label,
            float(ranked[label]),
            **{field: float(parts[part][rows[label]]) for part, field in _FIELDS.items() if part in parts},
            word=_word(vocabulary, label, rows[label]),
        )
        for label in order
    ]
    feature: Floats = (evidence.weights @ evidence.features).astype(np.float32)
    freeda = scene.prompts is None and result.options.weights.freeda > 0
    alone = freeda and not result.options.weights.dense and "taught" not in parts
    listed = classes if references and freeda else 0
    chosen = [label for label in order if label < len(rows)][:listed]
    found, told = _references(result, vocabulary, bank, [rows[i] for i in chosen], feature, references)
    return Explanation(
        x=x,
        y=y,
        source=result.source,
        label=result.names[winner],
        local_weight=result.options.local_weight,
        scores=tuple(scores),
        without_global=_winner(result, vocabulary, parts, "local") if alone else "",
        only_global=_winner(result, vocabulary, parts, "global") if alone else "",
        weights=result.options.weights,
        values=_values(result, bank, feature, winner, (x, y), references),
        lessons=_lessons(vocabulary, feature, references) if "taught" in parts else (),
        windows=evidence.windows,
        references=tuple(
            ClassReferences(result.names[label], n, nearest)
            for label, (n, nearest) in zip(chosen, found, strict=False)
        ),
        notes=(
            *_notes(result, result.names[winner], scores, evidence),
            *told,
            *_asked(vocabulary, scene.prompts),
        ),
        region=enlarged(evidence.region, result.size),
        reach=enlarged(evidence.reach, result.size),
        feature=feature,
        photo=result.image,
        colours=result.palette,
        warnings=tuple(result.caveats.lines(one.name for one in scores[:classes])),
    )


def _asked(vocabulary: Vocabulary, prompts: tuple[str, ...] | None) -> list[str]:
    """What there is to say of planes."""
    if prompts is None:
        return []
    other = [prompt for prompt in prompts if prompt not in vocabulary.names]
    asked = f" Asked for as well or instead: {', '.join(other)}." if other else ""
    return [f"SAM 3, trained on masks, gave each word a plane; it has no references to show.{asked}"]


def _inside(value: Any, name: str, length: int, how: str) -> int:
    at = _whole(value)
    if at is None:
        raise InputError(f"{name} is {value!r}: it must be a whole number of pixels")
    if not 0 <= at < length:
        raise InputError(f"{name} is {at}: this photograph is {length} pixels {how}, so 0 to {length - 1}")
    return at


def _count(value: Any, name: str) -> int:
    number = _whole(value)
    if number is None or number < 0:
        raise InputError(f"{name} is {value!r}: it must be 0 or more, a whole number")
    return number


def _whole(value: Any) -> int | None:
    """A whole number of any kind; None for what is none, as True."""
    try:
        return None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        return None


def _scores(result: LabelMap, x: int, y: int) -> tuple[Floats, Floats]:
    """At the pixel the rows' scores (T,) and the labels', by the very steps of `Segmentation.scores`."""
    scene, vocabulary = result.need_scene()
    scores = result.place_scores()
    planes = pixel_planes(scores, scene.size, y, x)
    return planes[0, : len(vocabulary.text_embeddings)], scores.verdict.scores(planes)[0]


def _winner(result: LabelMap, vocabulary: Vocabulary, parts: Mapping[str, Floats], part: str) -> str:
    """The label that one part of the rows' scores (T,) would give, by the rules of the options."""
    verdict = Verdict(vocabulary, result.options)
    planes = np.concatenate([parts[part], parts["local"]])[None, : verdict.n_planes]
    return result.names[int(verdict.decide(planes)[0][0])]


def _cosines(result: LabelMap, vocabulary: Vocabulary, evidence: Evidence) -> npt.NDArray[np.float64]:
    """(T,) the features' cosines with each row's prototypes, mixed as its local score mixes them."""
    cosine: Floats = evidence.features @ unit_rows(vocabulary.prototypes).T
    share = 1.0 if result.options.prototypes == "knn-vote" else result.options.max_share
    rows = mixed(cosine, vocabulary.owners, len(vocabulary.text_embeddings), share)
    return np.asarray(evidence.weights @ rows)


def _best_rows(vocabulary: Vocabulary, total: Floats) -> list[int]:
    """Per label of the vocabulary, its text row with the best score."""
    labels = vocabulary.row_labels
    return [
        int(own[total[own].argmax()])
        for own in (np.flatnonzero(labels == label) for label in range(len(vocabulary.names)))
    ]


def _word(vocabulary: Vocabulary, label: int, row: int) -> str:
    own = np.flatnonzero(vocabulary.row_labels == label)
    if len(own) == 1 or not vocabulary.words:
        return vocabulary.names[label]
    return vocabulary.words[label][int(row - own[0])]


def _references(
    result: LabelMap,
    vocabulary: Vocabulary,
    given: ReferenceBank | str | Path | None,
    rows: Sequence[int],
    feature: Floats,
    most: int,
) -> tuple[list[tuple[int, tuple[Reference, ...]]], list[str]]:
    """Per text row the number retrieved and the nearest `most`; and what there is to say of it."""
    if not rows:
        return [], []
    bank = Bank.open(given) if isinstance(given, (str, Path)) else given
    if bank is not None and result.models and hasattr(bank, "check_models"):
        bank.check_models(dict(result.models))
    known = bank if bank is not None else result.bank
    if known is None:
        return [], ["No bank is at hand, so no references are listed: name the bank of these words."]
    behind = retrieve(known, vocabulary.text_embeddings[rows], result.options)
    for row, one in zip(rows, behind, strict=True):
        if not _made_of(vocabulary, row, one, result):
            if bank is None:
                return [], ["The words were made with another bank than the model's: no references listed."]
            raise InputError(f"{_told(bank)}: these words were made with another bank: name that one")
    return [(len(one.rows), _nearest(known, one, feature, most)) for one in behind], []


def _made_of(vocabulary: Vocabulary, row: int, behind: Retrieved, result: LabelMap) -> bool:
    """Whether the vocabulary's prototypes of a row are what the retrieved ones give."""
    if len(behind.rows) == 0:
        return False
    own = vocabulary.prototypes[vocabulary.owners == row].mean(axis=0, dtype=np.float64)
    again = condense(behind.prototypes, behind.real, result.options).mean(axis=0, dtype=np.float64)
    return bool(np.linalg.norm(own - again) <= SAME_BANK * np.linalg.norm(own))


def _nearest(bank: Any, behind: Retrieved, feature: Floats, most: int) -> tuple[Reference, ...]:
    cosine = unit_rows(behind.prototypes) @ feature
    chosen = np.argsort(-cosine, kind="stable")[:most].tolist()
    return tuple(
        _row(bank, int(behind.rows[i]), float(cosine[i]), float(behind.similarity[i])) for i in chosen
    )


def _row(bank: Any, row: int, cosine: float, similarity: float) -> Reference:
    pair = bank.row(row) if hasattr(bank, "row") else {}
    picture, mask = None, None
    if pair.get("image") is not None and pair.get("mask") is not None:
        picture, mask = kept_picture(pair, _told(bank), row)
    return Reference(row, pair.get("noun", ""), pair.get("caption", ""), cosine, similarity, picture, mask)


def _values(
    result: LabelMap,
    given: ReferenceBank | str | Path | None,
    feature: Floats,
    label: int,
    at: tuple[int, int],
    most: int,
) -> tuple[Reference, ...]:
    """The `most` rows of the bank of region values whose values support a pixel (x, y) most."""
    scene, vocabulary = result.need_scene()
    bank = Bank.open(given) if isinstance(given, (str, Path)) else given
    known = values_of(bank if bank is not None else result.bank)
    if not result.options.weights.support or known is None or not most:
        return ()
    if scene.cut is not None:
        (height, width), (tall, wide) = scene.cut.shape, result.size
        region = scene.cut[nearest(height, tall)[at[1]], nearest(width, wide)[at[0]]]
        if region < 0:
            return ()
        feature = scene.region_features()[region]
    scores, rows = known.search(
        unit_rows(feature[None]), min(most, result.options.weights.neighbours), "prototype"
    )
    text = vocabulary.text_embeddings[vocabulary.row_labels == label]
    out = []
    for cosine, row in zip(scores[0].tolist(), rows[0].tolist(), strict=True):
        value = np.asarray(known.keys[row], np.float32)
        out.append(_row(known, row, cosine, float((text @ value).max()) if len(text) else 0.0))
    return tuple(out)


def _lessons(vocabulary: Vocabulary, feature: Floats, most: int) -> tuple[Reference, ...]:
    """The `most` lessons that look most like a feature (D,)."""
    assert vocabulary.lessons is not None and vocabulary.lesson_rows is not None
    cosine = vocabulary.lessons @ feature
    label = vocabulary.row_labels[vocabulary.lesson_rows]
    return tuple(
        Reference(i, vocabulary.names[label[i]], vocabulary.lesson_pictures[i], float(cosine[i]), 1.0)
        for i in np.argsort(-cosine, kind="stable")[:most].tolist()
    )


def _told(bank: Any) -> Path:
    """How an error names a bank."""
    return Path(getattr(bank, "path", None) or type(bank).__name__)


def _notes(result: LabelMap, label: str, scores: Sequence[ClassScore], evidence: Evidence) -> list[str]:
    options, out = result.options, []
    if options.background != "none":
        below = {
            "constant": "the best class's score",
            "local": "the best local score of all classes",
            "local-of-winner": "the local score of the class with the best score",
            "probability": f"the best probability, at {options.background_scale:g} times the scores,",
        }[options.background]
        at = f"{options.background_threshold:g}"
        out.append(f"Background ({options.background}): wins where {below} is under {at}.")
    if options.region_vote:
        own = "" if label == scores[0].name else f"; by its own scores it would be {scores[0].name}"
        out.append(f"One label a region (region_vote): most pixels of this one's have {label}{own}.")
    if options.refine != "none":
        out.append(
            f"Refined ({options.refine}): {100 * evidence.own:.0f} % of the scores, local and global are "
            "this region's, the rest of like pixels nearby; cosines and references are its own."
        )
    if options.prototypes == "knn-vote":
        out.append("Local scores are votes (knn-vote); the cosine is that of each class's nearest prototype.")
    if result.tree is not None:
        near = f"{result.tree.near:.2f}"
        out.append(f"Names were found: local scores are 0 where no row of the bank has a cosine of {near}.")
    if evidence.blended > 1 and scores[0].local_score is not None:
        out.append(
            f"On a border: {evidence.blended} regions are blended here, of which the nearest is shown."
        )
    return out
