"""Windows through the encoders: the order of work must not show in the result."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from freeda.errors import InputError
from freeda.options import Superpixels
from freeda.segment import regions, window_encoding
from freeda.segment.mosaic import join
from freeda.segment.regions import SuperpixelRegions
from freeda.segment.window_encoding import Frame, WindowEncoding, encode_frames
from freeda.segment.windows import Box, sliding_boxes

REGIONS = Superpixels(scale=20.0, sigma=0.5, min_size=5)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 110, 3), dtype=np.uint8)


def encode(model: Any, image: np.ndarray, **how: Any) -> list[WindowEncoding]:
    (frame,) = encode_frames(model.encoders, [frame_of(image)], **how)
    if frame.error is not None:
        raise frame.error
    return frame.encodings


def frame_of(image: np.ndarray) -> Frame:
    return Frame(image, sliding_boxes(*image.shape[:2], 48, 24), SuperpixelRegions(REGIONS))


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
    frames = encode_frames(tiny_model.encoders, (frame_of(image) for _ in range(9)), beside=beside)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert not any(t.name.startswith("superpixels") for t in threading.enumerate())


@pytest.mark.parametrize("beside", [True, False])
def test_errors_of_the_threads_arrive(
    tiny_model: Any, image: np.ndarray, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(regions, "superpixels", fail)
    with pytest.raises(MemoryError, match="no room"):
        encode(tiny_model, image, beside=beside)


def test_regions_wait_for_nobody(tiny_model: Any, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `beside`, the next windows are being cut while the encoders work on these."""
    begun, cut = [], regions.superpixels
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

    monkeypatch.setattr(regions, "superpixels", slow)
    monkeypatch.setattr(tiny_model.encoders.dense, "encode", waits)
    encode(tiny_model, image, batch_size=1, beside=True)


def test_a_batch_of_nothing(tiny_model: Any, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="batch_size is 0: at least 1"):
        encode(tiny_model, image, batch_size=0)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_batches_of_several_photographs(tiny_model: Any, beside: bool, batch_size: int) -> None:
    """Each in its order and as by itself, a batch full as long as windows are of one size."""
    rng = np.random.default_rng(5)
    sizes = [(48, 48), (60, 60), (48, 48), (30, 90), (48, 60)]
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    dense, batches = tiny_model.encoders.dense.encode, []

    class Counted:
        dim, grid = tiny_model.encoders.dense.dim, tiny_model.encoders.dense.grid

        def encode(self, x: Any) -> Any:
            batches.append(len(x))
            return dense(x)

    encoders = replace(tiny_model.encoders, dense=Counted())
    given = [frame_of(image) for image in images]
    broken = Frame(images[0], (), given[0].regions, error=InputError("no picture"))
    found = list(encode_frames(encoders, [*given[:2], broken, *given[2:]], batch_size, beside=beside))
    assert found == [*given[:2], broken, *given[2:]] and all(f.done for f in found)
    windows = [len(f.boxes) for f in given]
    alike = [sum(windows[:3]), windows[3], windows[4]]  # 48 x 48, 30 x 48, 48 x 48
    full = [[batch_size] * (n // batch_size) + [n % batch_size] * (n % batch_size > 0) for n in alike]
    assert batches == [n for part in full for n in part]
    for frame, image in zip(given, images, strict=True):
        for ours, alone in zip(frame.encodings, encode(tiny_model, image), strict=True):
            assert ours.box == alone.box and np.array_equal(ours.atoms, alone.atoms)
            np.testing.assert_allclose(ours.features, alone.features, atol=1e-5)


def test_memory_that_lacks_for_a_batch_may_do_for_one(tiny_model: Any, image: np.ndarray) -> None:
    """Each photograph is tried by itself; the one that does not fit has the error, the others are done."""
    dense = tiny_model.encoders.dense.encode
    black = np.zeros((48, 48, 3), np.uint8)

    class Small:
        dim, grid = tiny_model.encoders.dense.dim, tiny_model.encoders.dense.grid

        def encode(self, x: Any) -> Any:
            if len(x) > 2 or not x.any():
                raise MemoryError("no room")
            return dense(x)

    encoders = replace(tiny_model.encoders, dense=Small())
    given = [frame_of(picture) for picture in (image[:48, :60], black, image[:48, :48])]
    found = list(encode_frames(encoders, given, 4))
    assert found == given and [isinstance(f.error, MemoryError) for f in found] == [False, True, False]
    assert [len(f.encodings) for f in found] == [2, 0, 1]


def test_joining_keeps_the_windows_as_they_were(tiny_model: Any, image: np.ndarray) -> None:
    windows = encode(tiny_model, image)
    before = [p.features.copy() for p in windows]
    mosaic = join(windows, *image.shape[:2])
    assert all(np.array_equal(p.features, b) for p, b in zip(windows, before, strict=True))
    assert all(p.features.base is mosaic.features for p in windows)
    assert windows[0].box == Box(0, 0, 48, 48)
