"""`python -m studies.references`: references from real pictures against generated ones.

The real pictures of this world are the renderer's, with its own label maps: `freeda bank add-images` takes
its references from a folder of them, as it would from anyone's. They, the scenes that the result is measured
on and those that the bundled bank's captions describe are all different scenes.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track

from freeda.bank import Bank
from freeda.bank.index import FlatIndex
from freeda.encoders import Encoders, load_encoders
from freeda.evaluation.metric import Confusion
from freeda.files import atomic_write_json
from freeda.miniature import trial
from freeda.miniature.captions import WORDS
from freeda.miniature.scenes import CLASSES, HELD_OUT, Scene, render
from freeda.model import FreeDA
from freeda.options import SegmentOptions
from freeda.presets import PRESETS, Preset
from freeda.references.add import add_images
from freeda.segment.prototypes import condense, retrieve
from freeda.segment.result import segment_scene
from freeda.segment.scene import Scene as EncodedScene
from freeda.segment.vocabulary import Vocabulary

from .page import Page, begin, publish, spread

COMMAND = "python -m studies.references"
MARK = begin(COMMAND)
PRESET = PRESETS["miniature"]
WORTHS = (0.0, 5.0, 10.0, 20.0, np.inf)
"""References from pictures that all drawn ones of a word may weigh as much as."""
_ANNOTATED = trial.SPAN // 2
"""Where the annotated scenes of a seed begin among its held-out ones: beyond those that are measured."""

Floats = npt.NDArray[np.float64]


class Rows:
    """Rows of a bank in memory, as the online stage asks for one (`ReferenceBank`)."""

    def __init__(
        self,
        keys: npt.NDArray[np.float16],
        prototypes: npt.NDArray[np.float16],
        nouns: Sequence[str],
        real: Sequence[int] | npt.NDArray[np.int64] = (),
    ) -> None:
        self.keys, self.prototypes, self.nouns = keys, prototypes, np.asarray(nouns)
        self.real = np.asarray(real, np.int64)
        self.search = FlatIndex(keys).search

    def __len__(self) -> int:
        return len(self.prototypes)

    @classmethod
    def of(cls, bank: Bank) -> Rows:
        """All rows of a bank."""
        return cls(np.array(bank.keys), np.array(bank.prototypes), bank.nouns, bank.real)

    def unmarked(self) -> Rows:
        """The same rows, those from pictures no longer known as such."""
        return Rows(self.keys, self.prototypes, self.nouns.tolist())

    def only(self, nouns: Sequence[str], there: bool = True) -> Rows:
        """The rows of these nouns, or with `there` False those of all others."""
        kept = np.flatnonzero(np.isin(self.nouns, list(nouns)) == there)
        real = np.flatnonzero(np.isin(kept, self.real))
        return Rows(self.keys[kept], self.prototypes[kept], self.nouns[kept].tolist(), real)

    def __add__(self, other: Rows) -> Rows:
        return Rows(
            np.concatenate([self.keys, other.keys]),
            np.concatenate([self.prototypes, other.prototypes]),
            [*self.nouns, *other.nouns],
            np.concatenate([self.real, other.real + len(self)]),
        )


@dataclass
class Row:
    """One line of a table: a value for every column and seed."""

    references: str
    values: list[list[float]] = field(default_factory=list)
    """A list a seed."""


def write_folder(folder: Path, scenes: Sequence[Scene]) -> None:
    """An annotated folder of scenes: pictures, label maps and names.json."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(folder / "images" / f"{i:05d}.png")
        Image.fromarray(scene.labels).save(folder / "masks" / f"{i:05d}.png")
    atomic_write_json(folder / "names.json", {str(i): name for i, name in enumerate(CLASSES)})


def shots_of(
    scenes: Sequence[Scene], shots: Sequence[int], seed: int, encoders: Encoders, preset: Preset = PRESET
) -> dict[int, Rows]:
    """Shots -> the bank that `add_images` makes of these scenes with so many references a class."""
    out = {}
    with tempfile.TemporaryDirectory() as temp:
        write_folder(Path(temp) / "annotated", scenes)
        for n in shots:
            added = add_images(
                Path(temp) / "annotated",
                Path(temp) / str(n),
                preset,
                shots=n,
                seed=seed,
                encoders=encoders,
            )
            out[n] = Rows.of(added.bank)
    return out


def ious(vocabulary: Vocabulary, scenes: Sequence[Scene], encoded: Sequence[EncodedScene]) -> Floats:
    """(classes,) IoU of the scenes labelled with all class names."""
    count = Confusion(len(CLASSES))
    for truth, scene in zip(scenes, encoded, strict=True):
        count.update(segment_scene(scene, vocabulary).labels, truth.labels)
    return count.per_class_iou()


def weighing(model: FreeDA, k: int, worth: float) -> Vocabulary:
    """The class names where all drawn references of a word weigh as much as `worth` real ones, at most."""
    options = model.options.with_changes(k=k)
    vocabulary = model.vocabulary(list(CLASSES))
    assert model.bank is not None
    found = retrieve(model.bank, vocabulary.text_embeddings, options)
    made = [condense(one.prototypes, one.real, options, worth) for one in found]
    return trial.with_prototypes(vocabulary, np.concatenate(made))


def measure(
    seeds: Sequence[int],
    scenes: int,
    pictures: int,
    shots: Sequence[int],
    generated: Rows,
    preset: Preset = PRESET,
) -> tuple[list[Row], list[Row], list[Row]]:
    """The table of whole banks (mIoU), that of a class which the generated bank lacks (its own IoU), and that
    of what drawn references weigh beside real ones (mIoU).

    The second leaves every class out of the generated bank in turn, and gives it references from pictures
    instead; it is the mean over the classes. A seed changes annotated and measured scenes.
    """
    console = Console(stderr=True)
    encoders = load_encoders(preset, "cpu")
    rows: dict[str, Row] = {}
    lacking: dict[str, Row] = {}
    weights: dict[str, Row] = {}

    def note(table: dict[str, Row], name: str, values: Sequence[Any]) -> None:
        table.setdefault(name, Row(name)).values.append([float(v) for v in values])

    for seed in seeds:
        measured = trial.held_out(seed, scenes)
        annotated = [render(HELD_OUT, seed * trial.SPAN + _ANNOTATED + i) for i in range(pictures)]
        real = shots_of(annotated, shots, seed, encoders, preset)
        model = FreeDA(preset, encoders, generated)
        encoded = [
            model.encode(s.image) for s in track(measured, f"seed {seed}: encoding scenes", console=console)
        ]

        def both(
            bank: Rows, encoded: list[EncodedScene] = encoded, measured: list[Scene] = measured
        ) -> list[Floats]:
            banks = (bank.unmarked(), bank) if len(bank.real) else (bank,)
            models = [FreeDA(preset, encoders, one) for one in banks]
            found = [ious(one.vocabulary(list(CLASSES)), measured, encoded) for one in models]
            return [found[0], found[-1]]

        together = {n: generated + real[n] for n in shots}
        banks = {"generated": generated, **{f"{n} real": real[n] for n in shots}}
        banks |= {f"generated and {n} real": together[n] for n in shots}
        for name, bank in track(banks.items(), f"seed {seed}: banks", len(banks), console=console):
            note(rows, name, [np.nanmean(iou) for iou in both(bank)])
        found: dict[str, list[list[float]]] = {}
        for i, word in enumerate(track(CLASSES, f"seed {seed}: classes left out", console=console)):
            rest = generated.only(WORDS[word], there=False)
            for name, bank in {
                "none": rest,
                **{f"{n} real": rest + real[n].only([word]) for n in shots},
            }.items():
                found.setdefault(name, []).append([float(iou[i]) for iou in both(bank)])
        found["generated"] = np.stack(both(generated), axis=1).tolist()
        for name, values in found.items():
            note(lacking, name, np.nanmean(values, axis=0).tolist())
        for k, n in itertools.product((preset.segment.k, SegmentOptions().k), shots):
            model = FreeDA(preset, encoders, together[n])
            found_with = (ious(weighing(model, k, worth), measured, encoded) for worth in WORTHS)
            note(weights, f"{n} real, `k` {k}", [np.nanmean(iou) for iou in found_with])
    return list(rows.values()), list(lacking.values()), list(weights.values())


def table(rows: Sequence[Row], *head: str) -> str:
    """Markdown: means over the seeds, with their least and greatest."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [spread(values) for values in zip(*row.values, strict=True)]
        lines.append(f"| {row.references} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes that are measured.")] = 100,
    pictures: Annotated[int, typer.Option(min=1, help="Annotated pictures to choose from.")] = 300,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="12 scenes, 60 pictures, one seed.")] = False,
    bank: Annotated[Path | None, typer.Option(help="The generated bank; default: the bundled one.")] = None,
    page: Page = None,
) -> None:
    """Measure 1, 5 and 20 references a class from real pictures against the bundled, generated bank."""
    if quick:
        scenes, pictures, seeds = 12, 60, 1
    place = PRESET.bank if bank is None else bank
    assert place is not None
    generated = Rows.of(Bank.open(place))
    rows, lacking, weights = measure(range(seeds), scenes, pictures, (1, 5, 20), generated)
    command = COMMAND + (" --quick" if quick else f" --scenes {scenes} --pictures {pictures} --seeds {seeds}")
    command += "" if bank is None else " --bank BANK"
    columns = f"the {PRESET.segment.k} nearest keys", "references from pictures known as such"
    worths = ("no weight", *(f"as {worth:g}" for worth in WORTHS[1:-1]), "each as one")
    text = (
        f"`{command}`: {scenes} held-out scenes, "
        f"{'seed 0' if seeds == 1 else f'mean of seeds 0 to {seeds - 1}, least to greatest'}; references a "
        f"class from real pictures with true masks, and {'the bundled' if bank is None else 'a'} bank of "
        "generated ones; mIoU.\n\n"
        f"{table(rows, 'Bank', *columns)}\n\n"
        "One class at a time left out of the generated bank (all its words), and given references from real "
        "pictures instead; IoU of that class, mean over the classes:\n\n"
        f"{table(lacking, 'References of the class', *columns)}\n\n"
        "What all generated references of a word weigh beside real ones, of which each weighs one; mIoU:\n\n"
        f"{table(weights, 'Generated and', *worths)}"
    )
    publish(text, page, MARK)


if __name__ == "__main__":
    typer.run(main)
