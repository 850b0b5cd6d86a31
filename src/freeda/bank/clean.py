"""Leaving out rows of a bank by rule: too many of a noun, odd ones of their noun, poor ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..errors import InputError
from ..files import atomic_write_json
from .arrays import release
from .bank import Bank
from .format import REGIONS, Kept, copy_rows, read_rows, shard_name
from .manifest import finish_bank, fresh_bank, made_with

REPORT = "clean.json"
_BLOCK = 8192
_QUALITY = ("area", "contrast", "agreement")
RULES = ("min_area", "max_area", "min_contrast", "min_agreement", "outliers", "per_noun")
"""In the order in which they are applied; what breaks one is not looked at by those behind it."""
Floats = npt.NDArray[np.float32]
Broken = npt.NDArray[np.int8]
"""(N,) of each row the first rule that it breaks, as its place in `RULES` from 1 on; 0: none."""


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
        for name in RULES[:4]:
            value = getattr(self, name)
            if value is not None and not -1 <= value <= 1:
                raise InputError(f"{name} is {value}: it must lie within -1 and 1")

    @property
    def none(self) -> bool:
        """Whether no rule is on."""
        return all(getattr(self, rule) is None for rule in RULES)


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
    regions: tuple[int, int] = (0, 0)
    """Rows of its bank of region values before, and after: a picture all of whose pairs are left out loses
    its regions."""


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
    different, which = opened.nouns.part
    place = {name: i for i, name in enumerate(sorted(different))}
    names, noun = list(place), np.array([place[name] for name in different], np.int64)[which]
    why = _broken(opened, rules, noun, len(names), tell)
    if why.all():
        raise InputError(f"{bank}: these rules leave nothing of its {len(opened):,} pairs")
    counts = np.bincount(why, minlength=len(RULES) + 1).tolist()
    dropped = {rule: n for rule, n in zip(RULES, counts[1:], strict=True) if n}
    table, lost = _by_noun(names, noun, why)
    regions = opened.regions
    told_regions = (0, 0)
    with fresh_bank(Path(out)) as temp:
        row = 0
        for i, entry in enumerate(opened.meta["shards"]):
            tell(f"writing {entry['file']}")
            kept = why[row : row + entry["pairs"]] == 0
            copy_rows(opened.path / entry["file"], temp / shard_name(i), kept)
            row += entry["pairs"]
        about = made_with(opened.meta)
        told = {
            "bank": opened.path.resolve().name,
            "identity": opened.identity,
            "rules": asdict(rules),
            "before": len(opened),
            "after": counts[0],
            "dropped": dropped,
        }
        earlier = about.get("cleaned")
        about["cleaned"] = [*(earlier if isinstance(earlier, list) else []), told]
        if regions is not None:
            told_regions = len(regions), _clean_regions(regions, _pictures_lost(opened, why), temp / REGIONS)
            told["regions"] = dict(zip(("before", "after"), told_regions, strict=True))
        atomic_write_json(temp / REPORT, {**told, "lost": lost, "nouns": table})
        finish_bank(temp, len(opened.meta["shards"]), about)
    return Cleaned(Bank.open(out), len(opened), dropped, table, lost, told_regions)


def _pictures(file: Path) -> list[tuple[str, str, int]]:
    """Of every row of a shard, which picture it is of."""
    columns = read_rows(file, ["caption_id", "caption", "seed"]).columns
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def _pictures_lost(bank: Bank, why: Broken) -> set[tuple[str, str, int]]:
    """The pictures none of whose pairs is left."""
    lost, row = set[tuple[str, str, int]](), 0
    left = set[tuple[str, str, int]]()
    for entry in bank.meta["shards"]:
        for picture in _pictures(bank.path / entry["file"]):
            (lost if why[row] else left).add(picture)
            row += 1
    return lost - left


def _clean_regions(regions: Bank, lost: set[tuple[str, str, int]], out: Path) -> int:
    """Write a bank of region values without those of pictures that are `lost`; how many rows it has."""
    for i, entry in enumerate(regions.meta["shards"]):
        file = regions.path / entry["file"]
        copy_rows(file, out / shard_name(i), np.array([one not in lost for one in _pictures(file)], bool))
    finish_bank(out, len(regions.meta["shards"]), made_with(regions.meta), regions.meta["dimensions"])
    return len(Bank.open(out))


def _broken(
    bank: Bank, rules: Rules, noun: npt.NDArray[np.int64], nouns: int, tell: Callable[[str], None]
) -> Broken:
    """Which rule each row breaks; `noun` (N,) numbers the nouns of the rows, of which there are `nouns`."""
    why = np.zeros(len(bank), np.int8)

    def leave_out(rule: str, rows: Kept) -> None:
        why[(why == 0) & rows] = RULES.index(rule) + 1

    quality = _quality(bank)
    for rule in RULES[:4]:
        if (limit := getattr(rules, rule)) is not None:
            values, limit = quality[rule[4:]], np.float32(limit)
            leave_out(rule, values < limit if rule.startswith("min_") else values > limit)
    nearness: Floats = np.zeros(len(bank), np.float32)
    if rules.outliers is not None or (rules.per_noun is not None and rules.choose == "central"):
        tell("comparing")
        nearness = nearness_to_mean(bank.prototypes, noun, why == 0, nouns)
    if rules.outliers is not None:
        leave_out("outliers", _outlying(nearness, noun, why == 0, rules.outliers, rules.group))
    if rules.per_noun is not None:
        if rules.choose == "random":
            rank = _random(bank)
        else:
            rank = nearness if rules.choose == "central" else np.nan_to_num(quality["agreement"], nan=-2.0)
        leave_out("per_noun", _beyond(rank, noun, why == 0, rules.per_noun))
    return why


def nearness_to_mean(
    prototypes: npt.NDArray[np.float16], noun: npt.NDArray[np.int64], use: Kept, nouns: int
) -> Floats:
    """Cosine (N,) of each prototype (N, D) to the mean of its noun's unit prototypes among `use` (N,).

    Two passes over the array in order; -1 for a prototype that is zero or not finite.
    """
    import torch  # its index_add_ is many times as fast as np.add.at, to the same bits; loaded only here

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
                here = good & use[part]
                torch.from_numpy(centres).index_add_(
                    0, torch.from_numpy(noun[part][here]), torch.from_numpy(unit[here])
                )
            else:
                cosines = np.einsum("ij,ij->i", unit, centres[noun[part]])
                out[part] = np.where(good, cosines, -1)
        if sums:
            length = np.linalg.norm(centres, axis=1, keepdims=True)
            np.divide(centres, length, out=centres, where=length > 0)
    return out


def _outlying(
    nearness: Floats, noun: npt.NDArray[np.int64], use: Kept, deviations: float, group: int
) -> Kept:
    """Which rows (N,) lie so many `deviations` below their noun's middle, see `Rules.outliers`."""
    rows = np.flatnonzero(use)
    _, of, sizes = np.unique(noun[rows], return_inverse=True, return_counts=True)
    values, groups = nearness[rows].astype(np.float64), np.arange(len(sizes))
    middle = ndimage.median(values, of, groups)
    spread = 1.4826 * ndimage.median(np.abs(values - middle[of]), of, groups)
    # A group of equal rows has no spread; what then differs by rounding is no outlier.
    least = middle - deviations * np.maximum(spread, 1e-4)
    out = np.zeros(len(noun), bool)
    out[rows] = (sizes[of] >= group) & (values < least[of])
    return out


def _beyond(rank: Floats, noun: npt.NDArray[np.int64], use: Kept, most: int) -> Kept:
    """Which rows (N,) are not among the `most` of highest rank of their noun; of equal ones the first are."""
    rows = np.flatnonzero(use)
    rows = rows[np.lexsort((-rank[rows].astype(np.float64), noun[rows]))]
    out = np.zeros(len(noun), bool)
    out[rows] = np.arange(len(rows)) - np.searchsorted(noun[rows], noun[rows]) >= most
    return out


def _quality(bank: Bank) -> dict[str, Floats]:
    tables = [read_rows(bank.path / entry["file"], list(_QUALITY)) for entry in bank.meta["shards"]]
    return {name: np.concatenate([t.column(name).to_numpy() for t in tables]) for name in _QUALITY}


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
    names: list[str], noun: npt.NDArray[np.int64], why: Broken
) -> tuple[dict[str, dict[str, int]], list[str]]:
    """`Cleaned.nouns` and `Cleaned.lost`."""
    counts = np.zeros((len(names), len(RULES) + 1), np.int64)  # rows of each noun by the rule that they break
    np.add.at(counts, (noun, why), 1)
    order = sorted(np.flatnonzero(counts[:, 1:].any(axis=1)), key=lambda n: (-counts[n, 1:].sum(), names[n]))
    table = {}
    for n in order:
        rules = {rule: k for rule, k in zip(RULES, counts[n, 1:].tolist(), strict=True) if k}
        table[names[n]] = {"before": int(counts[n].sum()), "after": int(counts[n, 0]), **rules}
    return table, [name for name, told in table.items() if told["after"] == 0]
