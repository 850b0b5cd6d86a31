"""`python -m studies.growth`: what growing is worth on the small world.

Two questions. A word is left out of the bundled bank: what is lost, and what comes back when references are
grown for it? And with no bank at all: how good is one that is grown for the class names alone, by the number
of pictures a word? Prompts are the templates that words are put into, or captions that contain the word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from freeda.bank import Bank
from freeda.bank.format import read_info
from freeda.bank.layered import GrownBank
from freeda.collection.shard import CollectModels, load_models
from freeda.files import atomic_write_text
from freeda.grow import grow, growth_options
from freeda.miniature import trial
from freeda.miniature.captions import WORDS
from freeda.miniature.scenes import CLASSES
from freeda.presets import Preset

from .held_out import Floats, HeldOut, MemoryBank, generated
from .sweep import (
    PRESET,
    BankFolder,
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
    shown,
    spread,
    spread_table,
    sweep,
)

COMMAND = "python -m studies.growth"
COUNTS = (1, 4, 16)
USUAL = 12
"""Pictures a word where a word was left out: the default of `prompts_per_word`."""
_SPAN = 500  # seeds of captions for prompts begin here: other scenes than the bundled bank's


def first_of_each(layer: Bank, images: int) -> MemoryBank:
    """The rows of the first `images` pictures drawn for every word."""
    drawn: dict[str, list[str]] = {}
    for entry in layer.meta["shards"]:
        settings = read_info(layer.path / entry["file"]).settings
        drawn.setdefault(settings["word"], []).extend(settings["ids"])
    wanted = {name for ids in drawn.values() for name in ids[:images]}
    return MemoryBank.of(layer).rows(
        np.array([layer.row(i)["caption_id"] in wanted for i in range(len(layer))], bool)
    )


@dataclass
class Growing:
    """What a seed's tables share: the pictures drawn for every class, and the scenes measured."""

    held_out: HeldOut
    base: MemoryBank
    models: CollectModels
    counts: Sequence[int]
    usual: int

    def iou(self, base: MemoryBank | None, layer: MemoryBank | None = None) -> Floats:
        """(classes,) IoU with a bank, a layer grown beside it, or such a layer alone."""
        if layer is None:
            assert base is not None
            return self.held_out.iou_of(base)
        # Rows in memory have all that a grown bank asks of its parts.
        return self.held_out.iou_of(GrownBank(cast(Any, base), cast(Any, layer)))

    @cached_property
    def whole(self) -> Floats:
        """With the bank as it is."""
        return self.iou(self.base)

    @cached_property
    def layers(self) -> dict[str, dict[int, MemoryBank]]:
        """Prompts -> pictures a word -> what was grown for the class names."""
        seed, preset, most = self.held_out.seed, self.held_out.preset, max(self.counts)
        described = trial.bank_captions(trial.bank_scenes(_SPAN + seed, 40 * most), _SPAN + seed)
        layers = {}
        with tempfile.TemporaryDirectory() as temp:
            file = atomic_write_text(Path(temp) / "captions.txt", "".join(f"{c.text}\n" for c in described))
            for prompts, captions in (("templates", None), ("captions", file)):
                layer = grow(
                    CLASSES,
                    Path(temp) / prompts,
                    preset,
                    images=max(most, self.usual),
                    captions=captions,
                    options=growth_options(preset),
                    seed=seed,
                    models=self.models,
                    progress=True,
                ).layer
                layers[prompts] = {n: first_of_each(layer, n) for n in {*self.counts, self.usual}}
        return layers

    def alone(self) -> Rows:
        """Banks grown of nothing: row -> [mIoU]."""
        rows = {
            f"{n} a word, {prompts}": self.iou(None, layers[n])
            for prompts, layers in self.layers.items()
            for n in self.counts
        }
        return {name: [float(np.nanmean(v))] for name, v in {**rows, "the bundled bank": self.whole}.items()}

    def left_out(self) -> Rows:
        """Row -> (classes,) IoU of each class while its words are left out of the bank.

        In row "left out" nothing stands for them, in others what was grown of the class.
        """
        grown = {
            f"grown, {self.usual} pictures from {p}": layers[self.usual] for p, layers in self.layers.items()
        }
        rows: Rows = {"in the bank": self.whole.tolist(), "left out": [], **{name: [] for name in grown}}
        for c, word in enumerate(shown(CLASSES, "leaving words out")):
            rest = self.base.without(WORDS[word])
            nothing = float(self.iou(rest)[c])
            rows["left out"].append(nothing)
            for name, layer in grown.items():
                mine = layer.only([word])
                rows[name].append(float(self.iou(rest, mine)[c]) if len(mine) else nothing)
        return rows


def measure(
    seeds: Sequence[int],
    scenes: int,
    base: Bank,
    counts: Sequence[int] = COUNTS,
    usual: int = USUAL,
    preset: Preset = PRESET,
    out: Path | None = None,
) -> dict[str, dict[str, list[Any]]]:
    """Tables "alone" and "left out": banks grown of nothing; IoU of every class left out and grown again.

    A seed changes the pictures drawn and the scenes measured.
    """
    models, rows = load_models(preset, growth_options(preset)), MemoryBank.of(base)
    folder = folder_of(out, "growth", preset, models.encoders, scenes, base.identity, counts, usual)

    def make(seed: int, _: Path) -> Growing:
        return Growing(HeldOut(seed, scenes, preset, models.encoders), rows, models, counts, usual)

    return sweep(seeds, make, {"alone": Growing.alone, "left out": Growing.left_out}, folder)


def class_table(found: dict[str, list[list[float]]]) -> str:
    """Markdown: a row a class, means of the seeds; then their mean."""
    means = {name: np.mean(np.array(seeds, float), axis=0) for name, seeds in found.items()}
    rows = [[word, *(f"{values[c]:.2f}" for values in means.values())] for c, word in enumerate(CLASSES)]
    last = [spread(np.nanmean(np.array(seeds, float), axis=1)) for seeds in found.values()]
    return markdown(["Word", *found], [*rows, ["mean", *last]])


def main(
    scenes: Scenes = 100,
    seeds: Seeds = 2,
    quick: Annotated[bool, typer.Option("--quick", help="12 scenes, one seed, 1 and 2 pictures.")] = False,
    bank: BankFolder = None,
    out: Out = None,
    page: Page = None,
) -> None:
    """Measure growing on the miniature: a word left out and grown again, and banks grown of nothing."""
    counts: Sequence[int] = COUNTS
    usual = USUAL
    if quick:
        scenes, seeds, counts, usual = 12, 1, (1, 2), 2
    found = measure(range(seeds), scenes, generated(bank), counts, usual, out=out)
    text = (
        f"`{said(COMMAND, quick, scenes=scenes, seeds=seeds)}`: {scenes} held-out scenes, "
        f"all {len(CLASSES)} class names, {mean_of(seeds)}.\n\n"
        "No bank at all, one grown for the class names alone:\n\n"
        f"{spread_table(['Pictures', 'mIoU'], found['alone'])}\n\n"
        "One word at a time (all its forms) left out of the bundled bank, then grown; IoU of that class:\n\n"
        f"{class_table(found['left out'])}"
    )
    publish(text, page, COMMAND)


if __name__ == "__main__":
    typer.run(main)
