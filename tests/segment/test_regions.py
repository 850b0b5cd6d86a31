from __future__ import annotations

import numpy as np
import pytest

from freeda.errors import InputError
from freeda.options import Superpixels
from freeda.segment.regions import superpixels

SIZES = [(1, 1), (1, 60), (60, 1), (2, 2), (3, 50), (48, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", ["felzenszwalb", "slic"])
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


@pytest.mark.parametrize(
    "wrong", [{"algorithm": "voronoi"}, {"scale": 0}, {"n_segments": 0}, {"start_label": 2}]
)
def test_wrong_options(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Superpixels(**wrong)  # type: ignore[arg-type]
