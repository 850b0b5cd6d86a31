"""The small world: exact truth, the same on every machine, captions that say what is there."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from freeda.collection.nouns import find_nouns
from freeda.miniature.captions import UNSEEN, WORDS, caption
from freeda.miniature.scenes import BANK, CLASSES, HELD_OUT, SIZE, TRAIN, render
from freeda.miniature.stuff import STUFF, texture
from freeda.miniature.things import DRAW, THINGS, sprite
from freeda.miniature.trial import CLASS_OF

SCENES = [render(HELD_OUT, i) for i in range(40)]


def test_the_world_is_rich_enough() -> None:
    assert len(THINGS) >= 12 and len(STUFF) >= 8 and SIZE >= 128
    assert len(set(CLASSES)) == len(CLASSES) == len(WORDS)


@pytest.mark.parametrize("scene", SCENES[:10])
def test_labels_are_what_the_scene_says(scene) -> None:
    said = {scene.backdrop, scene.ground, *(t.kind for t in scene.things)}
    shown = {CLASSES[i] for i in np.unique(scene.labels)}
    assert shown <= said
    assert {t.kind for t in scene.things} <= shown  # nothing is hidden
    assert scene.image.shape == (SIZE, SIZE, 3) and scene.image.dtype == np.uint8


def test_a_scene_is_the_same_whenever_it_is_drawn_and_streams_differ() -> None:
    again = render(HELD_OUT, 3)
    assert np.array_equal(again.image, SCENES[3].image) and np.array_equal(again.labels, SCENES[3].labels)
    digests = {
        hashlib.sha256(render(s, i).image.tobytes()).digest()
        for s in (TRAIN, HELD_OUT, BANK)
        for i in range(5)
    }
    assert len(digests) == 15


@pytest.mark.parametrize("kind", THINGS)
def test_every_thing_in_every_colour(kind: str) -> None:
    for colour in DRAW[kind][1]:
        paint, cover = sprite(DRAW[kind][0], colour, 48, 5.0, False, np.random.default_rng(0))
        assert paint.shape == (48, 48, 3) and cover.shape == (48, 48)
        assert paint.min() >= 0 and paint.max() <= 1 and cover.max() > 0.99
        assert 0.15 < cover.mean() < 0.95


@pytest.mark.parametrize("kind", STUFF)
@pytest.mark.parametrize("size", [(1, 128), (30, 128), (128, 128)])
def test_textures_are_textured_and_never_two_alike(kind: str, size: tuple[int, int]) -> None:
    one, other = (texture(kind, *size, np.random.default_rng(s)) for s in (0, 1))
    assert one.shape == (*size, 3) and one.dtype == np.float32
    assert np.isfinite(one).all() and one.min() >= 0 and one.max() <= 1
    assert not np.array_equal(one, other)


def test_captions_name_what_is_there_in_words_that_the_noun_finder_knows() -> None:
    missed = total = 0
    for i, scene in enumerate(SCENES):
        text = caption(scene, np.random.default_rng(i), complete=True, unseen=False)
        found = {CLASS_OF.get(n.lemma) for n in find_nouns(text)}
        said = {scene.backdrop, scene.ground, *(t.kind for t in scene.things)}
        assert found - {None} <= said, text
        missed += len(said - found)
        total += len(said)
    assert missed / total < 0.02


def test_unseen_forms_stay_out_of_bank_captions_and_come_up_in_training_ones() -> None:
    def texts(unseen: bool) -> str:
        return " ".join(
            caption(s, np.random.default_rng(j), unseen=unseen) for s in SCENES for j in range(12)
        )

    for word in UNSEEN.values():
        assert f" {word}" not in texts(False)
    assert sum(f" {word}" in texts(True) for word in UNSEEN.values()) == len(UNSEEN)
