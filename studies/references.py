"""`python -m studies.references`: references from real pictures against generated ones.

The real pictures of this world are the renderer's, with its own label maps: `freeda bank add-images` takes
its references from a folder of them, as it would from anyone's. They, the scenes that the result is measured
on and those that the bundled bank's captions describe are all different scenes.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from freeda.encoders import Encoders, load_encoders
from freeda.files import atomic_write_json
from freeda.miniature import trial
from freeda.miniature.captions import WORDS
from freeda.miniature.scenes import CLASSES, HELD_OUT, DrawnScene, render
from freeda.model import FreeDA
from freeda.options import SegmentOptions
from freeda.presets import Preset
from freeda.references.add import add_images
from freeda.segment.prototypes import condense, retrieve
from freeda.segment.vocabulary import Vocabulary

from .held_out import HeldOut, MemoryBank, generated
from .sweep import (
    PRESET,
    BankFolder,
    Out,
    Page,
    Rows,
    Scenes,
    Seeds,
    folder_of,
    mean_of,
    publish,
    said,
    shown,
    spread_table,
    sweep,
)

COMMAND = "python -m studies.references"
WORTHS = (0.0, 5.0, 10.0, 20.0, np.inf)
"""References from pictures that all drawn ones of a word may weigh as much as."""
_ANNOTATED = trial.SPAN // 2
"""Where the annotated scenes of a seed begin among its held-out ones: beyond those that are measured."""


def write_folder(folder: Path, scenes: Sequence[DrawnScene]) -> None:
    """An annotated folder of scenes: pictures, label maps and names.json."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, scene in enumerate(scenes):
        Image.fromarray(scene.image).save(folder / "images" / f"{i:05d}.png")
        Image.fromarray(scene.labels).save(folder / "masks" / f"{i:05d}.png")
    atomic_write_json(folder / "names.json", {str(i): name for i, name in enumerate(CLASSES)})


def shots_of(
    scenes: Sequence[DrawnScene], shots: Sequence[int], seed: int, encoders: Encoders, preset: Preset = PRESET
) -> dict[int, MemoryBank]:
    """Shots -> the bank that `add_images` makes of these scenes with so many references a class."""
    out = {}
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp) / "annotated"
        write_folder(folder, scenes)
        for n in shots:
            added = add_images(folder, Path(temp) / str(n), preset, shots=n, seed=seed, encoders=encoders)
            out[n] = MemoryBank.of(added.bank)
    return out


def weighing(model: FreeDA, k: int, worth: float) -> Vocabulary:
    """The class names where all drawn references of a word weigh as much as `worth` real ones, at most."""
    options = model.options.with_changes(k=k)
    vocabulary = model.vocabulary(list(CLASSES))
    assert model.bank is not None
    found = retrieve(model.bank, vocabulary.text_embeddings, options)
    made = [condense(one.prototypes, one.real, options, worth) for one in found]
    return trial.with_prototypes(vocabulary, np.concatenate(made))


@dataclass
class FewShot:
    """What a seed's tables share: annotated scenes and those that are measured."""

    held_out: HeldOut
    generated: MemoryBank
    pictures: int
    shots: Sequence[int]

    @cached_property
    def real(self) -> dict[int, MemoryBank]:
        """Shots -> the bank of so many references a class."""
        seed, first = self.held_out.seed, self.held_out.seed * trial.SPAN + _ANNOTATED
        scenes = [render(HELD_OUT, first + i) for i in range(self.pictures)]
        return shots_of(scenes, self.shots, seed, self.held_out.encoders, self.held_out.preset)

    def both(self, bank: MemoryBank) -> list[Any]:
        """(classes,) IoU with a bank whose references from pictures are not known as such, and are."""
        known = self.held_out.iou_of(bank)
        return [self.held_out.iou_of(bank.unmarked()) if len(bank.real) else known, known]

    def banks(self) -> Rows:
        """Whole banks: mIoU."""
        banks = {"generated": self.generated, **{f"{n} real": self.real[n] for n in self.shots}}
        banks |= {f"generated and {n} real": self.generated + self.real[n] for n in self.shots}
        tell = shown(banks.items(), f"seed {self.held_out.seed}: banks", len(banks))
        return {name: np.nanmean(self.both(bank), axis=1).tolist() for name, bank in tell}

    def lacking(self) -> Rows:
        """Each class left out of the generated bank in turn and given references from pictures: the mean of
        their own IoU."""
        found: dict[str, list[Any]] = {}
        for c, word in enumerate(shown(CLASSES, f"seed {self.held_out.seed}: classes left out")):
            rest = self.generated.without(WORDS[word])
            banks = {"none": rest, **{f"{n} real": rest + self.real[n].only([word]) for n in self.shots}}
            for name, bank in banks.items():
                found.setdefault(name, []).append([iou[c] for iou in self.both(bank)])
        found["generated"] = np.stack(self.both(self.generated), axis=1).tolist()
        return {name: np.nanmean(values, axis=0).tolist() for name, values in found.items()}

    def weights(self) -> Rows:
        """What all drawn references weigh beside real ones: mIoU."""
        rows, held_out = {}, self.held_out
        for k, n in itertools.product((held_out.preset.segment.k, SegmentOptions().k), self.shots):
            model = FreeDA(held_out.preset, held_out.encoders, self.generated + self.real[n])
            ious = (held_out.iou(weighing(model, k, worth)) for worth in WORTHS)
            rows[f"{n} real, `k` {k}"] = [float(np.nanmean(iou)) for iou in ious]
        return rows


def measure(
    seeds: Sequence[int],
    scenes: int,
    pictures: int,
    shots: Sequence[int],
    base: MemoryBank,
    preset: Preset = PRESET,
    out: Path | None = None,
) -> dict[str, dict[str, list[Any]]]:
    """Tables "banks", "lacking" and "weights" of `FewShot`. A seed changes annotated and measured scenes."""
    encoders = load_encoders(preset, "cpu")
    about = scenes, pictures, shots, base.prototypes.tobytes()
    folder = folder_of(out, "references", preset, encoders, *about)

    def make(seed: int, _: Path) -> FewShot:
        return FewShot(HeldOut(seed, scenes, preset, encoders), base, pictures, shots)

    tables = {"banks": FewShot.banks, "lacking": FewShot.lacking, "weights": FewShot.weights}
    return sweep(seeds, make, tables, folder)


def main(
    scenes: Scenes = 100,
    pictures: Annotated[int, typer.Option(min=1, help="Annotated pictures to choose from.")] = 300,
    seeds: Seeds = 3,
    quick: Annotated[bool, typer.Option("--quick", help="12 scenes, 60 pictures, one seed.")] = False,
    bank: BankFolder = None,
    out: Out = None,
    page: Page = None,
) -> None:
    """Measure 1, 5 and 20 references a class from real pictures against the bundled, generated bank."""
    if quick:
        scenes, pictures, seeds = 12, 60, 1
    found = measure(range(seeds), scenes, pictures, (1, 5, 20), MemoryBank.of(generated(bank)), out=out)
    command = said(COMMAND, quick, scenes=scenes, pictures=pictures, seeds=seeds)
    command += "" if bank is None else " --bank BANK"
    columns = f"the {PRESET.segment.k} nearest keys", "references from pictures known as such"
    worths = ("no weight", *(f"as {worth:g}" for worth in WORTHS[1:-1]), "each as one")
    text = (
        f"`{command}`: {scenes} held-out scenes, {mean_of(seeds)}; references a class from real pictures "
        f"with true masks, and {'the bundled' if bank is None else 'a'} bank of generated ones; mIoU.\n\n"
        f"{spread_table(['Bank', *columns], found['banks'])}\n\n"
        "One class at a time left out of the generated bank (all its words), and given references from real "
        "pictures instead; IoU of that class, mean over the classes:\n\n"
        f"{spread_table(['References of the class', *columns], found['lacking'])}\n\n"
        "What all generated references of a word weigh beside real ones, of which each weighs one; mIoU:\n\n"
        f"{spread_table(['Generated and', *worths], found['weights'])}"
    )
    publish(text, page, COMMAND)


if __name__ == "__main__":
    typer.run(main)
