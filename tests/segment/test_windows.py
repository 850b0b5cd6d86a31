from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from freeda.options import SegmentOptions
from freeda.segment import windows
from freeda.segment.windows import crops, resize_image, sliding_boxes, working_size


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (448, 448, (448, 448)),
        (480, 640, (448, 597)),
        (3000, 300, (2048, 205)),  # the long side's bound wins
        (1, 1, (448, 448)),
        (10, 20000, (1, 2048)),
        (20000, 10, (2048, 1)),
    ],
)
def test_working_size(height: int, width: int, expected: tuple[int, int]) -> None:
    assert working_size(height, width, SegmentOptions()) == expected


def test_working_size_is_the_images_own_without_a_short_side() -> None:
    assert working_size(33, 5000, SegmentOptions(short_side=None)) == (33, 5000)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 120), st.floats(0.3, 1.0))
def test_windows_cover_every_pixel_and_stay_inside(
    height: int, width: int, window: int, overlap: float
) -> None:
    boxes = sliding_boxes(height, width, window, max(1, int(window * overlap)))
    assert len(set(boxes)) == len(boxes)
    covered = np.zeros((height, width), dtype=int)
    for b in boxes:
        assert 0 <= b.y1 < b.y2 <= height and 0 <= b.x1 < b.x2 <= width
        assert (b.y2 - b.y1, b.x2 - b.x1) == (min(window, height), min(window, width))
        covered[b.y1 : b.y2, b.x1 : b.x2] += 1
    assert covered.min() >= 1


def test_last_window_is_flush() -> None:
    assert [b.x1 for b in sliding_boxes(448, 597, 448, 224)] == [0, 149]
    assert [b.x1 for b in sliding_boxes(448, 896, 448, 224)] == [0, 224, 448]
    assert sliding_boxes(30, 50, None, 10) == [(0, 0, 30, 50)]


def test_resizing_is_bilinear_at_half_pixels_and_the_same_size_is_untouched() -> None:
    image = np.array([[[0, 10, 20], [100, 110, 120]]], dtype=np.uint8)
    assert resize_image(image, (1, 2)) is image
    assert resize_image(image, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]


@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    to=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    strip=st.sampled_from([1, 100, 1 << 17]),
    seed=st.integers(0, 99),
)
def test_resizing_equals_torch_up_to_ties(
    size: tuple[int, int], to: tuple[int, int], strip: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    exact = F.interpolate(x, to, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    before = windows.STRIP
    windows.STRIP = strip
    try:
        ours = resize_image(image, to)
    finally:
        windows.STRIP = before
    assert ours.shape == (*to, 3) and ours.dtype == np.uint8
    assert np.abs(ours - exact).max() <= 0.5 + 1e-3


def test_crops() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    boxes = sliding_boxes(5, 7, 4, 2)
    batches = list(crops(image, boxes, 3))
    assert [len(b) for b in batches] == [3, 3]
    b = boxes[4]
    expected = image[b.y1 : b.y2, b.x1 : b.x2].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(batches[1][1].numpy(), expected, atol=1e-7)
