"""Explanations: the references from the bank, those that are told and those that are refused."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.bank import Bank
from freeda.bank.layered import GrownBank, LayeredBank
from freeda.errors import BankError, InputError
from freeda.model import FreeDA
from freeda.segment import Segmentation

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (6, 9, 3)), np.ones((11, 11, 1))).astype(np.uint8)
CLASSES = {"cat": ["puss"], "dog": [], "wooden table": [], "sky": []}


@pytest.fixture(scope="module")
def result(tiny_model: Any) -> Segmentation:
    return tiny_model.segment(IMAGE, CLASSES)


def test_references_are_the_nearest_of_those_retrieved(tiny_model: Any, result: Segmentation) -> None:
    told = result.explain(40, 30, classes=2, references=3)
    assert [g.name for g in told.references] == [s.name for s in told.scores[:2]]
    bank = tiny_model.bank
    everything = result.explain(40, 30, classes=99, references=99)
    for group, score, full in zip(told.references, told.scores, everything.references, strict=False):
        text = result.vocabulary.text_embeddings[score.label]
        similar = [float(text @ key.astype(np.float32)) for key in bank.keys]
        # Four rows share each key: which of those are among the five, rounding decides.
        retrieved = [r.row for r in full.nearest]
        assert group.retrieved == full.retrieved == len(set(retrieved)) == result.options.k == 5
        nearest = sorted(similar, reverse=True)[:5]
        np.testing.assert_allclose(sorted((similar[i] for i in retrieved), reverse=True), nearest, atol=1e-5)
        feature = told.feature.astype(float)

        def alike(i: int, feature: np.ndarray = feature) -> float:
            p = bank.prototypes[i].astype(float)
            return float(feature @ p) / float(np.linalg.norm(p))

        want = sorted(retrieved, key=lambda i: -alike(i))[:3]
        assert sorted(want) == sorted(r.row for r in group.nearest)
        for r in group.nearest:
            row = bank.row(r.row)
            assert (r.noun, r.caption) == (row["noun"], row["caption"]) and r.image is None and r.mask is None
            assert math.isclose(r.cosine, alike(r.row), abs_tol=1e-5) and math.isclose(
                r.distance, 1 - r.cosine
            )
            key = row["key"].astype(np.float32)
            assert math.isclose(r.similarity, float(text @ key), abs_tol=1e-4)
        assert [r.cosine for r in group.nearest] == sorted((r.cosine for r in group.nearest), reverse=True)
    assert not result.explain(40, 30, classes=0).references
    assert not result.explain(40, 30, references=0).references
    assert [len(g.nearest) for g in everything.references] == [5] * 4


@pytest.mark.parametrize("prototypes", ["mean", "k-means", "all", "knn-vote"])
def test_the_bank_is_known_again(tiny_model: Any, prototypes: str) -> None:
    result = tiny_model.segment(
        IMAGE, CLASSES, prototypes=prototypes, clusters=2, min_similarity=0.9, others="rest"
    )
    told = result.explain(3, 4)
    assert told.references and not any("another bank" in note for note in told.notes)
    assert ("votes" in " ".join(told.notes)) == (prototypes == "knn-vote")


def test_a_saved_segmentation_explains_itself(
    tiny_model: Any, tiny_bank: Path, result: Segmentation, tmp_path: Path
) -> None:
    again = Segmentation.load_npz(result.save_npz(tmp_path / "r.npz"))
    bare, whole = again.explain(40, 30), result.explain(40, 30)
    assert bare.scores == whole.scores and not bare.references
    assert any("No bank is at hand" in note for note in bare.notes)
    for bank in (tiny_bank, str(tiny_bank), Bank.open(tiny_bank)):
        told = again.explain(40, 30, bank)
        assert told.references == whole.references and told.to_dict() == whole.to_dict()
    for keep in ("image", "labels"):
        less = Segmentation.load_npz(result.save_npz(tmp_path / keep, keep=keep))
        with pytest.raises(InputError, match="without its scene"):
            less.explain(40, 30)


class Shuffled:
    """The same keys, other prototypes."""

    def __init__(self, bank: Any) -> None:
        self.bank, self.prototypes = bank, np.array(bank.prototypes)[::-1].copy() + 1

    def __len__(self) -> int:
        return len(self.bank)

    def search(self, queries: Any, k: int) -> Any:
        return self.bank.search(queries, k)


def test_another_bank_is_told(tiny_model: Any, result: Segmentation, tmp_path: Path) -> None:
    other: Any = Shuffled(tiny_model.bank)
    with pytest.raises(InputError, match="made with another bank"):
        result.explain(1, 1, other)
    mine = replace(result, bank=other).explain(1, 1)
    assert not mine.references and any("another bank than the model's" in note for note in mine.notes)
    for share, same in ((0.01, True), (0.05, False)):  # another rounding is no other bank
        other.prototypes = np.array(tiny_model.bank.prototypes, np.float32) * (1 + share)
        told = replace(result, bank=other).explain(1, 1)
        assert bool(told.references) == same
    foreign = replace(result, models={**result.models, "clip": {"id": "a/b-c", "revision": None}})
    with pytest.raises(BankError, match="built with"):
        foreign.explain(1, 1, tiny_model.bank)
    with pytest.raises(BankError):
        result.explain(1, 1, tmp_path / "nowhere")
    nothing: Any = 5
    with pytest.raises(InputError, match="bank is 5: it must be a bank directory or an open Bank"):
        result.explain(1, 1, nothing)


def test_a_bank_that_knows_no_rows(tiny_model: Any, result: Segmentation) -> None:
    class Mute(Shuffled):
        def __init__(self, bank: Any) -> None:
            self.bank, self.prototypes = bank, bank.prototypes

    told = result.explain(1, 1, Mute(tiny_model.bank))
    assert told.references and all(r.noun == "" for g in told.references for r in g.nearest)


def test_a_layered_bank_tells_its_rows(tiny_bank: Path, tiny_model: Any) -> None:
    bank = Bank.open(tiny_bank)
    both = LayeredBank([bank, bank])
    for i in (0, 39, 40, 79, -1):
        assert both.row(i)["caption"] == bank.row(i % 40)["caption"]
    for i in (80, -81):
        with pytest.raises(IndexError):
            both.row(i)


class Pictured(Shuffled):
    """The bank itself, as if it had kept pictures."""

    def __init__(self, bank: Any, image: bytes, mask: bytes) -> None:
        self.bank, self.prototypes, self.path = bank, bank.prototypes, bank.path
        self.kept = {"image": image, "mask": mask}

    def row(self, i: int) -> dict[str, Any]:
        return {**self.bank.row(i), **self.kept}


def encoded(picture: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, format=kind)
    return out.getvalue()


def test_kept_pictures_come_along(tiny_model: Any, result: Segmentation) -> None:
    image, mask = np.full((20, 30, 3), 200, np.uint8), np.eye(20, 30, dtype=bool)
    bank = Pictured(tiny_model.bank, encoded(image, "JPEG"), encoded(mask, "PNG"))
    told, bare = result.explain(5, 5, bank), result.explain(5, 5)
    for one in (r for group in told.references for r in group.nearest):
        assert one.image is not None and one.image.shape == (20, 30, 3) and one.image.dtype == np.uint8
        assert one.mask is not None and np.array_equal(one.mask, mask)
    assert told.to_dict() == bare.to_dict()
    assert told.draw().shape[0] > bare.draw().shape[0]
    for broken in (b"no picture", encoded(mask[:10], "PNG")):
        with pytest.raises(BankError, match=r"the picture of row [0-9]+ is damaged"):
            result.explain(5, 5, Pictured(tiny_model.bank, bank.kept["image"], broken))


def test_words_that_were_grown(tiny_model: Any, tiny_bank: Path) -> None:
    """A grown bank answers with its layer's few rows, and places left over are no references."""
    bank = Bank.open(tiny_bank)
    grown = GrownBank(bank, bank)
    model = FreeDA(tiny_model.preset, tiny_model.encoders, grown)
    result = model.segment(IMAGE, ["cat", "dog"], templates=("a photo of a {}.",), k=80)
    told = result.explain(0, 0, references=99)
    assert len(told.references) == 2
    for group in told.references:
        label = result.names.index(group.name)
        answer = grown.search(result.vocabulary.text_embeddings[[label]], 80)[1][0].tolist()
        rows = [row for row in answer if row >= 0]
        assert 8 <= len(rows) < 80  # the word's own eight, and words that random models hold for the same
        assert group.retrieved == len(rows) and sorted(r.row for r in group.nearest) == sorted(rows)
        assert all(r.noun == bank.nouns[r.row % 40] for r in group.nearest)
