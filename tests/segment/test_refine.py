"""PAMR against its definition pixel by pixel, and its bounds on memory."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.segment import matching, refine

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
assert _spec is not None and _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


@settings(max_examples=30)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    planes=st.integers(1, 3),
    dilations=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    iterations=st.integers(1, 3),
    flat=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_equals_the_definition(
    height: int, width: int, planes: int, dilations: list[int], iterations: int, flat: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if flat:
        image[:] = 7
    values = rng.normal(size=(planes, height, width)).astype(np.float32)
    weights = refine.affinity(image, dilations)
    assert weights.dtype == torch.float32 and weights.shape == (8 * len(dilations), height, width)
    np.testing.assert_allclose(weights.sum(dim=0), 1.0, atol=1e-5)
    found = refine.propagate(values, weights, dilations, iterations)
    expected = [reference.pamr(image, plane.astype(float), dilations, iterations) for plane in values]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_scores_follow_the_edges() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 14:] = 200
    plane = np.zeros((1, 20, 30), np.float32)
    plane[:, :, 11:] = 1.0  # three columns too far
    weights = refine.affinity(image, (1, 2, 4))
    found = refine.propagate(plane, weights, (1, 2, 4), 10)[0]
    assert (found[:, :14] < 0.5).all() and (found[:, 14:] > 0.99).all()


@pytest.mark.parametrize("background", ["none", "constant", "local", "local-of-winner"])
def test_little_memory_gives_the_same(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch, background: str
) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (50, 37, 3), dtype=np.uint8)
    scene = tiny_model.encode(image, short_side=20, window=16, stride=8)
    words, options = ["cat", "boat", "sky"], {"background": background, "background_threshold": 0.5}
    roomy = tiny_model.segment(scene, words, refine="pamr", **options)
    scores = roomy.scores()
    monkeypatch.setattr(matching, "TABLE", 0)
    monkeypatch.setattr(refine, "TABLE", 0)
    monkeypatch.setattr(refine, "CHUNK", 50)
    assert isinstance(refine._room(3, 4), np.memmap)
    tight = tiny_model.segment(scene, words, refine="pamr", **options)
    reference.assert_alike(tight, roomy.labels, scores)
    assert not np.allclose(tiny_model.segment(scene, words, **options).scores(), scores, atol=1e-3)


def test_the_affinity_is_computed_once(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(refine, "CHUNK", 48 * 48)  # one plane at a time
    monkeypatch.setattr(refine, "affinity", lambda *a, real=refine.affinity: (calls.append(1), real(*a))[1])
    image = np.random.default_rng(2).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    tiny_model.segment(tiny_model.encode(image), ["cat", "boat", "sky"], refine="pamr", refine_iterations=1)
    assert calls == [1]
