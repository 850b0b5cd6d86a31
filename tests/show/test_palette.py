"""Colours that stay apart."""

from __future__ import annotations

import numpy as np
import pytest

from freeda.errors import InputError
from freeda.show import palette, to_hex
from freeda.show.palette import REST, ink


@pytest.mark.parametrize("n", [0, 1, 2, 19, 59, 171, 2000, 5000])
def test_shape_and_dtype(n: int) -> None:
    colours = palette(n)
    assert colours.shape == (n, 3) and colours.dtype == np.uint8


@pytest.mark.parametrize(("fewer", "more"), [(1, 20), (20, 59), (64, 65), (128, 171), (700, 1500)])
def test_more_classes_keep_the_colours_of_the_first(fewer: int, more: int) -> None:
    np.testing.assert_array_equal(palette(more)[:fewer], palette(fewer))


def test_all_different_and_apart() -> None:
    assert len(np.unique(palette(700), axis=0)) == 700
    colours = palette(59).astype(float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1e9 * np.eye(59)
    assert apart.min() > 25


def test_what_is_no_class_is_grey() -> None:
    greys = np.stack(list(REST.values())).astype(int)
    assert np.ptp(greys, axis=1).max() < 20 and abs(greys[0] - greys[1]).min() > 40
    assert np.ptp(palette(2000).astype(int), axis=1).min() > 40


def test_a_caller_cannot_spoil_it() -> None:
    palette(5)[:] = 0
    assert palette(5).any()


def test_ink_contrasts() -> None:
    assert ink(np.array([255, 240, 200], np.uint8))[0] < 60
    assert ink(np.array([30, 40, 120], np.uint8)) == (255, 255, 255)
    assert to_hex(np.array([1, 171, 255], np.uint8)) == "#01abff"


def test_negative_number() -> None:
    with pytest.raises(InputError, match="-1 colours"):
        palette(-1)
