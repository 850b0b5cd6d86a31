"""Memory: the stated bound holds, and nothing grows with classes x pixels or with regions x pixels."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from freeda.options import SegmentOptions, Superpixels
from freeda.segment import matching, upsample
from freeda.segment.memory import memory_bound, stream_bound
from freeda.segment.regions import superpixels
from freeda.segment.vocabulary import Vocabulary
from freeda.segment.windows import resize_image

MIB = 1 << 20


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (1 + height // 8, 1 + width // 8, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1)[:height, :width])


def vocabulary(classes: int) -> Vocabulary:
    rng = np.random.default_rng(1)
    text = rng.normal(size=(classes, 20)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    prototypes = rng.normal(size=(classes, 24)).astype(np.float32)
    return Vocabulary(tuple(f"class {i}" for i in range(classes)), text, prototypes)


def peak(work: Callable[[], Any]) -> int:
    """Bytes that numpy and Python allocate at once while `work` runs (torch's tensors are not seen)."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that do not hide what grows: the bound's last terms shrink with them."""
    from freeda.segment import memory

    for module, name, value in (
        (matching, "CHUNK", 1 << 14),
        (upsample, "CHUNK", 1 << 14),
        (memory, "CHUNK", 1 << 14),
        (matching, "TABLE", 1 << 16),
        (memory, "TABLE", 1 << 16),
        (upsample, "STRIP", 1 << 14),
        (memory, "LABELS_AT_A_TIME", 1 << 14),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ((300, 400), {"short_side": None}),  # 176 windows
        ((1200, 1800), {}),  # a photograph much larger than its working size
        ((150, 170), {"short_side": None, "superpixels": Superpixels("none")}),  # every pixel for itself
        ((150, 170), {"short_side": None, "window": None}),
        ((160, 170), {"short_side": None, "stride": 17}),
    ],
)
def test_the_bound_holds(
    tiny_model: Any, small_chunks: None, size: tuple[int, int], changes: dict[str, Any]
) -> None:
    image, words = picture(*size), vocabulary(9)
    tiny_model.segment(image[:50, :50], words)  # what is loaded only once
    measured = image.nbytes + peak(
        lambda: tiny_model.segment(tiny_model.encode(image, batch_size=4, **changes), words)
    )
    dense = tiny_model.encoders.dense
    options = tiny_model.options.with_changes(**changes)
    bound = memory_bound(*size, options, dense.dim, dense.grid, len(words), 4)
    assert bound / 20 < measured < bound


@pytest.mark.parametrize("batch_size", [1, 4, 12])
def test_the_bound_of_many(tiny_model: Any, small_chunks: None, batch_size: int) -> None:
    """It does not grow with their number, and is no more than a batch asks for."""
    size, words = (300, 420), vocabulary(9)
    tiny_model.segment(picture(50, 50), words)
    given = picture(*size)

    def run(n: int) -> int:
        images = (given.copy() for _ in range(n))
        return peak(lambda: [None for _ in tiny_model.segment_many(images, words, batch_size=batch_size)])

    dense = tiny_model.encoders.dense
    told = (*size, tiny_model.options, dense.dim, dense.grid, len(words), batch_size)
    assert run(12) < stream_bound(*told) and stream_bound(*told) < 12 * memory_bound(*told)


def test_dense_scores_are_never_held(tiny_model: Any, small_chunks: None) -> None:
    size, classes = (700, 900), 150
    scene = tiny_model.encode(picture(*size))
    measured = peak(lambda: tiny_model.segment(scene, vocabulary(classes)))
    assert measured < classes * size[0] * size[1] * 4 / 10


def test_a_large_photograph_is_resized_in_little_memory() -> None:
    image = np.zeros((3000, 2000, 3), np.uint8)
    assert peak(lambda: resize_image(image, (448, 299))) < 8 * MIB  # in float32 the image alone is 69


def test_superpixels_keep_to_their_stated_bytes() -> None:
    image = np.random.default_rng(2).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert peak(lambda: superpixels(image, Superpixels())) < 350 * 200 * 300 * 1.1


def test_default_options_do_not_grow_with_the_photograph() -> None:
    """At the published working size a 24 megapixel photograph costs its own pixels and little else."""
    options = SegmentOptions()
    small = memory_bound(448, 672, options, 768, 37, 59, 2)
    large = memory_bound(4000, 6000, options, 768, 37, 59, 2)
    assert large - small < 10 * 4000 * 6000 + 64 * MIB
