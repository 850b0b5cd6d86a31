"""`python -m studies.ablation`: what every option of masks and keys is worth on the small world.

Each row of the table changes the default as its settings say (`freeda collect --set ...`). Pictures do not
depend on these options, so every picture is drawn once, with all ways of attribution watching; scenes are
encoded once and labelled again with each bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from freeda.collection.masks import WordMask
from freeda.collection.nouns import Noun
from freeda.collection.shard import load_models
from freeda.evaluation.metric import Confusion
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES, Scene
from freeda.model import FreeDA
from freeda.options import parse_settings
from freeda.presets import PRESETS, Preset
from freeda.segment.scene import Scene as EncodedScene

from .page import Page, begin, publish
from .page import between_marks as between_marks
from .pictures import PairBank, draw, pairs_of, plan

COMMAND = "python -m studies.ablation"
BEGIN = begin(COMMAND)
PRESET = PRESETS["miniature"]

VARIANTS: tuple[tuple[str, ...], ...] = (
    (),
    ("attribution.blocks=down",),
    ("attribution.blocks=up",),
    ("attribution.blocks=all",),
    ("attribution.to_step=0.5",),
    ("attribution.from_step=0.5",),
    ("attribution.heads=max",),
    ("attribution.normalisation=step",),
    ("attribution.normalisation=head",),
    ("attribution.normalisation=words",),
    ("map_range=percentiles",),
    ("map_range=max",),
    ("threshold=0.3",),
    ("threshold=0.5",),
    ("threshold=0.6",),
    ("threshold_rule=otsu",),
    ("threshold_rule=percentile", "keep_share=0.15"),
    ("threshold_rule=percentile", "keep_share=0.25"),
    ("threshold_rule=percentile", "keep_share=0.35"),
    ("refine=vote",),
    ("refine=mean",),
    ("refine=mean", "threshold_rule=otsu"),
    ("refine=mean", "threshold_rule=otsu", "attribution.normalisation=words"),
    ("min_contrast=0.3",),
    ("min_contrast=0.4",),
    ("min_agreement=0.2",),
    ("min_agreement=0.3",),
    ("key=caption", "key_weight=0.25"),
    ("key=caption", "key_weight=0.5"),
    ("key=token",),
)
"""Settings of every row; the first is the default."""


@dataclass
class Row:
    """What one variant reached, one entry a seed."""

    settings: tuple[str, ...]
    mask_iou: list[float] = field(default_factory=list)
    miou: list[float] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)


def scene_miou(model: FreeDA, scenes: Sequence[Scene], encoded: Sequence[EncodedScene]) -> float:
    """mIoU of the scenes labelled with all class names."""
    vocabulary, count = model.vocabulary(list(CLASSES)), Confusion(len(CLASSES))
    for truth, scene in zip(scenes, encoded, strict=True):
        count.update(model.segment(scene, vocabulary).labels, truth.labels)
    return count.miou()


def mean_iou(
    masks: Sequence[Sequence[tuple[Noun, WordMask]]], places: Sequence[dict[str, npt.NDArray[np.bool_]]]
) -> float:
    """Mean IoU of the words' masks with where the judge sees them; words it does not know are left out."""
    return float(
        np.mean(
            [
                trial.iou(there[noun.lemma], word.mask)
                for there, found in zip(places, masks, strict=True)
                for noun, word in found
                if noun.lemma in there
            ]
        )
    )


def measure(
    seeds: Sequence[int],
    captions: int,
    scenes: int,
    variants: Sequence[tuple[str, ...]] = VARIANTS,
    preset: Preset = PRESET,
) -> tuple[list[Row], float]:
    """Every variant with every seed, and the judge's own mean IoU on rendered scenes.

    A seed changes captions, pictures and held-out scenes; all variants share them.
    """
    console = Console(stderr=True)
    models = load_models(preset, preset.collect)
    chosen = {v: parse_settings(v, preset.collect) for v in variants}
    ways = list(dict.fromkeys(o.attribution for o in chosen.values()))
    rows, reliability = {v: Row(v) for v in variants}, []
    for seed in seeds:
        described, held_out = trial.bank_scenes(seed, captions), trial.held_out(seed, scenes)
        planned = plan(trial.bank_captions(described, seed), models.generator.tokenizer, seed)
        drawing = draw(planned, models, preset.collect, ways)
        pictures = list(track(drawing, f"seed {seed}: drawing", len(planned), console=console))
        # The judge asks a bank for nothing but rows to be replaced by true prototypes.
        judge_model = FreeDA(preset, models.encoders, PairBank(pairs_of(pictures, models, preset.collect)[0]))
        judge = trial.AttributionJudge(judge_model, trial.true_prototypes(models.encoders, described))
        reliability.append(judge.reliability(held_out[:50]))
        places = [
            judge.places(p.image, [n for n, _ in p.task.nouns])
            for p in track(pictures, f"seed {seed}: judging", console=console)
        ]
        encoded = [
            judge_model.encode(s.image)
            for s in track(held_out, f"seed {seed}: encoding scenes", console=console)
        ]
        for settings in track(variants, f"seed {seed}: variants", console=console):
            pairs, masks = pairs_of(pictures, models, chosen[settings])
            row = rows[settings]
            row.mask_iou.append(mean_iou(masks, places))
            row.pairs.append(len(pairs))
            row.miou.append(
                scene_miou(FreeDA(preset, models.encoders, PairBank(pairs)), held_out, encoded)
                if pairs
                else float("nan")
            )
    return list(rows.values()), float(np.mean(reliability))


def table(rows: Sequence[Row]) -> str:
    """Markdown: means over the seeds; differences are paired by seed, with their least and greatest."""
    lines = [
        "| Changed | Word masks, IoU | Scenes, mIoU | Difference of mIoU (least to greatest) | Pairs |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        apart = np.subtract(row.miou, rows[0].miou)
        told = f"{apart.mean():+.3f}"
        if len(apart) > 1:
            told += f" ({apart.min():+.3f} to {apart.max():+.3f})"
        lines.append(
            f"| {', '.join(f'`{s}`' for s in row.settings) or 'nothing: the defaults'} "
            f"| {np.mean(row.mask_iou):.3f} | {np.mean(row.miou):.3f} "
            f"| {told if row.settings else ''} | {np.mean(row.pairs):.0f} |"
        )
    return "\n".join(lines)


def main(
    captions: Annotated[int, typer.Option(min=1, help="Captions a bank.")] = 200,
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="24 captions, 12 scenes, one seed.")] = False,
    page: Page = None,
) -> None:
    """Measure every option of attribution, masks and keys on the miniature, and print a table."""
    if quick:
        captions, scenes, seeds = 24, 12, 1
    rows, reliability = measure(range(seeds), captions, scenes)
    command = COMMAND + (" --quick" if quick else f" --captions {captions} --scenes {scenes} --seeds {seeds}")
    text = (
        f"`{command}`: banks of {captions} captions, {scenes} held-out scenes, "
        f"{'seed 0' if seeds == 1 else f'mean of seeds 0 to {seeds - 1}'}. The judge of the word masks "
        f"reaches IoU {reliability:.3f} itself on rendered scenes. The defaults' mIoU: "
        f"{', '.join(f'{m:.3f}' for m in rows[0].miou)}.\n\n{table(rows)}"
    )
    publish(text, page, BEGIN)


if __name__ == "__main__":
    typer.run(main)
