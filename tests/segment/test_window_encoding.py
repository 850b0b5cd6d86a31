"""Windows through the encoders: the order of work must not show in the result."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from freeda.errors import InputError
from freeda.options import Superpixels
from freeda.segment import window_encoding
from freeda.segment.mosaic import join
from freeda.segment.window_encoding import WindowEncoding, encode_windows
from freeda.segment.windows import Box, sliding_boxes

REGIONS = Superpixels(scale=20.0, sigma=0.5, min_size=5)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 110, 3), dtype=np.uint8)


def encode(model: Any, image: np.ndarray, **how: Any) -> list[WindowEncoding]:
    boxes = sliding_boxes(*image.shape[:2], 48, 24)
    return list(encode_windows(model.encoders, image, boxes, REGIONS, **how))


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [None, 1, 5, 50])
def test_neither_threads_nor_batches_show(
    tiny_model: Any,
    image: np.ndarray,
    beside: bool,
    workers: int,
    batch_size: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = encode(tiny_model, image, batch_size=1, beside=False)
    monkeypatch.setattr(window_encoding.torch, "get_num_threads", lambda: workers)
    found = encode(tiny_model, image, batch_size=batch_size, beside=beside)
    assert [p.box for p in found] == [p.box for p in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.atoms, theirs.atoms)
        np.testing.assert_allclose(ours.features, theirs.features, atol=1e-5)
        np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-5)
    assert not any(t.name.startswith("superpixels") for t in threading.enumerate())


@pytest.mark.parametrize("beside", [True, False])
def test_threads_end_when_the_caller_stops(tiny_model: Any, image: np.ndarray, beside: bool) -> None:
    boxes = sliding_boxes(*image.shape[:2], 48, 24)
    windows = encode_windows(tiny_model.encoders, image, boxes, REGIONS, beside=beside)
    next(windows)
    windows.close()  # type: ignore[attr-defined]
    assert not any(t.name.startswith("superpixels") for t in threading.enumerate())


@pytest.mark.parametrize("beside", [True, False])
def test_errors_of_the_threads_arrive(
    tiny_model: Any, image: np.ndarray, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(window_encoding, "superpixels", fail)
    with pytest.raises(MemoryError, match="no room"):
        encode(tiny_model, image, beside=beside)


def test_regions_wait_for_nobody(tiny_model: Any, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `beside`, the next windows are being cut while the encoders work on these."""
    begun, cut = [], window_encoding.superpixels
    go_on = threading.Event()

    def slow(*given: Any) -> Any:
        begun.append(1)
        if len(begun) >= 2:
            go_on.set()
        return cut(*given)

    dense = tiny_model.encoders.dense.encode

    def waits(x: Any) -> Any:
        assert go_on.wait(100), "the encoders had to wait in vain for regions begun beside them"
        return dense(x)

    monkeypatch.setattr(window_encoding, "superpixels", slow)
    monkeypatch.setattr(tiny_model.encoders.dense, "encode", waits)
    encode(tiny_model, image, batch_size=1, beside=True)


def test_a_batch_of_nothing(tiny_model: Any, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="batch_size is 0: at least 1"):
        encode(tiny_model, image, batch_size=0)


def test_joining_keeps_the_windows_as_they_were(tiny_model: Any, image: np.ndarray) -> None:
    windows = encode(tiny_model, image)
    before = [p.features.copy() for p in windows]
    mosaic = join(windows, *image.shape[:2])
    assert all(np.array_equal(p.features, b) for p, b in zip(windows, before, strict=True))
    assert all(p.features.base is mosaic.features for p in windows)
    assert windows[0].box == Box(0, 0, 48, 48)
