"""Leaving out rows of a bank by rule: too many of a noun, odd ones of their noun, poor ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import atomic_write_json
from .arrays import release
from .bank import Bank
from .format import shard_name
from .fresh import fresh_bank
from .manifest import finish_bank, made_with
from .rows import Kept, copy_rows, read_rows

REPORT = "clean.json"
_BLOCK = 8192
_QUALITY = ("area", "contrast", "agreement")
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rules:
    """What leaves a row out; None: that rule is off. A quality that is not known (NaN) breaks no rule."""

    per_noun: int | None = None
    """Rows of a noun, at most; applied last."""
    choose: str = "agreement"
    """Which rows of a noun stay under `per_noun`: "agreement" (the highest), "central" (nearest to the
    noun's mean prototype) or "random" (by a hash of caption, seed and place)."""
    outliers: float | None = None
    """Left out is a row whose cosine to its noun's mean unit prototype lies this many deviations below the
    noun's median; a deviation is 1.4826 times the median absolute one, which is that of a normal
    distribution."""
    group: int = 5
    """Nouns of fewer rows have no outliers."""
    min_area: float | None = None
    """Share of the picture, 0 to 1."""
    max_area: float | None = None
    min_contrast: float | None = None
    """0 to 1; see `Pair.contrast`."""
    min_agreement: float | None = None
    """-1 to 1; see `Pair.agreement`."""

    def __post_init__(self) -> None:
        if self.choose not in ("agreement", "central", "random"):
            raise InputError(f"choose is {self.choose!r}: it must be agreement, central or random")
        for name, low in (("per_noun", 1), ("group", 2), ("outliers", 0.0)):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= low):
                raise InputError(f"{name} is {value}: it must be at least {low}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith(("min_", "max_")) and value is not None and not -1 <= value <= 1:
                raise InputError(f"{field.name} is {value}: it must lie within -1 and 1")

    @property
    def none(self) -> bool:
        """Whether no rule is on."""
        limits = (self.min_area, self.max_area, self.min_contrast, self.min_agreement)
        return all(rule is None for rule in (self.per_noun, self.outliers, *limits))


@dataclass(frozen=True)
class Cleaned:
    """What became of a bank's rows."""

    bank: Bank
    before: int
    dropped: dict[str, int]
    """Rule -> rows that it left out; a row counts for the first rule that it breaks."""
    nouns: dict[str, dict[str, int]]
    """Noun -> {"before", "after", and rule -> rows}, for nouns that lost any; most rows lost first."""
    lost: list[str]
    """Nouns of which no row is left."""


def clean(
    bank: str | Path, out: str | Path, rules: Rules, on_step: Callable[[str], None] | None = None
) -> Cleaned:
    """Make a new bank of the rows that keep to all rules, with a report (clean.json) in it.

    The rules go in this order: quality, outliers (of what is left), per_noun (of what is left then). In
    memory are one shard, a mean prototype a noun and some numbers a row. Raises InputError where no rule is
    on and where nothing would be left; BankError for a damaged bank and an `out` that is there already.
    """
    if rules.none:
        raise InputError("no rule is on: say what to leave out (per_noun, outliers, min_agreement, ...)")
    tell, opened = on_step or (lambda _: None), Bank.open(bank)
    tell("reading")
    names, noun = np.unique(np.array(opened.nouns, dtype=object).astype(str), return_inverse=True)
    why = np.full(len(opened), "", dtype="U13")
    quality = _quality(opened)
    for rule, values, sign in (
        ("min_area", quality["area"], 1),
        ("max_area", quality["area"], -1),
        ("min_contrast", quality["contrast"], 1),
        ("min_agreement", quality["agreement"], 1),
    ):
        limit = getattr(rules, rule)
        if limit is not None:
            why[(why == "") & (sign * values < sign * np.float32(limit))] = rule
    nearness: Floats = np.zeros(len(opened), np.float32)
    if rules.outliers is not None or (rules.per_noun is not None and rules.choose == "central"):
        tell("comparing")
        nearness = nearness_to_mean(opened.prototypes, noun, why == "", len(names))
    if rules.outliers is not None:
        why[(why == "") & _outlying(nearness, noun, why == "", rules)] = "outliers"
    if rules.per_noun is not None:
        if rules.choose == "random":
            rank = _random(opened)
        else:
            rank = nearness if rules.choose == "central" else np.nan_to_num(quality["agreement"], nan=-2.0)
        why[(why == "") & _beyond(rank, noun, why == "", rules.per_noun)] = "per_noun"
    if not (why == "").any():
        raise InputError(f"{bank}: these rules leave nothing of its {len(opened):,} pairs")
    dropped = Counter(why[why != ""].tolist())
    table, lost = _by_noun(names, noun, why)
    with fresh_bank(Path(out)) as temp:
        row = 0
        for i, entry in enumerate(opened.meta["shards"]):
            tell(f"writing {entry['file']}")
            kept = why[row : row + entry["pairs"]] == ""
            copy_rows(opened.path / entry["file"], temp / shard_name(i), kept)
            row += entry["pairs"]
        about = made_with(opened.meta)
        told = {
            "bank": opened.path.resolve().name,
            "identity": opened.identity,
            "rules": asdict(rules),
            "before": len(opened),
            "after": int((why == "").sum()),
            "dropped": dict(dropped),
        }
        earlier = about.get("cleaned")
        about["cleaned"] = [*(earlier if isinstance(earlier, list) else []), told]
        atomic_write_json(temp / REPORT, {**told, "lost": lost, "nouns": table})
        finish_bank(temp, len(opened.meta["shards"]), about)
    return Cleaned(Bank.open(out), len(opened), dict(dropped), table, lost)


def nearness_to_mean(
    prototypes: npt.NDArray[np.float16], noun: npt.NDArray[np.int64], use: Kept, nouns: int
) -> Floats:
    """Cosine (N,) of each prototype (N, D) to the mean of its noun's unit prototypes among `use` (N,).

    Two passes over the array in order; -1 for a prototype that is zero or not finite.
    """
    centres = np.zeros((nouns, prototypes.shape[1]), np.float32)
    out = np.full(len(prototypes), -1, np.float32)
    for sums in (True, False):
        for start in range(0, len(prototypes), _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = np.asarray(prototypes[part], np.float32)
            release(prototypes)
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            good = np.isfinite(length[:, 0]) & (length[:, 0] > 0)
            unit = np.divide(rows, length, out=np.zeros_like(rows), where=good[:, None])
            if sums:
                np.add.at(centres, noun[part][good & use[part]], unit[good & use[part]])
            else:
                cosines = np.einsum("ij,ij->i", unit, centres[noun[part]])
                out[part] = np.where(good, cosines, -1)
        if sums:
            length = np.linalg.norm(centres, axis=1, keepdims=True)
            np.divide(centres, length, out=centres, where=length > 0)
    return out


def _outlying(nearness: Floats, noun: npt.NDArray[np.int64], use: Kept, rules: Rules) -> Kept:
    """Which rows lie too far from their noun's middle (N,)."""
    out = np.zeros(len(noun), bool)
    assert rules.outliers is not None
    for rows in _groups(noun, use):
        if len(rows) >= rules.group:
            values = nearness[rows].astype(np.float64)
            middle = np.median(values)
            spread = 1.4826 * np.median(np.abs(values - middle))
            # A group of equal rows has no spread; what then differs by rounding is no outlier.
            out[rows[values < middle - rules.outliers * max(spread, 1e-4)]] = True
    return out


def _beyond(rank: Floats, noun: npt.NDArray[np.int64], use: Kept, most: int) -> Kept:
    """Which rows (N,) are not among the `most` of highest rank of their noun; of equal ones the first are."""
    out = np.zeros(len(noun), bool)
    for rows in _groups(noun, use):
        order = np.argsort(-rank[rows].astype(np.float64), kind="stable")
        out[rows[order[most:]]] = True
    return out


def _groups(noun: npt.NDArray[np.int64], use: Kept) -> list[npt.NDArray[np.int64]]:
    """The rows in use of every noun that has any, in row order."""
    rows = np.flatnonzero(use)
    order = rows[np.argsort(noun[rows], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(noun[order])) + 1)


def _quality(bank: Bank) -> dict[str, Floats]:
    found: dict[str, list[Floats]] = {name: [] for name in _QUALITY}
    for entry in bank.meta["shards"]:
        table = read_rows(bank.path / entry["file"], list(_QUALITY))
        for name in _QUALITY:
            found[name].append(table.column(name).to_numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _random(bank: Bank) -> Floats:
    """A number a row in [0, 1] that depends on the row alone, so that it is the same in every bank."""
    out: list[float] = []
    for entry in bank.meta["shards"]:
        table = read_rows(bank.path / entry["file"], ["caption_id", "seed", "noun", "spans"])
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            digest = hashlib.blake2b(repr(row).encode(), digest_size=8).digest()
            out.append(int.from_bytes(digest, "big") / 2**64)
    return np.array(out, np.float32)


def _by_noun(
    names: npt.NDArray[np.str_], noun: npt.NDArray[np.int64], why: npt.NDArray[np.str_]
) -> tuple[dict[str, dict[str, int]], list[str]]:
    before = np.bincount(noun, minlength=len(names))
    after = np.bincount(noun[why == ""], minlength=len(names))
    rules: dict[int, Counter[str]] = {}
    for i in np.flatnonzero(why != ""):
        rules.setdefault(int(noun[i]), Counter())[str(why[i])] += 1
    order = sorted(rules, key=lambda n: (after[n] - before[n], names[n]))
    table = {str(names[n]): {"before": int(before[n]), "after": int(after[n]), **rules[n]} for n in order}
    return table, [name for name, told in table.items() if told["after"] == 0]
