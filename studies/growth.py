"""`python -m studies.growth`: what growing is worth on the small world.

Two questions. A word is left out of the bundled bank: what is lost, and what comes back when references are
grown for it? And with no bank at all: how good is one that is grown for the class names alone, by the number
of pictures a word? Prompts are the templates that words are put into, or captions that contain the word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import track

from freeda.bank import Bank, Pair
from freeda.bank.format import read_info, shard_name, write_shard
from freeda.bank.layered import GrownBank
from freeda.bank.manifest import finish_bank
from freeda.collection.shard import load_models
from freeda.encoders import Encoders
from freeda.files import atomic_write_text
from freeda.grow import grow, growth_options
from freeda.miniature import trial
from freeda.miniature.captions import WORDS
from freeda.miniature.scenes import CLASSES, Scene
from freeda.model import FreeDA
from freeda.presets import PRESETS, Preset
from freeda.segment.scene import Scene as EncodedScene

from .page import Page, begin, publish, spread
from .references import ious

COMMAND = "python -m studies.growth"
MARK = begin(COMMAND)
PRESET = PRESETS["miniature"]
COUNTS = (1, 4, 16)
USUAL = 12
"""Pictures a word where a word was left out: the default of `prompts_per_word`."""
_SPAN = 500  # seeds of captions for prompts begin here: other scenes than the bundled bank's

Table = dict[str, list[npt.NDArray[np.float64]]]
"""Row -> (classes,) IoU, one entry a seed."""


def pairs_of(bank: Bank) -> list[Pair]:
    """All rows of a bank."""
    return [Pair(**bank.row(i)) for i in range(len(bank))]


def write_bank(folder: Path, pairs: Sequence[Pair], like: Bank) -> Bank:
    """A bank of some rows of another."""
    about = {"settings": {}, "digest": "", "captions": 0, "pictures": 0, "rejected": {}, "failed": []}
    write_shard(folder / shard_name(0), pairs, about)
    finish_bank(folder, 1, {name: like.meta[name] for name in ("preset", "models", "seed")})
    return Bank.open(folder)


def first_of_each(layer: Bank, pairs: Iterable[Pair], images: int) -> list[Pair]:
    """The rows of the first `images` pictures drawn for every word."""
    drawn: dict[str, list[str]] = {}
    for entry in layer.meta["shards"]:
        settings = read_info(layer.path / entry["file"]).settings
        drawn.setdefault(settings["word"], []).extend(settings["ids"])
    wanted = {name for ids in drawn.values() for name in ids[:images]}
    return [p for p in pairs if p.caption_id in wanted]


def measure(
    seeds: Sequence[int],
    scenes: int,
    base: Bank,
    counts: Sequence[int] = COUNTS,
    usual: int = USUAL,
    preset: Preset = PRESET,
) -> tuple[Table, Table]:
    """IoU of every class: left out of `base` and grown again; and with banks grown of nothing.

    A seed changes the pictures drawn and the scenes measured.
    """
    console = Console(stderr=True)
    options = growth_options(preset)
    models = load_models(preset, options)
    left_out: Table = {}
    alone: Table = {}
    all_pairs = pairs_of(base)
    with tempfile.TemporaryDirectory() as temp:
        folders = iter(Path(temp) / str(i) for i in range(10**6))
        for seed in seeds:
            held_out = trial.held_out(seed, scenes)
            plain = FreeDA(preset, models.encoders, base)
            encoded = [plain.encode(s.image) for s in track(held_out, "encoding scenes", console=console)]
            described = trial.bank_captions(trial.bank_scenes(_SPAN + seed, 40 * max(counts)), _SPAN + seed)
            file = atomic_write_text(next(folders), "".join(f"{c.text}\n" for c in described))
            layers = {}
            for prompts, captions in (("templates", None), ("captions", file)):
                grown = grow(
                    CLASSES,
                    next(folders),
                    preset,
                    images=max(*counts, usual),
                    captions=captions,
                    options=options,
                    seed=seed,
                    models=models,
                    progress=True,
                )
                layers[prompts] = (grown.layer, pairs_of(grown.layer))
            rate = partial(_rate, preset, models.encoders, held_out, encoded)
            whole = rate(base)
            for prompts, (layer, pairs) in layers.items():
                for n in counts:
                    bank = write_bank(next(folders), first_of_each(layer, pairs, n), base)
                    row = f"{n} a word, {prompts}"
                    alone.setdefault(row, []).append(rate(GrownBank(None, bank)))
            alone.setdefault("the bundled bank", []).append(whole)
            drawn = {
                f"grown, {usual} pictures from {prompts}": first_of_each(layer, pairs, usual)
                for prompts, (layer, pairs) in layers.items()
            }
            left_out.setdefault("in the bank", []).append(whole)
            for name, values in _one_by_one(rate, base, all_pairs, drawn, folders, console).items():
                left_out.setdefault(name, []).append(values)
    return left_out, alone


def _rate(
    preset: Preset,
    encoders: Encoders,
    scenes: Sequence[Scene],
    encoded: Sequence[EncodedScene],
    bank: Bank | GrownBank,
) -> npt.NDArray[np.float64]:
    return ious(FreeDA(preset, encoders, bank).vocabulary(list(CLASSES)), scenes, encoded)


def _one_by_one(
    rate: Callable[[Bank | GrownBank], npt.NDArray[np.float64]],
    base: Bank,
    pairs: Sequence[Pair],
    drawn: Mapping[str, Sequence[Pair]],
    folders: Iterator[Path],
    console: Console,
) -> dict[str, npt.NDArray[np.float64]]:
    """Row -> (classes,) IoU of each class while its words are left out of `base`, whose rows are `pairs`.

    In row "left out" nothing stands for them; in the others what is `drawn` of the class under that name.
    """
    rows = {name: np.full(len(CLASSES), np.nan) for name in ("left out", *drawn)}
    for c, word in enumerate(track(CLASSES, "leaving words out", console=console)):
        rest = write_bank(next(folders), [p for p in pairs if p.noun not in WORDS[word]], base)
        rows["left out"][c] = rate(rest)[c]
        for name, of_all in drawn.items():
            mine = [p for p in of_all if p.noun == word]
            rows[name][c] = (
                rate(GrownBank(rest, write_bank(next(folders), mine, base)))[c]
                if mine
                else rows["left out"][c]
            )
    return rows


def mean_table(found: Table, first: str) -> str:
    """Markdown: the mean over the classes, mean of the seeds with least and greatest."""
    lines = [f"| {first} | mIoU |", "|---|---|"]
    for name, values in found.items():
        lines.append(f"| {name} | {spread([float(np.nanmean(v)) for v in values])} |")
    return "\n".join(lines)


def class_table(found: Table) -> str:
    """Markdown: a row a class, means of the seeds; then their mean."""
    lines = [f"| Word | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]
    for c, word in enumerate(CLASSES):
        means = [f"{np.mean([v[c] for v in values]):.2f}" for values in found.values()]
        lines.append(f"| {word} | {' | '.join(means)} |")
    cells = [spread([float(np.nanmean(v)) for v in vs]) for vs in found.values()]
    return "\n".join([*lines, f"| mean | {' | '.join(cells)} |"])


def main(
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes that are measured.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="12 scenes, one seed, 1 and 2 pictures.")] = False,
    bank: Annotated[Path | None, typer.Option(help="The generated bank; default: the bundled one.")] = None,
    page: Page = None,
) -> None:
    """Measure growing on the miniature: a word left out and grown again, and banks grown of nothing."""
    counts: Sequence[int] = COUNTS
    usual = USUAL
    if quick:
        scenes, seeds, counts, usual = 12, 1, (1, 2), 2
    place = PRESET.bank if bank is None else bank
    assert place is not None
    left_out, alone = measure(range(seeds), scenes, Bank.open(place), counts, usual)
    command = COMMAND + (" --quick" if quick else f" --scenes {scenes} --seeds {seeds}")
    text = (
        f"`{command}`: {scenes} held-out scenes, all {len(CLASSES)} class names, "
        f"{'seed 0' if seeds == 1 else f'mean of seeds 0 to {seeds - 1} (least to greatest)'}.\n\n"
        "No bank at all, one grown for the class names alone:\n\n"
        f"{mean_table(alone, 'Pictures')}\n\n"
        "One word at a time (all its forms) left out of the bundled bank, then grown; IoU of that class:\n\n"
        f"{class_table(left_out)}"
    )
    publish(text, page, MARK)


if __name__ == "__main__":
    typer.run(main)
