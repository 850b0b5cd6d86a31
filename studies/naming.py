"""`python -m studies.naming`: names found in the bank against names given, on the small world.

A pixel is right where its word means the true class. What naming is offered is no list of words: the bundled
bank alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import typer

from freeda.bank import Bank
from freeda.encoders import load_encoders
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES
from freeda.model import FreeDA
from freeda.options import Naming
from freeda.segment import Segmentation
from freeda.segment.scene import Scene
from freeda.segment.vocabulary import Vocabulary

from .held_out import generated
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
    spread_table,
    sweep,
)

COMMAND = "python -m studies.naming"
COLUMNS = ("Right", "Background", "Wrong", "Names that are there", "Classes that are named")
NEVER = {"background": "constant", "background_threshold": -1.0}
"""Options under which the background wins nowhere."""
VARIANTS: dict[str, dict[str, Any]] = {
    "names found": {},
    "every region gets a name": NEVER,
    **{f"`naming.neighbours` {n}": {"naming": Naming(neighbours=n)} for n in (10, 40)},
    **{f"`naming.votes` {n}": {"naming": Naming(votes=n)} for n in (0.1, 0.4)},
    **{f"`naming.far` {n}": {"naming": Naming(far=n)} for n in (0.01, 0.1)},
}
MEANT = {word: CLASSES.index(of) for word, of in trial.CLASS_OF.items()}
Labels = npt.NDArray[np.int64]
"""(H, W) classes; -1 is the background."""


class NamedScenes:
    """A seed's held-out scenes, encoded with superpixels and with the true label map as regions."""

    def __init__(self, seed: int, n: int, model: FreeDA) -> None:
        self.seed, self.model, self.truth = seed, model, trial.held_out(seed, n)
        encoded = shown(self.truth, f"seed {seed}: encoding")
        both = [(model.encode(s.image), model.encode(s.image, regions=s.labels.astype(int))) for s in encoded]
        self.scenes = dict(zip(("superpixels", "true regions"), zip(*both, strict=True), strict=True))

    @cached_property
    def every(self) -> Vocabulary:
        """All the bank's nouns as classes."""
        bank: Any = self.model.bank
        return self.model.vocabulary(sorted(set(bank.nouns)))

    def table(self, regions: str) -> Rows:
        """What each way of labelling reaches on these regions: `COLUMNS`."""
        ways: dict[str, Callable[[int, Scene], Labels]] = {
            "best word for each region": lambda i, scene: best(scene, self.truth[i].labels),
            "all nouns given as classes": lambda i, scene: meant(self.model.segment(scene, self.every)),
            "each region's votes decide": lambda i, scene: self.voted(scene),
        }
        for name, changes in VARIANTS.items():
            ways[name] = partial(self.named, changes)
        rows = {}
        for name, label in shown(ways.items(), regions):
            found = [label(i, scene) for i, scene in enumerate(self.scenes[regions])]
            figures = [measured(one, s.labels) for one, s in zip(found, self.truth, strict=True)]
            rows[name] = np.mean(figures, axis=0).tolist()
        return rows

    def named(self, changes: Any, i: int, scene: Scene) -> Labels:
        """Names found, as options say."""
        return meant(self.model.name(scene, **changes))

    def voted(self, scene: Scene) -> Labels:
        """Every region by the name that its nouns gave most votes to."""
        namer = self.model.namer()
        found = namer.find(scene)
        known = np.array([MEANT[word] for word in found.words])
        votes = found.votes @ (known[:, None] == np.arange(len(CLASSES)))
        return np.where(found.nearest >= namer.near, votes.argmax(axis=1), -1)[scene.regions()]

    def strange(self) -> Rows:
        """Pictures that the bank has nothing like: share that is background, median cosine of the nearest."""
        rng = np.random.default_rng(self.seed)
        rows = {}
        for name, side in (("noise", 128), ("noise in blocks of 4", 32), ("noise in blocks of 16", 8)):
            pictures = [
                np.kron(rng.integers(0, 256, (side, side, 3)), np.ones((128 // side, 128 // side, 1)))
                for _ in range(4)
            ]
            scenes = [self.model.encode(picture.astype(np.uint8)) for picture in pictures]
            near = np.concatenate([self.model.namer().find(scene).nearest for scene in scenes])
            named = [self.model.name(scene).shares["background"] for scene in scenes]
            rows[name] = [float(np.mean(named)), float(np.median(near))]
        near = np.concatenate([self.model.namer().find(one).nearest for one in self.scenes["superpixels"]])
        shares = [self.model.name(one).shares["background"] for one in self.scenes["superpixels"]]
        return rows | {"held-out scenes": [float(np.mean(shares)), float(np.median(near))]}


def meant(result: Segmentation) -> Labels:
    """A label map's classes."""
    return np.array([MEANT.get(name, -1) for name in result.names])[result.labels]


def best(scene: Scene, truth: npt.NDArray[np.uint8]) -> Labels:
    """The bound: of every class the bank has a word."""
    return trial.best_of_regions(scene.regions(), truth)


def measured(found: Labels, truth: npt.NDArray[np.uint8]) -> list[float]:
    """`COLUMNS` of a scene."""
    names, there = set(np.unique(found[found >= 0])), set(np.unique(truth))
    both = len(names & there)
    right, none = float((found == truth).mean()), float((found < 0).mean())
    return [right, none, 1 - right - none, both / max(len(names), 1), both / len(there)]


def merging(model: FreeDA) -> str:
    """Cosines of the bank's nouns, two of one class and two of different ones, and what becomes one name."""
    namer = model.namer()
    numbers = np.arange(len(namer.words))
    points = [namer.point(i) for i in numbers]
    pairs = [(i, j, MEANT[namer.words[i]] == MEANT[namer.words[j]]) for i, j in combinations(numbers, 2)]
    rows = []
    for name, part in (("mean keys", 0), ("mean prototypes", 1)):
        cosine = [float(points[i][part] @ points[j][part]) for i, j, _ in pairs]
        same = [c for c, (*_, one) in zip(cosine, pairs, strict=True) if one]
        other = [c for c, (*_, one) in zip(cosine, pairs, strict=True) if not one]
        rows.append([name, f"{min(same):.3f}", f"{max(other):.3f}"])
    group = namer.merged(numbers)
    wrong = sum((group[i] == group[j]) != same for i, j, same in pairs)
    head = ["Less the bank's mean", "Least cosine of one class", "Greatest of two classes"]
    return f"{markdown(head, rows)}\n\nPairs of {len(numbers)} nouns merged or kept apart wrongly: {wrong}."


def main(
    scenes: Scenes = 60,
    seeds: Seeds = 3,
    quick: bool = typer.Option(False, "--quick", help="6 scenes, one seed."),
    bank: BankFolder = None,
    out: Out = None,
    page: Page = None,
) -> None:
    """Measure names found in the bank: share of area, names, and what pictures of nothing get."""
    if quick:
        scenes, seeds = 6, 1
    encoders = load_encoders(PRESET, "cpu")
    known: Bank = generated(bank)
    model = FreeDA(PRESET, encoders, known)
    folder = folder_of(out, "naming", PRESET, encoders, scenes, known.identity, VARIANTS)
    tables = {
        "superpixels": lambda one: one.table("superpixels"),
        "true regions": lambda one: one.table("true regions"),
        "strange": NamedScenes.strange,
    }
    found = sweep(range(seeds), lambda seed, _: NamedScenes(seed, scenes, model), tables, folder)
    command = said(COMMAND, quick, scenes=scenes, seeds=seeds)
    text = "\n\n".join(
        [
            f"`{command}`: {scenes} held-out scenes, {mean_of(seeds)}; shares of area, then of names.",
            spread_table(["Superpixels", *COLUMNS], found["superpixels"]),
            spread_table(["The true label map as regions", *COLUMNS], found["true regions"]),
            spread_table(
                ["Picture", "Background", f"Nearest cosine, median ({model.namer().near:.3f} is near)"],
                found["strange"],
            ),
            merging(model),
        ]
    )
    publish(text, page, COMMAND)


if __name__ == "__main__":
    typer.run(main)
