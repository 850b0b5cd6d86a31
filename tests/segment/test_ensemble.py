"""Sums of scores: without a bank, by region values, by all; against plain references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import freeda
from freeda.errors import InputError
from freeda.options import METHODS, DenseClip, Ensemble, SegmentOptions, from_dict, parse_settings, to_dict
from freeda.presets import PRESETS
from freeda.segment.background import Verdict
from freeda.segment.result import Segmentation
from freeda.segment.support import resolve
from freeda.segment.vocabulary import Vocabulary

WORDS = ["grass", "tree", "night sky"]
SETTINGS = {"short_side": 96, "window": 64, "stride": 24, "dense_clip": DenseClip(attention="own")}
RNG = np.random.default_rng(3)
PHOTO = RNG.integers(0, 256, (30, 44, 3), dtype=np.uint8).repeat(3, 0).repeat(3, 1)
HALVES = (np.arange(132)[None] // 50 + np.zeros((90, 1), int)) * 2
HALVES[40:60, 30:70] = -1


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


class Values:
    """A bank of region values."""

    def __init__(self, width, joint, n=50):
        rng = np.random.default_rng(5)
        self.dense, self.keys = (
            unit(rng.normal(size=(n, width))),
            unit(rng.normal(size=(n, joint))).astype(np.float16),
        )
        self.asked = []

    def __len__(self):
        return len(self.keys)

    def search(self, queries, k, column):
        assert column == "prototype"
        self.asked.append(len(queries))
        scores = queries @ self.dense.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, rows, 1), rows


class Both:
    """A bank that has region values beside it."""

    def __init__(self, bank, regions):
        self._bank, self.regions = bank, regions

    def __getattr__(self, name):
        return getattr(self._bank, name)

    def __len__(self):
        return len(self._bank)


@pytest.fixture(scope="module")
def model():
    plain = freeda.load()
    return plain.with_bank(Both(plain.bank, Values(plain.encoders.dense.dim, plain.encoders.clip.dim)))


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "weights", [Ensemble(0, 1, 0), Ensemble(0, 0.5, 0.5, 7), Ensemble(1, 0.1, 0.3, 3), Ensemble(0.7, 0, 2)]
)
def test_scores_are_the_sum_at_every_pixel(model, weights, cut):
    scene = model.encode(PHOTO, regions=HALVES if cut else None, method="all", **SETTINGS)
    words = model.vocabulary(WORDS)
    result = model.segment(scene, words, ensemble=weights)
    mosaic, values = scene.mosaic, model.bank.regions
    share = mosaic.local.toarray().astype(np.float64)
    text = words.text_embeddings.astype(np.float64)
    own = share @ (mosaic.joint @ text.T)

    def mean_value(feature):
        near = np.argsort(-(values.dense @ feature), kind="stable")[: weights.neighbours]
        return unit(np.mean([values.keys[i].astype(np.float64) for i in near], axis=0))

    if cut:
        regions, pixels = scene.regions(), (share @ mosaic.features)[mosaic.atoms]
        support = own.copy()
        for region in range(regions.max() + 1):
            mean = unit(pixels[regions == region].mean(axis=0))
            support[np.unique(mosaic.atoms[regions == region])] = mean_value(mean) @ text.T
        assert (regions == -1).any()
    else:
        support = share @ np.array([mean_value(f) for f in mosaic.features]) @ text.T
    local = share @ (1 / (1 + np.exp(-(mosaic.features @ unit(words.prototypes).T))))
    context = mosaic.context.toarray() @ (mosaic.embeddings @ text.T)
    lw = result.options.local_weight
    total = weights.freeda * (lw * local + (1 - lw) * context) + weights.own * own + weights.support * support
    found = result.place_scores().of(np.arange(len(total)))
    np.testing.assert_allclose(found, total, atol=3e-6)
    assert result.options.ensemble == weights


def test_a_scene_keeps_image_text_features_only_where_they_are_asked_for(model):
    assert model.encode(PHOTO, **SETTINGS).mosaic.joint is None
    scene = model.encode(PHOTO, method="no-bank", **SETTINGS)
    rows = scene.mosaic.features
    assert scene.mosaic.joint.shape == (len(rows), model.encoders.clip.dim)
    np.testing.assert_allclose(np.linalg.norm(scene.mosaic.joint, axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="no image-text features: encode it with the same method"):
        model.segment(model.encode(PHOTO, **SETTINGS), WORDS, method="no-bank")


def test_published_scores_are_the_same_whether_features_are_there_or_not(model):
    plain = model.segment(PHOTO, WORDS, **SETTINGS)
    scene = model.encode(PHOTO, method="all", **SETTINGS)
    again = model.segment(scene, WORDS, method="freeda")
    assert plain.options.method == "freeda" and plain.options.ensemble == Ensemble()
    np.testing.assert_array_equal(plain.labels, again.labels)
    np.testing.assert_array_equal(plain.scores(), again.scores())


def test_without_a_bank_words_are_labelled_at_once(model):
    bare = model.with_bank(None)
    result = bare.segment(PHOTO, WORDS, **SETTINGS)
    assert result.options.method == "no-bank" and result.options.ensemble == METHODS["no-bank"]
    assert result.vocabulary.prototypes.shape == (0, model.encoders.dense.dim)
    with_bank = model.segment(PHOTO, WORDS, method="no-bank", **SETTINGS)
    np.testing.assert_array_equal(result.labels, with_bank.labels)
    everything = bare.segment(PHOTO, WORDS, method="all", ensemble=Ensemble(1, 0.2, 0.2), **SETTINGS)
    np.testing.assert_array_equal(result.labels, everything.labels)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "freeda"}, "FreeDA's score needs a bank"),
        ({"method": "values"}, "support needs a bank of region values"),
        ({"ensemble": Ensemble(0, 0, 0)}, "every weight of the ensemble is 0"),
        ({"background": "local"}, "background=local looks at prototypes"),
    ],
)
def test_what_a_score_lacks_is_told_before_anything_is_encoded(model, changes, told):
    with pytest.raises(InputError, match=told):
        model.with_bank(None).segment("no such photograph.jpg", WORDS, **changes)


def test_method_and_weights():
    options = SegmentOptions()
    assert (
        resolve(options, True, True).method == "freeda" and resolve(options, False, True).method == "no-bank"
    )
    every = replace(options, method="all")
    assert resolve(every, True, True).ensemble == METHODS["all"]
    assert resolve(every, True, False).ensemble == replace(METHODS["all"], support=0.0)
    assert resolve(every, False, True).ensemble == METHODS["values"]
    assert resolve(every, False, False).ensemble == METHODS["no-bank"]
    mine = options.with_changes(ensemble=Ensemble(2, 1))
    assert (
        mine.with_changes(k=3).ensemble == Ensemble(2, 1) and mine.with_changes(method="all").ensemble is None
    )


def test_weights_as_text_and_plain_values():
    found = parse_settings(["ensemble.own=0.3", "dense_clip.attention=proxy"], SegmentOptions())
    assert found.ensemble == Ensemble(own=0.3) and found.dense_clip == DenseClip(attention="proxy")
    assert parse_settings(["ensemble=none"], found).ensemble is None
    assert from_dict(SegmentOptions, to_dict(found)) == found
    with pytest.raises(InputError, match=r"name one of its fields: ensemble\.FIELD"):
        parse_settings(["ensemble=3"], SegmentOptions())
    with pytest.raises(InputError, match=r"ensemble\.own is -1\.0"):
        parse_settings(["ensemble.own=-1"], SegmentOptions())


@pytest.mark.parametrize("cut", [False, True])
def test_a_file_keeps_what_supported_it(model, tmp_path, cut):
    given = {"regions": HALVES if cut else None, "method": "values", **SETTINGS}
    result = model.segment(PHOTO, WORDS, **given)
    assert result.models["values"] == "Values"
    read = Segmentation.load_npz(result.save_npz(tmp_path / "a.npz"))
    np.testing.assert_array_equal(read.scores(), result.scores())
    again = read.relabel(model.vocabulary(WORDS[:2], method="values"))
    fresh = model.segment(PHOTO, WORDS[:2], **given)
    np.testing.assert_array_equal(again.labels, fresh.labels)
    assert "values" not in read.scene.models


def plain_verdict(scores, label, threshold, named):
    """Row by row: softmax over all names, then the best word of each class; under the threshold nothing."""
    out = []
    for row in scores.astype(np.float64):
        p = np.exp(40 * (row - row.max()))
        p /= p.sum()
        background = label.max() if named else label.max() + 1
        out.append(background if p.max() < threshold else label[p.argmax()])
    return np.array(out)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_background_by_probability_and_by_its_own_words(named, threshold):
    label = np.array([0, 0, 1, 2, 2])
    names = ("cat", "dog", "background" if named else "others")
    words = Vocabulary(names, np.eye(5, 7, dtype=np.float32), np.zeros((0, 3), np.float32), label=label)
    options = SegmentOptions(
        background="probability", background_threshold=threshold, others=names[-1], other_words=("sky", "sea")
    )
    verdict = Verdict(words, options)
    scores = np.random.default_rng(0).normal(0, 0.03, (400, 5)).astype(np.float32)
    labels, codes = verdict.decide(scores)
    np.testing.assert_array_equal(labels, plain_verdict(scores, label, threshold, named))
    assert verdict.scores(scores).shape == (400, 3 if named else 4) and len(set(labels.tolist())) == 4 - named
    np.testing.assert_array_equal(verdict.scores(scores).argmax(axis=1), labels)
    # Places of one code are one label, and so is every blend of them.
    for code in np.unique(codes):
        rows = scores[codes == code]
        blends = np.random.default_rng(1).dirichlet(np.ones(len(rows)), 20).astype(np.float32) @ rows
        assert set(verdict.decide(blends)[0]) == {labels[codes == code][0]}


def test_a_class_is_as_good_as_its_best_word(model):
    classes = {"plant": ["grass", "tree"], "sky": ["night sky"]}
    scene = model.encode(PHOTO, method="no-bank", **SETTINGS)
    result = model.segment(
        scene, model.vocabulary(classes, synonyms="max", method="no-bank"), method="no-bank"
    )
    single = model.segment(scene, ["plant", "grass", "tree", "sky", "night sky"], method="no-bank").scores()
    best = np.stack([single[:3].max(axis=0), single[3:].max(axis=0)])
    assert result.names == ("plant", "sky")
    np.testing.assert_allclose(
        result.scores(), best, atol=1e-5
    )  # a maximum of blends is one of maxima, nearly
    both = model.vocabulary(classes, synonyms="max")
    assert len(both.prototypes) == 5 and both.label.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("method", ["no-bank", "values", "all"])
def test_an_explanation_has_the_parts_of_the_sum(model, tmp_path, method, cut):
    result = model.segment(PHOTO, WORDS, method=method, regions=HALVES if cut else None, **SETTINGS)
    for x, y in [(3, 4), (40, 50), (131, 89)]:
        told = result.explain(x, y)
        weights, share = told.weights, told.local_weight
        assert told.label == result.names[result.labels[y, x]]
        for one in told.scores:
            parts = {
                name: getattr(one, f"{name}_score") or 0.0 for name in ("local", "global", "own", "support")
            }
            freeda = share * parts["local"] + (1 - share) * parts["global"]
            total = weights.freeda * freeda + weights.own * parts["own"] + weights.support * parts["support"]
            assert one.score == pytest.approx(total, abs=2e-5)
            assert (one.local_score is None) == (method != "all")
        inside = not cut or result.scene.regions()[y * 96 // 90, x * 96 // 90] >= 0
        assert len(told.values) == (5 if method != "no-bank" and inside else 0)
        assert [r.cosine for r in told.values] == sorted((r.cosine for r in told.values), reverse=True)
        assert "own" in str(told) and told.to_dict()["weights"]["own"] == weights.own
        assert told.save(tmp_path / "card.png").exists()


def test_published_presets_keep_the_published_method():
    for name in ("vit-l", "vit-b", "miniature"):
        assert PRESETS[name].segment.method == "auto" and PRESETS[name].segment.ensemble is None
