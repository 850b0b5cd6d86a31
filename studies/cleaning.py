"""`python -m studies.cleaning`: what cleaning a bank is worth on the small world.

The bundled bank, and the same with some prototypes exchanged between nouns as wrong masks would, are cleaned
by several rules; held-out scenes are encoded once and labelled with each result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from freeda.bank import Bank, Pair
from freeda.bank.clean import Rules, clean
from freeda.encoders import load_encoders
from freeda.miniature import trial
from freeda.model import FreeDA
from freeda.presets import PRESETS

from .ablation import scene_miou
from .growth import pairs_of, write_bank
from .page import Page, begin, publish

COMMAND = "python -m studies.cleaning"
MARK = begin(COMMAND)
PRESET = PRESETS["miniature"]
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


@dataclass
class Row:
    """What one way of cleaning left and reached."""

    name: str
    pairs: list[int] = field(default_factory=list)
    """A bank."""
    miou: list[list[float]] = field(default_factory=list)
    """A bank, and in it a seed."""


def exchanged(pairs: Sequence[Pair], share: float) -> list[Pair]:
    """The pairs with the prototypes of a share of them, drawn at random, passed on among those drawn."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(len(pairs), round(share * len(pairs)), replace=False)
    out = list(pairs)
    for to, of in zip(drawn, np.roll(drawn, 1), strict=True):
        out[to] = replace(pairs[to], prototype=pairs[of].prototype)
    return out


def measure(seeds: Sequence[int], scenes: int, share: float) -> list[Row]:
    """Every case on the bundled bank and on the one with exchanged prototypes."""
    assert PRESET.bank is not None
    console, encoders = Console(stderr=True), load_encoders(PRESET)
    bundled = Bank.open(PRESET.bank)
    model = FreeDA(PRESET, encoders, bundled)
    held_out = {seed: trial.held_out(seed, scenes) for seed in seeds}
    encoded = {
        seed: [model.encode(s.image) for s in track(part, f"seed {seed}: encoding", console=console)]
        for seed, part in held_out.items()
    }
    rows = [Row(name) for name in CASES]
    with tempfile.TemporaryDirectory() as place:
        spoilt = write_bank(Path(place) / "spoilt", exchanged(pairs_of(bundled), share), bundled)
        for i, bank in enumerate((bundled, spoilt)):
            for j, (row, rules) in enumerate(zip(rows, CASES.values(), strict=True)):
                made = clean(bank.path, Path(place) / f"{i}-{j}", rules).bank if rules else bank
                cleaned = FreeDA(PRESET, encoders, made)
                row.pairs.append(len(made))
                row.miou.append([scene_miou(cleaned, held_out[s], encoded[s]) for s in seeds])
    return rows


def table(rows: Sequence[Row], share: float) -> str:
    """Markdown: mIoU, mean over the seeds, and its difference from the bank as it was."""
    lines = [
        f"| Cleaned by | Pairs | mIoU | | Pairs, {share:.0%} exchanged | mIoU | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.name]
        for i, pairs in enumerate(row.pairs):
            apart = np.subtract(row.miou[i], rows[0].miou[i])
            told = f"{apart.mean():+.3f} ({apart.min():+.3f} to {apart.max():+.3f})"
            cells += [f"{pairs:,}", f"{np.mean(row.miou[i]):.3f}", "" if row is rows[0] else told]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes a seed.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0.")] = 3,
    share: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of prototypes exchanged.")] = 0.3,
    page: Page = None,
) -> None:
    """Measure what the rules of `freeda bank clean` are worth on the miniature, and print a table."""
    rows = measure(range(seeds), scenes, share)
    said = f"{COMMAND} --scenes {scenes} --seeds {seeds} --share {share}"
    text = (
        f"`{said}`: the bundled bank, {scenes} held-out scenes a seed, seeds 0 to {seeds - 1}; differences "
        f"are paired by seed, least to greatest in brackets.\n\n{table(rows, share)}"
    )
    publish(text, page, MARK)


if __name__ == "__main__":
    typer.run(main)
