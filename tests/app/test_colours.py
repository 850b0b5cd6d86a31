"""The first colours stay apart for colour-blind eyes too, by a simulation of our own."""

from __future__ import annotations

import numpy as np
import pytest

from freeda.show import palette

# Machado, Oliveira, Fernandes: "A physiologically-based model for simulation of color vision deficiency"
# (2009), severity 1.0, on linear RGB.
EYES = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
APART = 12.0
"""Least distance in CIELAB (CIE76): 2.3 is just noticeable side by side, 12 is plain at a glance."""


def seen(colour: list[int], eyes: str) -> list[float]:
    """CIELAB (D65) of an sRGB colour as those eyes see it, step by step from the definitions."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    shown = [min(max(sum(m * c for m, c in zip(row, linear, strict=True)), 0.0), 1.0) for row in EYES[eyes]]
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = [sum(m * c for m, c in zip(row, shown, strict=True)) for row in to_xyz]
    white = (0.9505, 1.0, 1.089)
    f = [
        t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29
        for t in (v / w for v, w in zip(xyz, white, strict=True))
    ]
    return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]


def nearest(colours: list[list[int]], eyes: str) -> float:
    labs = [seen(colour, eyes) for colour in colours]
    return min(
        float(np.hypot.reduce(np.subtract(labs[i], labs[j])))
        for i in range(len(labs))
        for j in range(i + 1, len(labs))
    )


def test_the_simulation_knows_red_from_green() -> None:
    assert seen([255, 255, 255], "usual") == pytest.approx([100, 0, 0], abs=0.05)
    pair = [[196, 90, 60], [130, 125, 52]]  # a reddish and an olive tone of one lightness
    assert nearest(pair, "deuteranopia") < 0.5 * nearest(pair, "usual")


@pytest.mark.parametrize("eyes", EYES)
def test_the_first_eight_stay_apart(eyes: str) -> None:
    assert nearest(palette(8).tolist(), eyes) >= APART
