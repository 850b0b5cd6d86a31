"""A region that was taught counts in what looks like it, and a place means what it says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import freeda
from commands import run
from freeda.bank.taught import Taught
from freeda.errors import InputError
from freeda.miniature.scenes import CLASSES, HELD_OUT, render
from freeda.model import FreeDA
from freeda.segment import Scene, Vocabulary
from freeda.segment.lessons import place
from freeda.segment.matching import heeding, likeness


@pytest.fixture(scope="module")
def loaded() -> FreeDA:
    return freeda.load("miniature")


@pytest.fixture
def model(loaded: FreeDA) -> Iterator[FreeDA]:
    yield loaded.with_taught(Taught())


@pytest.fixture(scope="module")
def seen(loaded: FreeDA) -> Scene:
    return loaded.encode(render(HELD_OUT, 25).image)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 1, 3), (7, 4, 2), (1, 6, 6)])
def test_scores_equal_a_plain_loop(shape: tuple[int, int, int], dtype: type) -> None:
    n, lessons, rows = shape
    rng = np.random.default_rng(n)
    features, taught = (rng.standard_normal((count, 8)) for count in (n, lessons))
    features, taught = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, taught))
    of = rng.integers(rows, size=lessons)
    text = np.eye(rows, dtype=np.float32)
    known = Vocabulary(
        tuple(map(str, range(rows))),
        text,
        np.zeros((0, 8), np.float32),
        lessons=taught.astype(np.float32),
        lesson_rows=of,
        lesson_pictures=("a.jpg",) * lessons,
    )
    plain = np.zeros((n, rows + 1))
    base = rng.standard_normal((n, rows)).astype(np.float32)
    for i in range(n):
        for j in range(lessons):
            near = np.exp(-7.0 * (1 - features[i] @ taught[j]))
            plain[i, of[j]] += near
            plain[i, -1] = max(plain[i, -1], near)
    found = likeness(features.astype(dtype), known, 7.0)
    assert found.dtype == np.float32 and np.allclose(found, plain, atol=1e-5)
    for i in range(n):
        k, own, best = plain[i, -1] ** 10, plain[i, :-1], base[i].max()
        expected = [(1 - k) * base[i, c] + k * best * own[c] / own.sum() + 0.4 * own[c] for c in range(rows)]
        assert np.allclose(heeding(base, found, 0.4)[i], expected, atol=1e-5)


def test_a_lesson_holds_on_its_region_and_can_be_taken_back(model: FreeDA, seen: Scene) -> None:
    before = model.segment(seen, list(CLASSES))
    verdict = max(before.by_region(), key=lambda one: one.share)
    wrong = "mushroom" if before.names[verdict.label] != "mushroom" else "clock"
    lesson = model.teach(seen, verdict.region, wrong)
    assert abs(lesson.area - verdict.share) < 1e-6 and lesson.picture == "image"
    after = model.segment(seen, list(CLASSES))
    region = after.regions == verdict.region
    assert (after.labels[region] == CLASSES.index(wrong)).all()
    told = after.explain(*np.argwhere(region)[0][::-1].tolist())
    assert told.lessons[0].noun == wrong and told.lessons[0].cosine > 0.999
    assert "taught" in str(told) and told.to_dict()["lessons"][0]["caption"] == "image"
    best = max(one.score for one in before.explain(told.x, told.y).scores)
    assert told.scores[0].taught_score == pytest.approx(1, abs=1e-2)
    assert told.scores[0].score == pytest.approx(best + 0.2, abs=1e-2)
    other = model.encode(render(HELD_OUT, 11).image)
    untaught = model.with_taught(Taught())
    assert np.array_equal(untaught.segment(seen, list(CLASSES)).labels, before.labels)
    known = model.vocabulary(list(CLASSES))
    assert len(model.ready(known).lessons) == 1  # type: ignore[arg-type]
    model.taught.undo()
    assert np.array_equal(model.segment(seen, known).labels, before.labels)
    assert np.array_equal(model.segment(other, known).labels, untaught.segment(other, known).labels)


def test_without_a_bank_one_lesson_is_heeded_elsewhere(loaded: FreeDA) -> None:
    """What was taught in one scene is found in another, where the same words missed it."""
    model = loaded.with_bank(None).with_taught(Taught())
    first, second = (render(HELD_OUT, index) for index in (13, 15))
    road = CLASSES.index("road")

    def found() -> float:
        return float(
            (model.segment(second.image, list(CLASSES)).labels[second.labels == road] == road).mean()
        )

    assert found() < 0.1
    model.teach(first.image, first.labels == road, "Road")
    assert found() > 0.7


def test_words_are_found_by_any_name(model: FreeDA, seen: Scene) -> None:
    model.teach(seen, 0, "Home")
    model.teach(seen, 1, "nothing of these")
    known = model.ready(["tree", "house=home"])
    assert known.lesson_rows.tolist() == [1]  # type: ignore[union-attr]
    known = model.ready(["tree", "house=home"], synonyms="max")
    assert known.lesson_rows.tolist() == [2]  # type: ignore[union-attr]
    assert model.ready(["tree"]).lessons is None


def test_places(seen: Scene) -> None:
    regions = seen.regions()
    assert np.array_equal(place(seen, int(regions[5, 9])), regions == regions[5, 9])
    assert np.array_equal(place(seen, (9, 5)), regions == regions[5, 9])
    mask = np.zeros(seen.size, bool)
    mask[3, 4] = True
    assert place(seen, mask) is mask
    box = (10, 20, 90, 80)
    inside = np.zeros(seen.size, bool)
    inside[20:80, 10:90] = True
    plain = np.zeros(seen.size, bool)
    for region in np.unique(regions):
        own = regions == region
        if 2 * (own & inside).sum() >= own.sum():
            plain |= own
    assert np.array_equal(place(seen, box), plain)
    assert place(seen, (0, 0, 1, 1)).sum() == 1
    for wrong in (
        -1,
        (-1, 0),
        (128, 0),
        (0, 0, 0, 5),
        (0, 0, 129, 5),
        10_000,
        -7,
        0.5,
        (1, 2, 3),
        mask[:5],
        "cat",
        [(1, 2), (3,)],
    ):
        with pytest.raises(InputError):
            place(seen, wrong)  # type: ignore[arg-type]


def test_a_scene_teaches_the_model_that_encoded_it(model: FreeDA) -> None:
    scene = model.encode(render(HELD_OUT, 11).image)
    assert scene.teach((5, 5), "tree").id == "1" and len(model.taught) == 1
    with pytest.raises(InputError, match="model is not at hand"):
        copy.deepcopy(scene).teach((5, 5), "tree")


def test_how_sure_regions_are(model: FreeDA, seen: Scene) -> None:
    result = model.segment(seen, list(CLASSES))
    scores, regions = np.sort(result.scores(), axis=0), result.regions
    margin = scores[-1] - scores[-2]
    found = result.by_region()
    assert sum(one.share for one in found) == pytest.approx(1) and 0 <= result.uncertainty <= 0.5
    assert result.uncertainty == pytest.approx(sum(one.unsure for one in found))
    for one in found:  # the photograph has the working size: nothing is resized
        own = regions == one.region
        assert one.label == np.bincount(result.labels[own]).argmax()
        assert one.margin == pytest.approx(margin[own].mean(), abs=1e-5)
        assert one.unsure == pytest.approx((1 / (1 + np.exp(margin[own] / 0.03))).sum() / own.size, abs=1e-5)


def test_words_are_kept_with_their_lessons(
    model: FreeDA, loaded: FreeDA, seen: Scene, tmp_path: Path
) -> None:
    model.teach(seen, 0, "mushroom")
    known = model.ready(list(CLASSES))
    kept = Vocabulary.load(known.save(tmp_path / "words.npz"))
    assert np.array_equal(loaded.segment(seen, kept).labels, model.segment(seen, known).labels)
    assert not np.array_equal(loaded.segment(seen, list(CLASSES)).labels, loaded.segment(seen, kept).labels)
    model.taught.undo()
    assert model.ready(kept).lessons is None


def test_results_and_words_remember_lessons(model: FreeDA, seen: Scene, tmp_path) -> None:
    model.teach(seen, 0, "mushroom")
    result = model.segment(seen, list(CLASSES))
    again = freeda.Segmentation.load_npz(result.save_npz(tmp_path / "a.npz"))
    assert np.array_equal(again.scores(["mushroom"]), result.scores(["mushroom"]))
    assert again.explain(3, 3).lessons == result.explain(3, 3).lessons


def test_the_command_heeds_a_file_of_lessons(tmp_path: Path) -> None:
    picture, lessons = tmp_path / "a.png", tmp_path / "lessons.jsonl"
    render(HELD_OUT, 25).picture().save(picture, pnginfo=None)
    model = freeda.load("miniature", taught=lessons)
    scene = model.encode(picture)
    model.teach(scene, (5, 5), "mushroom")
    words = ["sunset", "water", "mushroom"]
    args = ["segment", str(picture), "--classes", ", ".join(words), "--out", str(tmp_path / "out")]
    done = run(*args, "--taught", lessons)
    assert done.exit_code == 0 and "1 of 1 lessons are of these words" in done.output, done.output
    labels = np.asarray(Image.open(tmp_path / "out" / "a.labels.png"))
    assert np.array_equal(labels, model.segment(scene, words).labels) and labels[5, 5] == 2
    assert run(*args, "--taught", tmp_path / "none.jsonl").exit_code == 2
