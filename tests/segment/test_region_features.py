"""A scene's regions as one feature each."""

from __future__ import annotations

import numpy as np
import pytest

import freeda
from freeda.miniature.scenes import HELD_OUT, render


@pytest.mark.parametrize("stride", [24, 64])
@pytest.mark.parametrize("cut", [False, True])
def test_a_region_is_the_mean_of_what_its_pixels_show(stride, cut):
    image = np.pad(render(HELD_OUT, 3).image, ((0, 0), (0, 40), (0, 0)), mode="reflect")
    given = None
    if cut:
        given = np.arange(image.shape[0])[:, None] // 50 * 3 + np.arange(image.shape[1])[None] // 60
        given[10:30, 20:50] = -1
    scene = freeda.load().encode(image, regions=given, stride=stride)
    found = scene.region_features()

    mosaic, regions = scene.mosaic, scene.regions()
    pixels = (mosaic.local.toarray() @ mosaic.features)[mosaic.atoms]
    assert len(found) == regions.max() + 1
    for region, feature in enumerate(found):
        mean = pixels[regions == region].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(feature, mean / np.linalg.norm(mean), atol=2e-6)
