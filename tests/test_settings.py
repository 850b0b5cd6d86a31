"""Options of any kind as text and as plain JSON values, and back."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from freeda.errors import InputError
from freeda.options import (
    TEMPLATES,
    CollectOptions,
    SegmentOptions,
    Superpixels,
    from_dict,
    parse_settings,
    to_dict,
)
from freeda.presets import PRESETS, Preset


@pytest.mark.parametrize(
    "value",
    [
        CollectOptions(),
        CollectOptions(threshold_rule="otsu", superpixels=Superpixels(scale=3.5), min_contrast=0.25),
        SegmentOptions(others="rest", refine_dilations=(1, 5)),
        Superpixels(),
        *PRESETS.values(),
    ],
)
def test_there_and_back(value: Any) -> None:
    plain = json.loads(json.dumps(to_dict(value)))
    assert from_dict(type(value), plain) == value


def test_what_is_left_out_takes_its_default() -> None:
    assert from_dict(CollectOptions, {}) == CollectOptions()
    changed = from_dict(CollectOptions, {"superpixels": {"scale": 9}})
    assert changed == replace(CollectOptions(), superpixels=Superpixels(scale=9.0))


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (CollectOptions, {"treshold": 1}, "did you mean 'threshold'"),
        (CollectOptions, {"steps": "3"}, "steps is '3'"),
        (CollectOptions, {"superpixels": {"x": 1}}, "unknown option 'x'"),
        (CollectOptions, {"superpixels": 3}, "superpixels is 3"),
        (Preset, {"clip": {"id": ""}}, "id is blank"),
    ],
)
def test_values_that_are_refused(kind: type[Any], values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        from_dict(kind, values)


def test_settings_of_the_offline_stage() -> None:
    base = CollectOptions()
    given = ["steps=4", "guidance=1", "superpixels.scale=7", "min_contrast=0.2", "keep_images=yes", "steps=5"]
    assert parse_settings(given, base) == replace(
        base,
        steps=5,
        guidance=1.0,
        min_contrast=0.2,
        keep_images=True,
        superpixels=replace(base.superpixels, scale=7.0),
    )
    assert parse_settings(["min_contrast=none"], replace(base, min_contrast=0.1)).min_contrast is None
    assert parse_settings(["templates=simple"], base).templates == TEMPLATES["simple"]
    assert parse_settings(["templates=a {}.|the {}"], base).templates == ("a {}.", "the {}")
    assert parse_settings([], base) == base


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("size", "is not NAME=VALUE, such as size=512"),
        ("sizes=3", "did you mean 'size'"),
        ("superpixels=slic", "superpixels.FIELD=VALUE"),
        ("superpixels.scales=3", "did you mean 'superpixels.scale'"),
        ("templates=no-such", "name a set"),
        ("templates=|", "templates"),
        ("threshold=2", "threshold is 2.0"),
        ("key=best", "key is 'best'"),
    ],
)
def test_settings_that_are_refused(setting: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_settings([setting], CollectOptions())


def test_every_option_has_a_value_that_text_can_give() -> None:
    """Each field of the offline stage, read back from its own default."""
    base = CollectOptions()
    for field in fields(base):
        value = getattr(base, field.name)
        if isinstance(value, (str, int, float, bool)) or value is None:
            text = "none" if value is None else str(value)
            assert parse_settings([f"{field.name}={text}"], base) == base, field.name
