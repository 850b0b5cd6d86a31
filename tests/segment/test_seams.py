"""Regions and scores of one's own: maps and masks against a plain reference, checks, what files keep."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

import freeda
from freeda.encoders import load_encoders
from freeda.errors import InputError
from freeda.evaluation.job import evaluate
from freeda.miniature.dataset import Scenes
from freeda.model import FreeDA
from freeda.options import Changes, SegmentOptions
from freeda.presets import Preset
from freeda.segment import Segmentation
from freeda.segment.matching import AtomScores, local_scores
from freeda.segment.regions import GivenRegions, Masks, paint, region_map

RNG = np.random.default_rng(4)
IMAGE = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
WORDS = ["cat", "dog", "sky"]


class Fixed:
    """Every region gets the same scores, and what the bank is asked is counted."""

    def __init__(self, give: Any = None) -> None:
        self.name, self.give, self.banks = "test/fixed", give, []

    def __call__(self, features: Any, vocabulary: Any, bank: Any, options: Any) -> Any:
        self.banks.append(bank)
        rows = len(vocabulary.text_embeddings)
        if self.give is not None:
            return self.give(len(features), rows)
        return np.tile(np.linspace(0, 1, rows, dtype=np.float32), (len(features), 1))


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int16, np.uint32])
@pytest.mark.parametrize("size", [(60, 80), (30, 40), (7, 90)])
def test_maps(kind: Any, size: tuple[int, int]) -> None:
    """Numbered in their order without gaps, resized by the pixel under each centre, -1 kept."""
    given = RNG.integers(0, 200, (60, 80)).astype(kind)
    if kind(-1) < 0 if np.issubdtype(kind, np.signedinteger) else False:
        given[:10] = -1
    given[given == 3] = 199
    plain = np.array(
        [
            [given[int((y + 0.5) * 60 / size[0]), int((x + 0.5) * 80 / size[1])] for x in range(size[1])]
            for y in range(size[0])
        ]
    ).astype(np.int64)
    order = {label: i for i, label in enumerate(sorted(set(plain.ravel().tolist()) - {-1}))} | {-1: -1}
    expected = np.vectorize(order.__getitem__)(plain)
    assert np.array_equal(region_map(GivenRegions(given), IMAGE, size), expected)
    huge = np.where(given.astype(np.int64) < 0, -1, given.astype(np.int64) * 10**12)
    assert np.array_equal(region_map(GivenRegions(huge), IMAGE, size), expected)


def test_masks_by_hand() -> None:
    masks = np.zeros((3, 2, 4), bool)
    masks[0, :, :3], masks[1, 0, 1:], masks[2, :, 2] = True, True, True
    found = paint(masks, np.array([0.9, 0.5, 0.9]))
    assert found.tolist() == [[0, 0, 2, 1], [0, 0, 2, -1]]
    for scores in (np.ones(2), np.array([1, np.nan, 1])):
        with pytest.raises(InputError, match="expected \\(M, h, w\\) and \\(M,\\)"):
            paint(masks, scores)


@pytest.mark.parametrize(
    ("regions", "says"),
    [
        (np.zeros((60, 81), int), r"shape \(60, 81\).*expected whole numbers of shape \(60, 80\)"),
        (np.zeros((60, 80)), "are float64"),
        (np.full((60, 80), -2), "hold -2: numbers start at 0"),
        (Masks(np.zeros((1, 5, 5), bool), np.ones(1)), "one for each pixel"),
        ("superpixels", "expected whole numbers"),
    ],
)
def test_what_is_no_map_is_told(tiny_model: Any, regions: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        tiny_model.encode(IMAGE, regions=regions)
    with pytest.raises(InputError, match="regions cannot change after encoding"):
        tiny_model.segment(tiny_model.encode(IMAGE), WORDS, regions=np.zeros((60, 80), int))


def test_regions_decide_what_is_pooled(tiny_model: Any, tmp_path: Path) -> None:
    """All pixels of one region of a window score alike; a file keeps the map and its name."""
    halves = np.zeros((60, 80), int)
    halves[:, 40:] = 7
    result = tiny_model.segment(IMAGE, WORDS, regions=halves, short_side=60, window=None, stride=10)
    for side in (result.labels[:, :40], result.labels[:, 40:]):
        assert len(np.unique(side)) == 1
    assert result.models["regions"] == "map" and np.array_equal(result.regions, halves > 0)
    patches = tiny_model.encoders.dense.encode(torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 255)[0]
    grid = np.linspace(0, 79, patches.shape[1])
    left = torch.nn.functional.normalize(patches[:, grid < 39].mean((0, 1)), dim=0)  # no patch lies between
    np.testing.assert_allclose(result.scene.mosaic.features[0], left, atol=1e-5)
    again = Segmentation.load_npz(result.save_npz(tmp_path / "x.npz"))
    assert again.models["regions"] == "map" and np.array_equal(again.scene.regions(), halves > 0)
    assert np.array_equal(again.scores(), result.scores())


@pytest.mark.parametrize("whole", [True, False])
def test_a_source_is_asked_as_it_says(tiny_model: Any, whole: bool) -> None:
    asked: list[tuple[int, ...]] = []

    class Source:
        name = "test/source"

        def __call__(self, image: Any) -> Any:
            asked.append(image.shape)
            return np.zeros(image.shape[:2], np.uint8)

    source = Source()
    source.whole = whole  # type: ignore[attr-defined]
    model = FreeDA(tiny_model.preset, tiny_model.encoders, tiny_model.bank, regions=source)  # type: ignore[arg-type]
    scene = model.encode(IMAGE)
    windows = len(scene.mosaic.embeddings)
    sizes = [IMAGE.shape] if whole else [(48, 48, 3)] * windows + [scene.working_image().shape]
    assert windows > 1 and asked == sizes
    assert model.segment(IMAGE, WORDS).models["regions"] == "test/source"
    (outcome,) = model.segment_many([IMAGE], WORDS)
    assert outcome.path is None and outcome.result.models["regions"] == "test/source"  # type: ignore[union-attr]


def test_a_score_of_ones_own(tiny_model: Any, tmp_path: Path) -> None:
    score = Fixed()
    model = FreeDA(tiny_model.preset, tiny_model.encoders, tiny_model.bank, score=score)
    result = model(IMAGE, WORDS, local_weight=1.0)
    assert set(np.unique(result.labels)) == {2} and score.banks == [tiny_model.bank] * len(score.banks)
    assert result.models["score"] == "test/fixed" and result.explain(3, 3).scores[
        0
    ].local_score == pytest.approx(1)
    assert result.relabel(model.vocabulary(WORDS)).labels.max() == 2
    result.save(tmp_path)
    again = Segmentation.load_npz(result.save_npz(tmp_path / "x.npz"))
    assert np.array_equal(again.labels, result.labels)
    with pytest.raises(InputError, match="scored by 'test/fixed', which a file does not keep"):
        again.scores()
    assert np.array_equal(model.segment(again.scene, WORDS, local_weight=1.0).labels, result.labels)


@pytest.mark.parametrize(
    "give",
    [
        lambda n, t: np.zeros((n, t + 1), np.float32),
        lambda n, t: np.full((n, t), np.nan, np.float32),
        lambda n, t: np.zeros(n, np.float32),
    ],
)
def test_a_score_that_is_none(tiny_model: Any, give: Any) -> None:
    model = FreeDA(tiny_model.preset, tiny_model.encoders, tiny_model.bank, score=Fixed(give))
    with pytest.raises(InputError, match=r"'test/fixed' gave shape .*expected finite numbers of shape"):
        model.segment(IMAGE, WORDS)


def test_chunks_do_not_show(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, words = tiny_model.encode(IMAGE), tiny_model.vocabulary(WORDS, prototypes="all")
    options = scene.options.with_changes(prototypes="knn-vote", neighbours=5)
    for changed in (options, options.with_changes(prototypes="all", max_share=0.3)):
        monkeypatch.undo()
        usual = local_scores(scene.mosaic.features, words, changed)
        monkeypatch.setattr("freeda.segment.matching.CHUNK", 40)
        np.testing.assert_allclose(local_scores(scene.mosaic.features, words, changed), usual, atol=1e-6)
    assert AtomScores(scene.mosaic, words, options).n_atoms > 0


def test_a_measurement_heeds_the_models_parts(tmp_path: Path) -> None:
    """A model with a score of its own is measured with it, and not taken for another."""
    model = freeda.load("miniature")
    fixed = FreeDA(model.preset, model.encoders, model.bank, score=Fixed())
    scenes = Scenes(n=3)
    usual, own = (
        evaluate(scenes, out=tmp_path / name, model=one) for one, name in ((model, "a"), (fixed, "b"))
    )
    assert own.miou < 0.2 < usual.miou
    with pytest.raises(InputError, match=r"data is .*: an open data set has its own"):
        evaluate(scenes, fixed, out=tmp_path / "c")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dtype is bfloat16: the model is loaded already"):
        evaluate(scenes, out=tmp_path / "d", model=fixed, dtype="bfloat16")
    with pytest.raises(InputError, match="batch_size is 0"):
        fixed.segment_many([IMAGE], WORDS, batch_size=0)
    with pytest.raises(InputError, match=r"models\.score"):
        evaluate(scenes, out=tmp_path / "a", model=fixed)


def test_changes_are_the_options_fields() -> None:
    """What editors complete is what there is."""
    told, real = get_type_hints(Changes), get_type_hints(SegmentOptions)
    assert list(told) == [f.name for f in fields(SegmentOptions)]
    assert told | {"templates": None} == real | {"templates": None}


def test_moving_and_loading(tiny_preset: Preset, tiny_model: Any) -> None:
    """As models of transformers: from_pretrained, .device, .to; encoders of one's own go along."""
    model = FreeDA.from_pretrained("miniature", device="cpu")
    assert model.device == torch.device("cpu") and model.preset.name == "miniature"

    class Own:
        name, dim, grid = "test/own", 24, 4
        encode = staticmethod(tiny_model.encoders.dense.encode)

    own = Own()
    encoders = load_encoders(tiny_preset, "cpu", dense=own)
    assert encoders.identity["dense"] == {"id": "test/own", "revision": None}
    moved = FreeDA(tiny_preset, encoders, score=Fixed()).to("cpu")
    assert moved.encoders.dense is own and moved.score is not None
    assert moved.encoders.clip is not encoders.clip
    assert replace(tiny_preset, name="x").name == "x"
