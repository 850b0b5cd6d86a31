from __future__ import annotations

import numpy as np
import pytest
from skimage import segmentation
from skimage.color import rgb2gray
from skimage.filters import sobel

from freeda.errors import InputError
from freeda.options import Superpixels
from freeda.segment import regions as module
from freeda.segment.regions import superpixels, voted

SIZES = [(1, 1), (1, 60), (60, 1), (2, 2), (3, 50), (48, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ["felzenszwalb", "slic", "quickshift", "watershed"])
@pytest.mark.parametrize("flat", [True, False])
def test_labels_have_no_gaps(size: tuple[int, int], algorithm: str, flat: bool) -> None:
    rng = np.random.default_rng(0)
    image = np.full((*size, 3), 77, np.uint8) if flat else rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    regions = superpixels(image, Superpixels(algorithm, n_segments=20))
    assert regions.shape == size and regions.dtype == np.int64
    assert np.array_equal(np.unique(regions), np.arange(regions.max() + 1))


def test_two_colours_are_two_regions() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 255
    regions = superpixels(image, Superpixels(sigma=0.0))
    assert regions.max() == 1 and len(np.unique(regions[:, :20])) == 1


def test_none_puts_no_pixel_in_a_region() -> None:
    assert (superpixels(np.zeros((4, 5, 3), np.uint8), Superpixels("none")) == -1).all()


def noise(size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (1 + size[0] // 6, 1 + size[1] // 6, 3))
    return np.kron(coarse, np.ones((6, 6, 1)))[: size[0], : size[1]].astype(np.uint8)


def same_cut(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two label maps cut alike, whatever the numbers."""
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


def test_parameters_reach_the_library() -> None:
    image = noise((40, 52))
    rgb = image.astype(np.float32) / np.float32(255)
    edges = sobel(rgb2gray(rgb))
    for options, expected in (
        (
            Superpixels(scale=30.0, min_size=4),
            segmentation.felzenszwalb(rgb, scale=30, sigma=1.0, min_size=4),
        ),
        (Superpixels(sigma=0.2), segmentation.felzenszwalb(rgb, scale=100, sigma=0.2, min_size=20)),
        (Superpixels("slic"), segmentation.slic(rgb)),
        (
            Superpixels("slic", n_segments=30, compactness=2.0, sigma=1.0, max_num_iter=3, slic_zero=True),
            segmentation.slic(rgb, 30, compactness=2.0, sigma=1.0, max_num_iter=3, slic_zero=True),
        ),
        (
            Superpixels("slic", enforce_connectivity=False),
            segmentation.slic(rgb, enforce_connectivity=False),
        ),
        (Superpixels("quickshift"), segmentation.quickshift(rgb)),
        (
            Superpixels("quickshift", ratio=0.5, kernel_size=3.0, max_dist=4.0, sigma=0.5, rng=3),
            segmentation.quickshift(rgb, ratio=0.5, kernel_size=3, max_dist=4, sigma=0.5, rng=3),
        ),
        (Superpixels("watershed"), segmentation.watershed(edges)),
        (
            Superpixels("watershed", markers=9, compactness=0.01, connectivity=2),
            segmentation.watershed(edges, markers=9, compactness=0.01, connectivity=2),
        ),
    ):
        found = superpixels(image, options)
        assert same_cut(found, expected), options
        assert found.max() > 0


def test_more_markers_than_pixels() -> None:
    found = superpixels(noise((5, 6)), Superpixels("watershed", markers=1000))
    assert found.shape == (5, 6)


def test_seeds_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"pip install '\.\[seeds\]'"):
        superpixels(noise((20, 20)), Superpixels("seeds"))


def test_seeds_grids_always_fit() -> None:
    """What OpenCV computes from the number it is given leaves blocks of two pixels at least."""
    for height in (*range(1, 40), 100, 448, 2000):
        for width in (*range(1, 40), 100, 448, 2000):
            number = module._seeds_number(height, width, 400)
            if number is None:
                assert min(height, width) < 6
                continue
            rows = int(np.sqrt(np.float32(number) * height / width))
            columns = rows * width // height
            assert rows * 2 <= height and columns * 2 <= width and min(rows, columns) >= 2 and number >= 10
            if min(height, width) >= 100:
                assert number == 400 or max(height, width) == 2000


@pytest.mark.parametrize("size", [*SIZES, (448, 20), (19, 301), (6, 6), (5, 90), (33, 40), (100, 130)])
def test_seeds(size: tuple[int, int]) -> None:
    pytest.importorskip("cv2.ximgproc", reason="the extra seeds is not installed")
    for options in (Superpixels("seeds"), Superpixels("seeds", num_superpixels=12, num_levels=9, prior=0)):
        regions = superpixels(noise(size), options)
        assert regions.shape == size and np.array_equal(np.unique(regions), np.arange(regions.max() + 1))
        assert min(size) < 100 or 2 <= regions.max() + 1 <= options.num_superpixels


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "voronoi"},
        {"scale": 0},
        {"n_segments": 0},
        {"start_label": 2},
        {"sigma": -0.1},
        {"sigma": float("nan")},
        {"algorithm": "slic", "compactness": 0.0},
        {"ratio": 1.5},
        {"markers": 0},
        {"prior": 6},
        {"min_size": 2.5},
        {"slic_zero": "maybe"},
    ],
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Superpixels(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 3, 40])
def test_one_label_a_region(size: tuple[int, int], count: int) -> None:
    rng = np.random.default_rng(size[0] + count)
    regions, labels = rng.integers(-1, count, size), rng.integers(0, 4, size).astype(np.int32)
    expected = labels.copy()
    for region in range(count):
        own = labels[regions == region].tolist()
        expected[regions == region] = max(range(4), key=own.count)  # of equally many the first
    found = voted(labels, regions)
    assert found.dtype == np.int32 and np.array_equal(found, expected)
