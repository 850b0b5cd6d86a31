"""Labels from planes of scores, at other sizes too, against the rules in words."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from freeda.options import SegmentOptions
from freeda.segment import upsample
from freeda.segment.background import Verdict, label_names
from freeda.segment.upsample import dense_scores, label_map
from freeda.segment.vocabulary import Vocabulary

_spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
assert _spec is not None and _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

RULES = ["none", "constant", "local", "local-of-winner"]


class Planes:
    """Scores that are simply there: one place a pixel."""

    def __init__(self, planes: np.ndarray, verdict: Verdict):
        self.verdict = verdict
        self.planes = planes.reshape(-1, planes.shape[2] * planes.shape[3]).T[:, : verdict.n_planes]
        self.places = np.arange(len(self.planes), dtype=np.int32).reshape(planes.shape[2:])

    def decide(self) -> tuple[np.ndarray, np.ndarray]:
        return self.verdict.decide(self.planes)

    def of(self, places: np.ndarray) -> np.ndarray:
        return self.planes[places]


@settings(max_examples=120)
@given(
    small=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    large=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    rows=st.integers(1, 4),
    shared=st.integers(0, 3),
    background=st.sampled_from(RULES),
    alike=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_labels_follow_the_rules_at_any_size(
    small: tuple[int, int],
    large: tuple[int, int],
    rows: int,
    shared: int,
    background: str,
    alike: bool,
    seed: int,
) -> None:
    """Random planes: winners, locally best rows and sides of the threshold change from pixel to pixel."""
    rng = np.random.default_rng(seed)
    label = np.minimum(np.arange(rows), max(rows - 1 - shared, 0))
    vocabulary = Vocabulary(
        tuple(f"class {i}" for i in range(label.max() + 1)),
        np.ones((rows, 2), np.float32),
        np.ones((rows, 2), np.float32),
        label=label,
    )
    options = SegmentOptions(background=background, background_threshold=0.5)
    planes = rng.random((2, rows, *small), dtype=np.float32)
    if alike:  # one row wins everywhere, so that only the background's rule changes
        planes[0, rng.integers(rows)] += 1
    scores = Planes(planes, Verdict(vocabulary, options))
    resized = reference.resized(torch.from_numpy(planes), large).numpy()
    labels, margin = reference.decided(resized, label.tolist(), options)
    found = label_map(scores, large)
    assert (margin[found != labels] < 1e-5).all()
    dense = np.concatenate([strip for _, _, strip in dense_scores(scores, large)])
    assert np.array_equal(dense.argmax(axis=-1), found)
    assert dense.shape[-1] == len(label_names(vocabulary.names, options))


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary(("a", "b"), np.ones((2, 2), np.float32), np.ones((2, 2), np.float32))
    verdict = Verdict(vocabulary, SegmentOptions(background="local", background_threshold=0.5))
    scores = Planes(rng.random((2, 2, 6, 7), dtype=np.float32), verdict)
    whole = label_map(scores, (31, 29))
    monkeypatch.setattr(upsample, "CHUNK", 50)
    monkeypatch.setattr(upsample, "STRIP", 40)
    assert np.array_equal(label_map(scores, (31, 29)), whole)


@pytest.mark.parametrize("background", ["constant", "local", "local-of-winner"])
def test_a_class_that_reaches_the_threshold_stays(background: str) -> None:
    vocabulary = Vocabulary(("a",), np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    verdict = Verdict(vocabulary, SegmentOptions(background=background, background_threshold=0.5))
    below = np.nextafter(np.float32(0.5), np.float32(0))
    planes = np.array([[0.5, 0.5], [below, below]], np.float32)[:, : verdict.n_planes]
    assert verdict.decide(planes)[0].tolist() == [0, 1]
