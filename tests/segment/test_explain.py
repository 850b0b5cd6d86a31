"""Explanations: their numbers against the label map, the scores and the plain reference; what they refuse."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.errors import InputError
from freeda.options import SegmentOptions, Superpixels
from freeda.segment import Segmentation, Vocabulary
from freeda.segment.refine import affinity, influence
from random_scenes import picture, random_vocabulary

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
assert _spec is not None and _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

RNG = np.random.default_rng(0)
IMAGE = np.kron(RNG.integers(0, 256, (6, 9, 3)), np.ones((11, 11, 1))).astype(np.uint8)
PIXELS = Superpixels(scale=10.0, sigma=0.3, min_size=1)
CLASSES = {"cat": ["puss"], "dog": [], "wooden table": [], "sky": []}


@pytest.fixture(scope="module")
def result(tiny_model: Any) -> Segmentation:
    return tiny_model.segment(IMAGE, CLASSES)


def plain_planes(model: Any, scene: Any, vocabulary: Vocabulary, options: SegmentOptions) -> np.ndarray:
    """(2, T, H, W): ensemble and local scores of every text row, by the plain reference."""
    working = scene.working_image()
    planes = reference.merged(
        model.encoders, working, vocabulary.text_embeddings, reference.prototypes_by_row(vocabulary), options
    )
    out: np.ndarray = reference.resized(reference.refined(planes, working, options), scene.size).numpy()
    return out


@settings(max_examples=15)
@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    window=st.sampled_from([None, 16]),
    stride=st.integers(9, 16),
    short_side=st.sampled_from([None, 12, 24]),
    local_weight=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    prototypes=st.sampled_from(["mean", "all", "knn-vote"]),
    max_share=st.sampled_from([0.4, 1.0]),
    background=st.sampled_from(["none", "constant", "local", "local-of-winner"]),
    background_threshold=st.sampled_from([0.3, 0.5]),
    refine=st.sampled_from(["none", "none", "pamr"]),
    classes=st.integers(1, 5),
    others=st.integers(0, 2),
    algorithm=st.sampled_from(["felzenszwalb", "none"]),
    seed=st.integers(0, 10**6),
)
def test_every_number_is_the_reference_s(
    tiny_model: Any,
    height: int,
    width: int,
    classes: int,
    others: int,
    algorithm: str,
    seed: int,
    **given: Any,
) -> None:
    rng = np.random.default_rng(seed)
    pixels = Superpixels(algorithm, scale=10.0, sigma=0.3, min_size=1)
    options = SegmentOptions(
        superpixels=pixels, long_side=60, refine_iterations=2, refine_dilations=(1, 2), **given
    )
    encoding = {
        n: getattr(options, n) for n in ("superpixels", "short_side", "long_side", "window", "stride")
    }
    vocabulary = random_vocabulary(rng, classes, options.prototypes != "mean", others)
    scene = tiny_model.encode(picture(rng, height, width), **encoding)
    late = {n: v for n, v in given.items() if n not in encoding and n != "prototypes"}
    made = replace(vocabulary, options=options)
    result = tiny_model.segment(scene, made, **late, refine_iterations=2, refine_dilations=(1, 2))
    x, y = int(rng.integers(width)), int(rng.integers(height))
    told = result.explain(x, y)

    # Bit for bit what `scores` says, and the label map.
    dense = result.scores()[:, y, x]
    assert {s.name: s.score for s in told.scores} == dict(zip(result.names, dense.tolist(), strict=True))
    assert told.label == result.names[result.labels[y, x]]
    assert [s.score for s in told.scores] == sorted(dense.tolist(), reverse=True)
    assert all(result.names[s.label] == s.name for s in told.scores)
    if told.margin > 1e-5:
        assert told.scores[0].name == told.label

    # The parts, against loops.
    own = plain_planes(tiny_model, scene, vocabulary, result.options)
    whole = plain_planes(tiny_model, scene, vocabulary, replace(result.options, local_weight=0.0))
    rows = vocabulary.row_labels
    for s in told.scores:
        if s.name == "background" and result.options.background != "none":
            assert s.local_score is None and s.cosine is None and s.global_score is None
            continue
        assert s.local_score is not None and s.global_score is not None
        near = [t for t in np.flatnonzero(rows == s.label) if abs(own[0, t, y, x] - s.score) < 1e-4]
        assert any(
            math.isclose(s.local_score, own[1, t, y, x], abs_tol=3e-5)
            and math.isclose(s.global_score, whole[0, t, y, x], abs_tol=3e-5)
            for t in near
        )
        weight = result.options.local_weight
        assert math.isclose(weight * s.local_score + (1 - weight) * s.global_score, s.score, abs_tol=1e-5)

    # What would have won otherwise is what labelling otherwise says.
    for other, name in ((1.0, told.without_global), (0.0, told.only_global)):
        again = tiny_model.segment(
            scene, made, **{**late, "local_weight": other}, refine_iterations=2, refine_dilations=(1, 2)
        )
        top = np.sort(again.scores()[:, y, x])
        if len(top) == 1 or top[-1] - top[-2] > 1e-5:
            assert name == again.names[again.labels[y, x]]

    assert told.region[y, x] and told.reach[y, x] and told.region.shape == (height, width)
    assert not (told.region & ~told.reach).any()


@pytest.mark.parametrize("max_share", [0.0, 0.4, 1.0])
def test_the_cosine_of_a_single_region(tiny_model: Any, max_share: float) -> None:
    """One window at its own size: a region's cosine is behind its local score, and is a loop's."""
    rng = np.random.default_rng(3)
    image, vocabulary = picture(rng, 40, 40), random_vocabulary(rng, 4, True, 0)
    scene = tiny_model.encode(
        image, superpixels=Superpixels("slic", n_segments=4), window=None, short_side=None
    )
    made = replace(vocabulary, options=SegmentOptions(prototypes="all"))
    result = tiny_model.segment(scene, made, max_share=max_share)
    told = result.explain(20, 20)
    assert told.windows == 1 and told.region.sum() > 100 and np.array_equal(told.region, told.reach)
    assert math.isclose(float(np.linalg.norm(told.feature)), 1.0, abs_tol=1e-5)
    groups = reference.prototypes_by_row(vocabulary)
    for s in told.scores:
        near = [reference.cosine(told.feature, p) for p in groups[s.label]]
        cosine = max_share * max(near) + (1 - max_share) * sum(near) / len(near)
        assert s.cosine is not None and s.local_score is not None
        assert math.isclose(s.cosine, cosine, abs_tol=1e-5)
        assert math.isclose(s.local_score, reference.sigmoid(cosine), abs_tol=1e-5)


def test_of_equal_scores_the_label_that_was_given_is_first(tiny_model: Any) -> None:
    vocabulary = random_vocabulary(np.random.default_rng(0), 3, False, 0)
    for array in (vocabulary.text_embeddings, vocabulary.prototypes):
        array[:] = np.eye(1, array.shape[1])  # products with it are one number: no order of adding matters
    result = tiny_model.segment(tiny_model.encode(IMAGE), replace(vocabulary, options=SegmentOptions()))
    for label in range(3):
        given = replace(result, labels=np.full_like(result.labels, label))
        told = given.explain(40, 30, references=0)
        assert told.margin == 0 and [s.label for s in told.scores] == sorted(
            range(3), key=lambda i: i != label
        )


def test_windows_and_borders_are_told(tiny_model: Any) -> None:
    image = picture(np.random.default_rng(5), 96, 48)
    scene = tiny_model.encode(image, superpixels=PIXELS, short_side=None, window=48, stride=24)
    result = tiny_model.segment(scene, ["cat", "dog"])
    assert result.explain(10, 5).windows == 1 and result.explain(10, 47).windows == 2
    atoms = scene.mosaic.atoms
    for x, y in ((10, 5), (30, 47), (20, 95)):
        told = result.explain(x, y)
        assert np.array_equal(told.region, atoms == atoms[y, x])
        # All that was pooled: every superpixel, of any covering window, that the pixel lies in.
        columns = set(scene.mosaic.local[atoms[y, x]].indices.tolist())
        pooled = [bool(columns & set(scene.mosaic.local[a].indices.tolist())) for a in range(atoms.max() + 1)]
        assert np.array_equal(told.reach, np.array(pooled)[atoms])
    enlarged = tiny_model.segment(tiny_model.encode(image, superpixels=PIXELS, short_side=16), ["cat", "dog"])
    notes = {n for y in range(96) for n in enlarged.explain(24, y, references=0).notes if "border" in n}
    assert notes and all("regions are blended here" in note for note in notes)
    assert any(" 2 regions" in note for note in notes)


@settings(max_examples=15)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    dilations=st.sampled_from([(1,), (1, 3), (2, 12)]),
    iterations=st.integers(0, 3),
    seed=st.integers(0, 10**6),
)
def test_influence_is_the_transpose_of_refinement(
    height: int, width: int, dilations: tuple[int, ...], iterations: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image, plane = picture(rng, height, width), rng.normal(size=(height, width))
    start = np.zeros((height, width))
    y, x = int(rng.integers(height)), int(rng.integers(width))
    start[y, x] = 1.0
    share = influence(start, affinity(image, dilations), dilations, iterations)
    assert math.isclose(float(share.sum()), 1.0, abs_tol=1e-5)
    refined = reference.pamr(image, plane, dilations, iterations)
    assert math.isclose(float((share * plane).sum()), float(refined[y, x]), abs_tol=1e-4)


def test_the_share_of_the_own_region_after_refinement(tiny_model: Any) -> None:
    scene = tiny_model.encode(picture(np.random.default_rng(7), 24, 24), superpixels=PIXELS, short_side=None)
    result = tiny_model.segment(
        scene, ["cat", "dog"], refine="pamr", refine_iterations=2, refine_dilations=(1, 2)
    )
    atoms, said = scene.mosaic.atoms, set()
    for x, y in ((3, 4), (12, 12), (20, 9)):
        own = (atoms == atoms[y, x]).astype(float)
        share = reference.pamr(scene.working_image(), own, (1, 2), 2)[y, x]
        told = [
            note for note in result.explain(x, y, references=0).notes if note.startswith("Refined (pamr)")
        ]
        assert len(told) == 1 and f": {100 * share:.0f} % of the scores" in told[0]
        said.add(told[0])
    assert len(said) > 1


def test_others_names_the_word_that_spoke(tiny_model: Any) -> None:
    result = tiny_model.segment(IMAGE, ["cat"], others="rest", other_words=("boat", "car", "house"))
    told = result.explain(40, 30)
    rest = next(s for s in told.scores if s.name == "rest")
    rows = {w: tiny_model.segment(IMAGE, [w]).scores()[0, 30, 40] for w in ("boat", "car", "house")}
    assert rest.word == max(rows, key=lambda w: rows[w])
    assert f"by {rest.word}" in str(told)
    assert next(s for s in told.scores if s.name == "cat").word == "cat"


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (99, 0, "x is 99: this photograph is 99 pixels wide, so 0 to 98"),
        (-1, 0, "x is -1"),
        (0, 66, "y is 66: this photograph is 66 pixels high, so 0 to 65"),
        (1.5, 0, "x is 1.5: it must be a whole number"),
        ("3", 0, "x is '3'"),
        (True, 0, "x is True: it must be a whole number"),
    ],
)
def test_places_that_are_none(result: Segmentation, x: Any, y: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        result.explain(x, y)


def test_counts_that_are_none(result: Segmentation) -> None:
    for wrong in (-1, 1.5, "3", None, True):
        for name in ("classes", "references"):
            with pytest.raises(InputError, match=rf"{name} is {wrong!r}: it must be 0 or more"):
                result.explain(0, 0, **{name: wrong})
    assert result.explain(np.int64(3), np.uint8(4)).x == 3


def test_it_prints_and_saves(result: Segmentation, tmp_path: Path) -> None:
    told = result.explain(40, 30)
    text = str(told)
    for s in told.scores:
        assert s.name in text and f"{s.score:.3f}" in text and f"({s.cosine:.3f})" in text
    for group in told.references:
        assert f"nearest of {group.retrieved} references" in text
        assert all(r.caption in text for r in group.nearest)
    assert f"Without the global term: {told.without_global}; by it alone: {told.only_global}." in text
    assert json.loads(told.save(tmp_path / "e.json").read_text()) == told.to_dict()
    assert told.save(tmp_path / "e.png").is_file() and told.save(tmp_path / "e.jpg").is_file()
    assert repr(told) == f"<Explanation of pixel 40,30: {told.label}>" and len(text.splitlines()) > 10
    shown = re.fullmatch(
        r'<img alt="pixel 40,30: (.*)" style="[^"]*" src="data:image/jpeg;base64,(.*)">', told._repr_html_()
    )
    assert shown is not None and shown[1] == told.label
    assert base64.b64decode(shown[2]) == (tmp_path / "e.jpg").read_bytes()
    with pytest.raises(InputError, match=r"e\.txt: an explanation is written as"):
        told.save(tmp_path / "e.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.jpg", "e.json", "e.png"]


def test_a_name_that_no_font_draws_goes_by_its_number(result: Segmentation) -> None:
    """Everywhere on the card: in the title, beside the bars, in the sentences and above the references."""
    told = result.explain(40, 30)

    def called(name: dict[str, str]) -> np.ndarray:
        return replace(
            told,
            label=name[told.label],
            without_global=name[told.without_global],
            only_global=name[told.only_global],
            scores=tuple(replace(s, name=name[s.name]) for s in told.scores),
            references=tuple(replace(g, name=name[g.name]) for g in told.references),
        ).draw()

    private = [chr(0xF1230 + n) for n in range(9)]  # letters of no script
    name = {s.name: private[s.label] for s in told.scores}
    assert np.array_equal(called(name), called({s.name: f"class {s.label + 1}" for s in told.scores}))


def test_many_and_odd_names(tiny_model: Any) -> None:
    names = [f"class {i}" for i in range(12)] + ["größe 🙂", "猫" * 4, "a very long name of a class that"]
    told = tiny_model.segment(IMAGE, names).explain(0, 0)
    assert "and 5 more" in str(told) and len(told.scores) == 15
    assert all(len(line) < 140 for line in str(told).splitlines() if "more" not in line)
    assert tiny_model.segment(IMAGE, ["cat"]).explain(0, 0).margin == math.inf
