"""Overlays, palette images, heat maps: values checked pixel by pixel against plain loops."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from freeda.errors import InputError
from freeda.show import draw_regions, heat_map, label_map_image, mask_picture, overlay, palette, tint
from freeda.show.overlay import badge_places
from freeda.show.tiles import border_mask

RNG = np.random.default_rng(0)


def picture(h: int, w: int) -> Any:
    return RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.floats(0, 1))
@settings(max_examples=30)
def test_tint_mixes_each_pixel(h: int, w: int, n: int, alpha: float) -> None:
    image, labels, colours = picture(h, w), RNG.integers(-1, n + 1, (h, w)), palette(n)
    out = tint(image, labels, colours, alpha)
    for y in range(h):
        for x in range(w):
            wanted = image[y, x].astype(float)
            if 0 <= labels[y, x] < n:
                wanted = (1 - alpha) * wanted + alpha * colours[labels[y, x]]
            assert np.abs(out[y, x] - wanted).max() <= 0.51


@given(st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=30)
def test_borders_are_where_neighbours_differ(h: int, w: int) -> None:
    labels = RNG.integers(0, 3, (h, w))
    seam = border_mask(labels)
    for y in range(h):
        for x in range(w):
            right = x + 1 < w and labels[y, x + 1] != labels[y, x]
            below = y + 1 < h and labels[y + 1, x] != labels[y, x]
            assert seam[y, x] == (right or below)


@pytest.mark.parametrize("thickness", [1, 2, 3, 4])
def test_borders_have_the_asked_thickness(thickness: int) -> None:
    labels = np.repeat([[0] * 20 + [1] * 20], 30, 0)
    assert (border_mask(labels, thickness).sum(1) == thickness).all()


@pytest.mark.parametrize("thickness", range(2, 14))
def test_thick_borders_are_scipy_s_dilation_by_a_disc(thickness: int) -> None:
    away = np.arange(thickness) - (thickness - 1) / 2
    disc = np.hypot(away[:, None], away[None]) <= thickness / 2
    for shape in ((1, 1), (1, 30), (25, 2), (31, 44)):
        labels = (RNG.random(shape) < 0.03).astype(np.uint8)
        thick = ndimage.binary_dilation(border_mask(labels), disc)
        np.testing.assert_array_equal(border_mask(labels, thickness), thick)


def plain_places(labels: Any, size: float, n: int) -> dict[int, list[tuple[int, float]]]:
    """By label: for every area of at least 0.9 sizes' radius its pixels and that radius, by the definition:
    floods, and for each pixel the way to the nearest one outside."""
    height, width = labels.shape
    seen, found = np.zeros(labels.shape, bool), dict[int, list[tuple[int, float]]]()
    for start in np.ndindex(labels.shape):
        if seen[start] or not 0 <= labels[start] < n:
            continue
        area, todo = set(), [start]
        while todo:
            y, x = todo.pop()
            if not (0 <= y < height and 0 <= x < width) or seen[y, x] or labels[y, x] != labels[start]:
                continue
            seen[y, x] = True
            area.add((y, x))
            todo += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        around = {(y + b, x + a) for y, x in area for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))} - area
        best = max(min(np.hypot(y - b, x - a) for b, a in around) for y, x in area)
        found.setdefault(int(labels[start]), []).append((len(area), float(best)))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("size", [3.0, 3.5])  # the second has no room where a block stands alone
def test_badges_are_in_the_widest_places(seed: int, dtype: Any, size: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (4, 5)).repeat(7, 0).repeat(6, 1).astype(dtype)
    n = 3  # label 3 has no name
    places, want = badge_places(labels, size, n), plain_places(labels, size, n)
    assert not any(label == 3 for *_, label in places)
    for label in range(n):
        own = [(x, y) for x, y, at in places if at == label]
        radii = sorted(radius for _, radius in want.get(label, []) if radius >= 0.9 * size)
        found = []
        for x, y in own:
            assert labels[y, x] == label
            outside = np.argwhere(np.pad(labels, 1, constant_values=99).astype(int) != label) - 1
            found.append(np.hypot(*(outside - (y, x)).T).min())
        assert sorted(found) == pytest.approx(radii)
    counts = [int((labels == at).sum()) for *_, at in places]
    assert counts == sorted(counts, reverse=True) and places


def test_badges_of_large_pictures_are_as_good_as_a_sixteenth_of_a_letter() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, (4, 5)).repeat(170, 0).repeat(190, 1)
    size, step = 80.0, 5
    places, exact = badge_places(labels, size), badge_places(labels, 31.9)
    assert len(places) == len(exact) > 5  # such blocks are wide enough for both
    for x, y, label in places:
        parts, _ = ndimage.label(labels == label)
        inner = ndimage.distance_transform_edt(np.pad(parts == parts[y, x], 1))[1:-1, 1:-1]
        assert labels[y, x] == label and inner[y, x] >= inner.max() - 2 * step


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint16])
def test_overlays_of_any_kind_of_number(dtype: Any) -> None:
    labels = RNG.integers(0, 4, (5, 6)).repeat(150, 0).repeat(140, 1)
    image = picture(*labels.shape)
    for names in (["a"], ["a", "b", "c", "d"]):  # also where some have no name
        np.testing.assert_array_equal(
            overlay(image, labels.astype(dtype), names), overlay(image, labels, names)
        )


def test_badges_hide_nothing_but_their_place() -> None:
    labels = np.zeros((700, 900), int)
    labels[:, 450:] = 1
    image, names = picture(700, 900), ["a", "b"]
    with_numbers, without = (overlay(image, labels, names, legend=False, numbers=n) for n in (True, False))
    ys, xs = np.nonzero((with_numbers != without).any(-1))
    for x, y, _ in badge_places(labels, 18):
        own = (np.abs(xs - x) <= 15) & (np.abs(ys - y) <= 13)
        assert own.sum() > 300  # a badge of some 22 x 22 pixels, centred there
        assert abs(xs[own].mean() - x) < 1 and abs(ys[own].mean() - y) < 1
        xs, ys = xs[~own], ys[~own]
    assert not len(xs)
    near = with_numbers[badge_places(labels, 18)[0][1] - 8, badge_places(labels, 18)[0][0]]
    np.testing.assert_array_equal(near, palette(1)[0])


@pytest.mark.parametrize("size", [(1, 1), (128, 128), (40, 300), (700, 900)])
@pytest.mark.parametrize("n", [1, 3, 200])
def test_overlay_any_size_any_number_of_names(size: tuple[int, int], n: int) -> None:
    labels = (
        RNG.integers(0, n, (size[0] // 20 + 1, size[1] // 20 + 1))
        .repeat(20, 0)
        .repeat(20, 1)[: size[0], : size[1]]
    )
    out = overlay(picture(*size), labels, [f"name {i}" for i in range(n)])
    assert out.dtype == np.uint8 and out.ndim == 3 and out.shape[0] >= size[0] and out.shape[1] > size[1]


def test_overlay_without_legend_and_numbers_is_tint_and_borders() -> None:
    labels = np.zeros((700, 700), int)
    labels[:, 350:] = 1
    image = picture(700, 700)
    out = overlay(image, labels, ["a", "b"], legend=False, numbers=False)
    plain = tint(image, labels, palette(2))
    assert out.shape == image.shape
    differs = (out != plain).any(-1)
    assert differs.any() and not differs[:, :345].any() and not differs[:, 355:].any()


def test_small_pictures_are_enlarged() -> None:
    out = overlay(picture(128, 100), np.zeros((128, 100), int), ["sky"], legend=False)
    assert out.shape == (640, 500, 3)


def test_strange_names_are_drawn() -> None:
    names = ["", "x" * 500, "naïve café", "犬", "😀", "كلب", "two\nlines"]
    labels = np.arange(7).repeat(100).reshape(-1, 1).repeat(700, 1)
    assert overlay(picture(700, 700), labels, names).shape[1] < 1400


def test_labels_outside_the_names_stay_untinted() -> None:
    image = picture(700, 700)
    out = overlay(image, np.full((700, 700), 255), ["a"], legend=True)
    np.testing.assert_array_equal(out[:, :700], image)


def test_sizes_must_agree() -> None:
    with pytest.raises(InputError, match="shape"):
        overlay(picture(4, 4), np.zeros((4, 5), int), ["a"])
    with pytest.raises(InputError, match="colours"):
        overlay(picture(4, 4), np.zeros((4, 4), int), ["a", "b"], palette(1))


@pytest.mark.parametrize(("high", "mode"), [(1, "P"), (255, "P"), (256, "I;16"), (60000, "I;16")])
def test_label_map_keeps_every_value(high: int, mode: str) -> None:
    labels = RNG.integers(0, high + 1, (9, 7)).astype(np.int32)
    labels[0, 0] = high
    buffer = io.BytesIO()
    label_map_image(labels, palette(high + 1)).save(buffer, "PNG")
    image = Image.open(buffer)
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image), labels)
    if mode == "P":
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), palette(high + 1)[labels])


def test_label_map_refuses_negatives() -> None:
    with pytest.raises(InputError, match="from -1"):
        label_map_image(np.array([[-1]]), palette(1))


def test_heat_gets_lighter_with_the_value() -> None:
    heat = np.linspace(0, 1, 64)[None].repeat(4, 0)
    out = heat_map(np.full((4, 64, 3), 128, np.uint8), heat).astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(out[0]) > -0.51).all() and out[0, -1] > out[0, 0] + 100
    np.testing.assert_array_equal(
        heat_map(picture(2, 2) * 0, np.array([[np.nan, -1], [2, 1]]))[0, 0],
        heat_map(picture(2, 2) * 0, np.zeros((2, 2)))[0, 0],
    )


def test_mask_and_regions_leave_the_inside_alone() -> None:
    image, mask = picture(40, 40), np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    np.testing.assert_array_equal(mask_picture(image, mask)[12:28, 12:28], image[12:28, 12:28])
    np.testing.assert_array_equal(draw_regions(image, mask.astype(int))[12:28, 12:28], image[12:28, 12:28])
