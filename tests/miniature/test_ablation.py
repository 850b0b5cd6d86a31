"""The ablation: its banks are those of collecting, and its table says what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.collection.shard import load_models, make_shard
from freeda.errors import InputError
from freeda.miniature import trial
from freeda.options import parse_settings
from studies.ablation import (
    BEGIN,
    PRESET,
    VARIANTS,
    Row,
    measure,
    table,
)
from studies.page import END, between_marks
from studies.pictures import draw, pairs_of, plan

PAGE = Path(__file__).parents[2] / "docs" / "attribution.md"


@pytest.fixture(scope="module")
def models() -> Any:
    return load_models(PRESET, PRESET.collect, "cpu")


def test_every_variant_is_a_setting_of_its_own() -> None:
    chosen = [parse_settings(v, PRESET.collect) for v in VARIANTS]
    assert chosen[0] == PRESET.collect
    # Settings that name a default beside another change are fine; two equal rows, or a row that changes
    # nothing, would measure nothing.
    assert len({repr(c) for c in chosen}) == len(chosen)


@pytest.mark.parametrize(
    "settings", [(), ("attribution.heads=max", "key=token"), ("refine=mean", "threshold_rule=otsu")]
)
def test_one_drawing_for_all_gives_the_rows_of_collecting(models: Any, settings: tuple[str, ...]) -> None:
    captions = trial.bank_captions(trial.bank_scenes(5, 3), 5)
    quick = replace(PRESET.collect, steps=3, batch_size=2)
    options = parse_settings(settings, quick)
    others = [parse_settings([f"attribution.blocks={b}"], quick).attribution for b in ("up", "all")]
    ways = list(dict.fromkeys([others[0], options.attribution, others[1]]))
    pictures = list(draw(plan(captions, models.generator.tokenizer, 5), models, quick, ways))
    found, masks = pairs_of(pictures, models, options)

    own = load_models(PRESET, options, "cpu")
    expected = make_shard(captions, own, options, seed=5).pairs
    assert [(p.caption_id, p.noun, p.seed) for p in found] == [
        (p.caption_id, p.noun, p.seed) for p in expected
    ]
    assert len(found) > 4 and sum(len(m) for m in masks) >= len(found)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.area == pytest.approx(theirs.area, abs=1e-3)
        np.testing.assert_allclose(mine.prototype, theirs.prototype, atol=2e-2, rtol=2e-2)
        np.testing.assert_allclose(mine.key, theirs.key, atol=2e-3)


def test_measured_from_end_to_end() -> None:
    quick = replace(PRESET, collect=replace(PRESET.collect, steps=3))
    variants = ((), ("threshold=0.5",), ("min_agreement=0.99",))
    rows, reliability = measure([3], 4, 2, variants, quick)
    assert [r.settings for r in rows] == list(variants) and 0 < reliability < 1
    plain, higher, none = rows
    assert 0 < plain.mask_iou[0] < 1 and 0 < plain.miou[0] < 1 and plain.pairs[0] > 4
    assert higher.mask_iou != plain.mask_iou
    assert none.pairs == [0] and np.isnan(none.miou[0])  # no bank, no result, but the masks are the default's
    assert none.mask_iou == plain.mask_iou


def test_the_table() -> None:
    rows = [
        Row((), [0.5, 0.6], [0.70, 0.80], [10, 20]),
        Row(("a=1", "b=2"), [0.4, 0.4], [0.72, 0.79], [9, 9]),
    ]
    lines = table(rows).splitlines()
    assert lines[2] == "| nothing: the defaults | 0.550 | 0.750 |  | 15 |"
    assert lines[3] == "| `a=1`, `b=2` | 0.400 | 0.755 | +0.005 (-0.010 to +0.020) | 9 |"


def test_the_page_keeps_everything_but_the_table() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert between_marks(page, "new", BEGIN) == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert between_marks(between_marks(page, "new", BEGIN), "old", BEGIN) == page
    for bad in ("no marks", END + BEGIN, BEGIN):
        with pytest.raises(InputError, match="no place for the table"):
            between_marks(bad, "new", BEGIN)
    assert BEGIN in PAGE.read_text("utf-8") and END in PAGE.read_text("utf-8")
