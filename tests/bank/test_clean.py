"""Rules that leave rows out, against plain loops; the report; nothing but a new bank is ever written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.bank.clean import Rules, clean, nearness_to_mean
from freeda.bank.verify import find_damage
from freeda.errors import BankError, InputError
from small_banks import make_bank, make_pair, rows_of, tree


def plain_nearness(prototypes: np.ndarray, nouns: list[str]) -> list[float]:
    unit = [p.astype(float) / math.sqrt(sum(float(x) ** 2 for x in p)) for p in prototypes]
    out = []
    for i, noun in enumerate(nouns):
        mean = sum(unit[j] for j in range(len(nouns)) if nouns[j] == noun)
        out.append(float(unit[i] @ mean) / math.sqrt(float(mean @ mean)))
    return out


def plain_median(values: list[float]) -> float:
    values, n = sorted(values), len(values)
    return values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2


def plain_rules(rows: list[dict[str, Any]], prototypes: np.ndarray, rules: Rules) -> list[str]:
    """Why each row goes, "" where it stays: rule by rule, row by row."""
    why = [""] * len(rows)
    for i, row in enumerate(rows):
        for rule, value, low in (
            ("min_area", row["area"], True),
            ("max_area", row["area"], False),
            ("min_contrast", row["contrast"], True),
            ("min_agreement", row["agreement"], True),
        ):
            limit = getattr(rules, rule)
            if limit is not None and not why[i] and (value < limit if low else value > limit):
                why[i] = rule
    sound = [i for i in range(len(rows)) if not why[i]]
    values = plain_nearness(prototypes[sound], [rows[i]["noun"] for i in sound])
    near = dict(zip(sound, values, strict=True))

    def rank(i: int) -> float:
        return near[i] if rules.choose == "central" else rows[i]["agreement"]

    for noun in {row["noun"] for row in rows}:
        group = [i for i in sound if rows[i]["noun"] == noun]
        if rules.outliers is not None and len(group) >= rules.group:
            middle = plain_median([near[i] for i in group])
            spread = 1.4826 * plain_median([abs(near[i] - middle) for i in group])
            for i in group:
                if near[i] < middle - rules.outliers * spread:
                    why[i] = "outliers"
        if rules.per_noun is not None:
            left = [i for i in group if not why[i]]
            for i in sorted(left, key=lambda i: (-rank(i), i))[rules.per_noun :]:
                why[i] = "per_noun"
    return why


@pytest.fixture
def bank(tmp_path: Path) -> Any:
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(60):
        noun = ("cat", "dog", "rare", "tree")[int(rng.choice(4, p=[0.5, 0.3, 0.05, 0.15]))]
        centre = np.random.default_rng(len(noun) + ord(noun[0])).normal(size=5) * 10
        prototype = centre + rng.normal(size=5) * (30 if i % 9 == 0 else 2)
        pairs.append(
            make_pair(
                i,
                noun=noun,
                prototype=prototype.astype(np.float16),
                area=float(np.float32(rng.uniform(0, 1))),
                contrast=float(np.float32(rng.uniform(0, 1))),
            )
        )
    return make_bank(tmp_path / "bank", [pairs[:25], pairs[25:26], pairs[26:]])


@pytest.mark.parametrize(
    "rules",
    [
        Rules(per_noun=7),
        Rules(per_noun=7, choose="central", outliers=2.0),
        Rules(per_noun=4, choose="central", min_area=0.3),
        Rules(outliers=3.0),
        Rules(outliers=1.0, group=10),
        Rules(min_agreement=0.2),
        Rules(min_area=0.25, max_area=0.75, min_contrast=0.3),
        Rules(per_noun=3, outliers=2.5, min_agreement=0.1, min_area=0.1),
    ],
    ids=repr,
)
def test_rules_as_plain_loops_have_them(bank: Any, tmp_path: Path, rules: Rules) -> None:
    before = tree(bank.path)
    rows, why = rows_of(bank), plain_rules(rows_of(bank), np.array(bank.prototypes), rules)
    assert 0 < why.count("") < 60, "a rule that leaves out nothing or all shows nothing"
    done = clean(bank.path, tmp_path / "clean", rules)
    assert rows_of(done.bank) == [row for row, reason in zip(rows, why, strict=True) if not reason]
    assert done.dropped == {reason: why.count(reason) for reason in set(why) - {""}}
    assert tree(bank.path) == before and not list(find_damage(done.bank.path))
    report = json.loads((done.bank.path / "clean.json").read_text())
    assert report["before"] == 60 and report["after"] == len(done.bank) == why.count("")
    assert report["rules"]["outliers"] == rules.outliers and report["identity"] == bank.identity
    for noun, told in report["nouns"].items():
        mine = [reason for row, reason in zip(rows, why, strict=True) if row["noun"] == noun]
        assert told["before"] == len(mine) and told["after"] == mine.count("")
        assert {r: n for r, n in told.items() if r not in ("before", "after")} == {
            reason: mine.count(reason) for reason in set(mine) - {""}
        }
    assert done.bank.meta["cleaned"][-1]["dropped"] == done.dropped


@pytest.mark.parametrize(("n", "dim", "nouns"), [(1, 3, 1), (50, 8, 4), (8192 + 7, 4, 30)])
def test_nearness_to_the_mean(n: int, dim: int, nouns: int) -> None:
    rng = np.random.default_rng(n)
    prototypes, noun = rng.normal(size=(n, dim)).astype(np.float16), rng.integers(0, nouns, n)
    found = nearness_to_mean(prototypes, noun, np.ones(n, bool), nouns)
    some = slice(None) if n <= 50 else np.flatnonzero(noun == 3)
    expected = plain_nearness(prototypes[some], [str(i) for i in noun[some]])
    assert np.allclose(found[some], expected, atol=2e-5)


def test_rows_without_a_direction_are_the_farthest() -> None:
    prototypes = np.ones((4, 3), np.float16)
    prototypes[1], prototypes[2, 0] = 0, np.nan
    found = nearness_to_mean(prototypes, np.zeros(4, np.int64), np.ones(4, bool), 1)
    assert np.allclose(found, [1, -1, -1, 1])


def test_a_random_choice_is_the_same_in_every_bank(bank: Any, tmp_path: Path) -> None:
    done = clean(bank.path, tmp_path / "a", Rules(per_noun=4, choose="random"))
    pairs = [make_pair(0, **{**bank.row(i), "image": None}) for i in reversed(range(60))]
    other = make_bank(tmp_path / "turned", [pairs])
    again = clean(other.path, tmp_path / "b", Rules(per_noun=4, choose="random"))
    ids = [{(r["caption_id"], r["spans"]) for r in rows_of(b.bank)} for b in (done, again)]
    assert ids[0] == ids[1] and len(ids[0]) == len(done.bank)


@pytest.mark.parametrize(("most", "stay"), [(1, [2]), (2, [2, 3]), (3, [2, 3, 4]), (4, [1, 2, 3, 4])])
def test_of_equal_rows_the_first_stay_and_unknown_ones_go_first(
    tmp_path: Path, most: int, stay: list[int]
) -> None:
    agreement = (math.nan, -0.9, 0.2, 0.2, 0.2)
    pairs = [make_pair(2 * i, agreement=a) for i, a in enumerate(agreement)]
    done = clean(make_bank(tmp_path / "bank", [pairs]).path, tmp_path / "clean", Rules(per_noun=most))
    assert [int(row["caption_id"][1:]) for row in rows_of(done.bank)] == stay


def test_rows_that_differ_by_rounding_are_no_outliers(tmp_path: Path) -> None:
    rows = [np.array([1, 2, 3, 0, 0], np.float16)] * 8 + [np.array([1, 2, 3.01, 0, 0], np.float16)]
    pairs = [make_pair(i, noun="cat", prototype=row) for i, row in enumerate(rows)]
    bank = make_bank(tmp_path / "bank", [pairs])
    assert clean(bank.path, tmp_path / "a", Rules(outliers=3.0)).dropped == {}
    odd = make_pair(9, noun="cat", prototype=np.array([3, 2, 1, 0, 0], np.float16))
    bank = make_bank(tmp_path / "odd", [[*pairs, odd]])
    assert clean(bank.path, tmp_path / "b", Rules(outliers=3.0)).dropped == {"outliers": 1}


def test_captions_of_which_nothing_is_left_count_no_more(tmp_path: Path) -> None:
    # Three captions of two nouns in a shard, and one of which nothing was drawn: see small_banks.
    agreement = (0.1, 0.1, 0.3, 0.1, 0.3, 0.3)
    pairs = [make_pair(i, agreement=a) for i, a in enumerate(agreement)]
    bank = make_bank(tmp_path / "bank", [pairs])
    assert (bank.meta["captions"], bank.meta["pictures"]) == (4, 3)
    meta = clean(bank.path, tmp_path / "clean", Rules(min_agreement=0.2)).bank.meta
    assert (meta["captions"], meta["pictures"], meta["pairs"]) == (3, 2, 3)


def test_unknown_quality_breaks_no_rule(tmp_path: Path) -> None:
    nothing = {"area": math.nan, "contrast": math.nan, "agreement": math.nan}
    bank = make_bank(tmp_path / "bank", [[make_pair(0, **nothing), make_pair(1, agreement=0.0)]])
    rules = Rules(min_area=0.1, max_area=0.9, min_contrast=0.1, min_agreement=0.1)
    assert clean(bank.path, tmp_path / "clean", rules).bank.nouns == ["cat"]


def test_nouns_that_are_lost_are_named(tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank", [[make_pair(i, agreement=0.3 if i % 2 else 0.1) for i in range(6)]])
    done = clean(bank.path, tmp_path / "clean", Rules(min_agreement=0.2))
    assert done.lost == ["cat"] and done.nouns["cat"] == {"before": 3, "after": 0, "min_agreement": 3}
    # The picture went with the first noun's row; the second has it now.
    assert [done.bank.row(i)["image"] for i in range(3)] == [b"jpeg0", b"jpeg1", b"jpeg2"]


def test_refusals(bank: Any, tmp_path: Path) -> None:
    for rules, says in ((Rules(), "no rule is on"), (Rules(min_agreement=0.9), "leave nothing of its 60")):
        with pytest.raises(InputError, match=says):
            clean(bank.path, tmp_path / "clean", rules)
    with pytest.raises(BankError, match="is there already"):
        clean(bank.path, bank.path, Rules(per_noun=1))
    for wrong in (
        {"per_noun": 0},
        {"outliers": -1.0},
        {"outliers": math.nan},
        {"choose": "best"},
        {"group": 1},
        {"min_area": 2.0},
        {"min_agreement": math.nan},
    ):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Rules(**wrong)  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bank"]
