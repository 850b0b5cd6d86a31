"""Scene x Vocabulary against the plain reference, and the ways they are used."""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.errors import InputError
from freeda.options import SegmentOptions, Superpixels
from freeda.segment import matching, upsample
from freeda.segment.vocabulary import Vocabulary
from random_scenes import picture, random_vocabulary

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
assert _spec is not None and _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

FELZENSZWALB = Superpixels(scale=10.0, sigma=0.3, min_size=1)


def agree(model: Any, image: np.ndarray, vocabulary: Vocabulary, options: SegmentOptions) -> None:
    """Labels and scores of the package equal those of the plain reference."""
    given = {f.name: getattr(options, f.name) for f in fields(options)}
    scene = model.encode(image, **given)
    result = model.segment(scene, vocabulary)
    working = scene.working_image()
    plain = reference.merged(
        model.encoders,
        working,
        vocabulary.text_embeddings,
        reference.prototypes_by_row(vocabulary),
        options,
    )
    plain = reference.resized(reference.refined(plain, working, options), image.shape[:2]).numpy()
    row_labels = vocabulary.row_labels.tolist()
    labels, margin = reference.decided(plain, row_labels, options)
    assert result.labels.shape == image.shape[:2] and result.labels.dtype == np.int32
    # The label may differ from the reference's only where a decision is a tie up to rounding.
    assert (margin[result.labels != labels] < 4e-5).all()
    found, n = result.scores(), len(vocabulary.names)
    for label in range(n):
        rows = [t for t, own in enumerate(row_labels) if own == label]
        np.testing.assert_allclose(found[label], plain[0][rows].max(axis=0), atol=2e-5)
    assert np.array_equal(found.argmax(axis=0), result.labels)
    assert len(found) == len(result.names) == n + (options.background != "none")
    np.testing.assert_allclose(result.confidence, found.max(axis=0), atol=1e-6)


sizes = {
    "height": st.integers(1, 70),
    "width": st.integers(1, 70),
    "window": st.sampled_from([None, 16, 33, 100]),
    "stride": st.integers(9, 16),
    "short_side": st.sampled_from([None, 24, 50]),
}
property_test = settings(max_examples=25)


@property_test
@given(
    **sizes,
    classes=st.integers(1, 7),
    local_weight=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    algorithm=st.sampled_from(["felzenszwalb", "slic", "quickshift", "watershed", "none"]),
    seed=st.integers(0, 10**6),
)
def test_equals_the_plain_reference(
    tiny_model: Any, height: int, width: int, seed: int, classes: int, algorithm: str, **options: Any
) -> None:
    rng = np.random.default_rng(seed)
    pixels = Superpixels(algorithm, scale=10.0, sigma=0.3, min_size=1, n_segments=12, max_dist=4.0)
    chosen = SegmentOptions(superpixels=pixels, long_side=150, **options)
    agree(tiny_model, picture(rng, height, width), random_vocabulary(rng, classes), chosen)


@property_test
@given(
    **{**sizes, "height": st.integers(1, 40), "width": st.integers(1, 40)},
    classes=st.integers(1, 6),
    several=st.booleans(),
    others=st.integers(0, 3),
    prototypes=st.sampled_from(["all", "knn-vote"]),
    max_share=st.sampled_from([0.0, 0.4, 1.0]),
    neighbours=st.sampled_from([1, 3, 100]),
    background=st.sampled_from(["none", "constant", "local", "local-of-winner"]),
    background_threshold=st.sampled_from([0.2, 0.45, 0.5, 0.55]),
    seed=st.integers(0, 10**6),
)
def test_every_way_of_scoring_equals_the_reference(
    tiny_model: Any,
    height: int,
    width: int,
    seed: int,
    classes: int,
    several: bool,
    others: int,
    **options: Any,
) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = random_vocabulary(rng, classes, several, others)
    chosen = SegmentOptions(superpixels=FELZENSZWALB, long_side=150, **options)
    agree(tiny_model, picture(rng, height, width), vocabulary, chosen)


@settings(property_test, max_examples=10)
@given(
    height=st.integers(1, 22),
    width=st.integers(1, 22),
    window=st.sampled_from([None, 16]),
    short_side=st.sampled_from([None, 12]),
    background=st.sampled_from(["none", "constant", "local", "local-of-winner"]),
    refine_dilations=st.sampled_from([(1,), (1, 3), (2, 5, 30)]),
    refine_iterations=st.integers(1, 3),
    seed=st.integers(0, 10**6),
)
def test_refinement_equals_the_reference(
    tiny_model: Any, height: int, width: int, seed: int, **options: Any
) -> None:
    rng = np.random.default_rng(seed)
    chosen = SegmentOptions(
        superpixels=FELZENSZWALB, stride=9, long_side=60, refine="pamr", background_threshold=0.5, **options
    )
    agree(tiny_model, picture(rng, height, width), random_vocabulary(rng, 3, others=1), chosen)


def test_little_memory_gives_the_same(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    image, vocabulary = picture(rng, 90, 60), random_vocabulary(rng, 5)
    scene = tiny_model.encode(image, superpixels=FELZENSZWALB)
    roomy = tiny_model.segment(scene, vocabulary)
    scores = roomy.scores()
    for module, name, value in (
        (matching, "TABLE", 0),
        (matching, "CHUNK", 60),
        (upsample, "CHUNK", 60),
        (upsample, "STRIP", 100),
    ):
        monkeypatch.setattr(module, name, value)
    reference.assert_alike(tiny_model.segment(scene, vocabulary), roomy.labels, scores)


@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_batches_do_not_matter(tiny_model: Any, batch_size: int) -> None:
    rng = np.random.default_rng(2)
    image, vocabulary, calls = picture(rng, 60, 130), random_vocabulary(rng, 4), []
    scene = tiny_model.encode(image, batch_size=batch_size, on_done=lambda *done: calls.append(done))
    whole = tiny_model.encode(image, batch_size=8)
    np.testing.assert_allclose(scene.mosaic.features, whole.mosaic.features, atol=1e-5)
    expected = tiny_model.segment(whole, vocabulary)
    reference.assert_alike(tiny_model.segment(scene, vocabulary), expected.labels, expected.scores())
    assert calls[-1] == (4, 4) and len(calls) == -(-4 // batch_size)


def test_constant_background(tiny_model: Any) -> None:
    rng = np.random.default_rng(3)
    image, vocabulary = picture(rng, 50, 70), random_vocabulary(rng, 3)
    scene = tiny_model.encode(image)
    plain = tiny_model.segment(scene, vocabulary)
    levels = np.unique(plain.confidence)
    low, high = len(levels) // 4, len(levels) * 3 // 4
    widest = low + int(np.diff(levels[low:high]).argmax())
    threshold = float(levels[widest : widest + 2].mean())  # between two, whatever rounds them
    assert levels[widest + 1] - levels[widest] > 1e-5
    result = tiny_model.segment(scene, vocabulary, background="constant", background_threshold=threshold)
    assert result.names == (*vocabulary.names, "background")
    empty = plain.confidence < threshold
    assert np.array_equal(result.labels == 3, empty)
    assert np.array_equal(result.labels[~empty], plain.labels[~empty])
    named = Vocabulary(("background", "b", "c"), vocabulary.text_embeddings, vocabulary.prototypes)
    with pytest.raises(InputError, match="'background'"):
        tiny_model.segment(scene, named, background="constant")


@pytest.mark.parametrize("size", [(1, 1), (2000, 1), (1, 2000), (2, 3)])
def test_extreme_shapes(tiny_model: Any, size: tuple[int, int]) -> None:
    image = np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8)
    result = tiny_model.segment(image, ["cat", "dog"])
    assert result.labels.shape == size


def test_20000_by_10(tiny_model: Any) -> None:
    image = np.random.default_rng(5).integers(0, 256, (20000, 10, 3), dtype=np.uint8)
    assert tiny_model.segment(image, ["cat", "dog"]).labels.shape == (20000, 10)


def test_one_class_takes_all(tiny_model: Any) -> None:
    result = tiny_model.segment(np.zeros((9, 9, 3), np.uint8), ["cat"])
    assert not result.labels.any() and result.shares == {"cat": 1.0}


def test_a_scene_is_relabelled_without_the_encoders(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(np.random.default_rng(6), 60, 60)
    scene = tiny_model.encode(image)
    expected = tiny_model.segment(image, ["cat", "boat"]).labels
    monkeypatch.setattr(tiny_model.encoders.dense, "encode", lambda x: pytest.fail("encoded again"))
    assert np.array_equal(tiny_model.segment(scene, ["cat", "boat"]).labels, expected)
    assert np.array_equal(tiny_model.segment(scene, tiny_model.vocabulary(["cat", "boat"])).labels, expected)
    assert tiny_model.segment(scene, {"cat": ["dog"], "tree": []}).names == ("cat", "tree")


def test_options_of_a_scene(tiny_model: Any) -> None:
    image = picture(np.random.default_rng(7), 40, 40)
    scene = tiny_model.encode(image, local_weight=1.0)
    words = ["cat", "boat", "sky"]
    assert tiny_model.segment(scene, words).options.local_weight == 1.0
    direct = tiny_model.segment(image, words, local_weight=0.0, k=2)
    assert np.array_equal(tiny_model.segment(scene, words, local_weight=0.0, k=2).labels, direct.labels)
    with pytest.raises(InputError, match="'window' cannot change after encoding"):
        tiny_model.segment(scene, words, window=3)
    with pytest.raises(InputError, match="unknown option 'colour'"):
        tiny_model.encode(image, colour=3)
    with pytest.raises(InputError, match="different models"):
        tiny_model.segment(
            scene, Vocabulary(("a",), np.ones((1, 7), np.float32), np.ones((1, 24), np.float32))
        )


def test_scores_of_some_names(tiny_model: Any) -> None:
    result = tiny_model.segment(picture(np.random.default_rng(8), 30, 44), ["cat", "boat", "sky"])
    assert result.scores(["sky"]).shape == (1, 30, 44)
    assert np.array_equal(result.scores(["sky", "cat"]), result.scores()[[2, 0]])
    assert np.array_equal(result.scores().argmax(0), result.labels)
    assert sum(result.shares.values()) == pytest.approx(1.0)
    with pytest.raises(InputError, match="no class 'moon'"):
        result.scores(["moon"])


def test_saving(tiny_model: Any, tmp_path: Path) -> None:
    result = tiny_model.segment(picture(np.random.default_rng(9), 30, 44), ["cat", "boat"])
    written = result.save(tmp_path / "out", "photo")
    assert all(path.is_file() and path.name.startswith("photo.") for path in written.values())
    from PIL import Image

    assert np.array_equal(np.asarray(Image.open(written["labels"])), result.labels)


def test_regions_are_those_that_were_used(tiny_model: Any) -> None:
    image = picture(np.random.default_rng(10), 48, 48)
    regions = tiny_model.encode(image).regions()
    assert regions.shape == (48, 48) and regions.min() == 0
