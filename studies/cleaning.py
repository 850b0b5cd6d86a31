"""`python -m studies.cleaning`: what cleaning a bank is worth on the small world.

The bundled bank, and the same with some prototypes exchanged between nouns as wrong masks would, are cleaned
by several rules; held-out scenes are encoded once and labelled with each result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from freeda.bank import Bank, Pair
from freeda.bank.clean import Rules, clean
from freeda.bank.format import shard_name, write_shard
from freeda.bank.manifest import finish_bank
from freeda.encoders import load_encoders

from .held_out import HeldOut, generated
from .sweep import (
    PRESET,
    Out,
    Page,
    Rows,
    Scenes,
    Seeds,
    folder_of,
    markdown,
    mean_of,
    publish,
    said,
    spread,
    sweep,
)

COMMAND = "python -m studies.cleaning"
CASES: dict[str, Rules | None] = {
    "nothing": None,
    "`--outliers 3`": Rules(outliers=3.0),
    "`--outliers 2`": Rules(outliers=2.0),
    "`--outliers 1`": Rules(outliers=1.0),
    "`--per-noun 24`": Rules(per_noun=24),
    "`--per-noun 24 --choose central`": Rules(per_noun=24, choose="central"),
    "`--per-noun 24 --choose random`": Rules(per_noun=24, choose="random"),
    "`--min-contrast 0.4`": Rules(min_contrast=0.4),
    "`--min-agreement 0.2`": Rules(min_agreement=0.2),
}


def exchanged(pairs: Sequence[Pair], share: float) -> list[Pair]:
    """The pairs with the prototypes of a share of them, drawn at random, passed on among those drawn."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(len(pairs), round(share * len(pairs)), replace=False)
    out = list(pairs)
    for to, of in zip(drawn, np.roll(drawn, 1), strict=True):
        out[to] = replace(pairs[to], prototype=pairs[of].prototype)
    return out


def spoilt(folder: Path, bank: Bank, share: float) -> Bank:
    """A bank in `folder` with the pairs of another, `exchanged`."""
    about = {"settings": {}, "digest": "", "captions": 0, "pictures": 0, "rejected": {}, "failed": []}
    pairs = [Pair(**bank.row(i)) for i in range(len(bank))]
    write_shard(folder / shard_name(0), exchanged(pairs, share), about)
    finish_bank(folder, 1, {name: bank.meta[name] for name in ("preset", "models", "seed")})
    return Bank.open(folder)


def measure(seeds: Sequence[int], scenes: int, share: float, out: Path | None = None) -> dict[str, list[Any]]:
    """Case -> per seed [pairs, mIoU, pairs, mIoU]: of the bundled bank, and with exchanged prototypes."""
    encoders, bundled = load_encoders(PRESET), generated(None)
    folder = folder_of(out, "cleaning", PRESET, encoders, scenes, share, bundled.identity, CASES)
    with tempfile.TemporaryDirectory() as place:
        banks = bundled, spoilt(Path(place) / "spoilt", bundled, share)

        @cache
        def cleaned(name: str, i: int) -> Bank:
            rules = CASES[name]
            return clean(banks[i].path, Path(place) / f"{i}{name}", rules).bank if rules else banks[i]

        def cases(held_out: HeldOut) -> Rows:
            both = {name: (cleaned(name, 0), cleaned(name, 1)) for name in CASES}
            return {
                name: [v for b in made for v in (len(b), float(np.nanmean(held_out.iou_of(b))))]
                for name, made in both.items()
            }

        def held_out(seed: int, _: Path) -> HeldOut:
            return HeldOut(seed, scenes, PRESET, encoders)

        return sweep(seeds, held_out, {"cases": cases}, folder)["cases"]


def table(found: dict[str, list[Any]], share: float) -> str:
    """Markdown: mIoU, mean over the seeds, and its difference from the bank as it was."""
    rows: list[list[str]] = []
    usual = np.array(next(iter(found.values())))
    for name, seeds in found.items():
        values, cells = np.array(seeds), [name]
        for pairs, miou in ((0, 1), (2, 3)):
            change = "" if not rows else spread(values[:, miou] - usual[:, miou], "+.3f")
            cells += [f"{values[0, pairs]:,.0f}", f"{values[:, miou].mean():.3f}", change]
        rows.append(cells)
    return markdown(["Cleaned by", "Pairs", "mIoU", "", f"Pairs, {share:.0%} exchanged", "mIoU", ""], rows)


def main(
    scenes: Scenes = 100,
    seeds: Seeds = 3,
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of prototypes exchanged.")] = 0.3,
    out: Out = None,
    page: Page = None,
) -> None:
    """Measure what the rules of `freeda bank clean` are worth on the miniature, and print a table."""
    found = measure(range(seeds), scenes, share, out)
    command = said(COMMAND, False, scenes=scenes, seeds=seeds, share=share)
    text = (
        f"`{command}`: the bundled bank, {scenes} held-out scenes, {mean_of(seeds)}; differences are paired "
        f"by seed.\n\n{table(found, share)}"
    )
    publish(text, page, COMMAND)


if __name__ == "__main__":
    typer.run(main)
