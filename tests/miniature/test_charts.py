"""Charts of measurements over seeds: round ticks, and values in their places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from studies.charts import COLOURS, WIDTH, Line, line_chart, range_chart, ticks


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.613, 0.871), (0.74, 0.7401), (0.5, 0.5), (-3, 40)])
@pytest.mark.parametrize("most", [4, 7, 9])
def test_ticks(low: float, high: float, most: int) -> None:
    found = ticks(low, high, most)
    assert 2 <= len(found) <= most and found[0] <= low and found[-1] >= high
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert f"{steps[0]:e}"[0] in "125"


def test_charts_put_values_in_their_places() -> None:
    red, blue, green, *_ = COLOURS

    def centre(image: Any, colour: tuple[int, int, int]) -> tuple[float, float]:
        ys, xs = np.nonzero((image == colour).all(-1))
        return float(xs.mean()), float(ys.mean())

    a, b = (np.array([v, v]) for v in (0.25, 0.75))
    image = range_chart("t", "x", [("a", a), ("b", b)], usual=1)
    assert image.shape[1] == WIDTH and image.dtype == np.uint8
    assert centre(image, blue)[0] < centre(image, red)[0] and centre(image, blue)[1] < centre(image, red)[1]
    swapped = range_chart("t", "x", [("a", b), ("b", a)], usual=1)
    assert centre(swapped, blue)[0] > centre(swapped, red)[0]

    def lines(*values: float) -> Any:
        return [Line(str(i), np.full((2, 3), v)) for i, v in enumerate(values)]

    image = line_chart("t", "x", [1, 2, 4], lines(0.2, 0.5, 0.8), usual=2, log=True)
    heights = [centre(image, c)[1] for c in (red, blue, green)]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=2)
    assert (image != line_chart("t", "x", [1, 2, 4], lines(0.2, 0.5, 0.8), usual=2)).any()
