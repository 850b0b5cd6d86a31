"""`python -m studies.teaching`: what clicks are worth on the small world, from its bank and from none.

A simulated annotator sees label maps of scenes that no model was trained on. Of all regions whose word is not
what most of their pixels are, it clicks the most uncertain (`RegionVerdict.unsure`) and says the right word.
The click holds on its region, and is a lesson for everything else. The last column has scenes that nobody
clicked in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from scipy import sparse

import freeda
from freeda.bank.taught import Taught
from freeda.files import atomic_path, atomic_write_json
from freeda.miniature.scenes import CLASSES, DrawnScene
from freeda.miniature.trial import best_of_regions, counted, held_out
from freeda.model import FreeDA
from freeda.presets import find_preset
from freeda.segment.lessons import place, with_lessons
from freeda.segment.refine import place_scores
from freeda.segment.scene import Scene
from freeda.segment.support import resolve
from freeda.segment.upsample import enlarged
from freeda.segment.verdicts import SCALE
from freeda.segment.vocabulary import Vocabulary

from .charts import BLUE, FAINT, GREEN, INK, RED
from .sweep import markdown, publish

COMMAND = "python -m studies.teaching"
MARKS = (0, 10, 20, 50, 100)
VIEWS = {
    "superpixels, 128 px": ("miniature", None),
    "learned regions, 128 px": ("miniature", "miniature-plus"),
    "learned regions, 192 px": ("miniature-plus", None),
}
"""What cuts the scenes, and at which size: a preset, and another whose region model it takes."""
STARTS = {"bundled bank": 50, "empty bank": 100}
"""What the first labels come from, and how many clicks follow."""
Mask = npt.NDArray[np.bool_]


@dataclass
class Sheet:
    """A scene before the annotator."""

    truth: DrawnScene
    scene: Scene
    where: list[Any] = field(default_factory=list)
    """Per place that can be clicked: a region's number, or a point where no region is."""
    pixels: Any = None
    """(P, A) sparse: pixels of each place by the atom that they lie in."""
    right: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """(P,) what most of its pixels are."""
    said: dict[int, tuple[Mask, int]] = field(default_factory=dict)
    """Place -> its mask and its word, once clicked."""

    def __post_init__(self) -> None:
        regions, atoms = self.scene.regions(), self.scene.mosaic.atoms
        truth = enlarged(self.truth.labels.astype(np.int64), (regions.shape[0], regions.shape[1]))
        of = np.where(regions >= 0, regions, regions.max() + 1 + atoms)
        numbers, first, number = np.unique(of, return_index=True, return_inverse=True)
        y, x = np.divmod(first, regions.shape[1])
        tall, wide = (full / size for full, size in zip(self.scene.size, regions.shape, strict=True))
        points = [(int((b + 0.5) * wide), int((a + 0.5) * tall)) for a, b in zip(y, x, strict=True)]
        self.where = [n if n <= regions.max() else p for n, p in zip(numbers.tolist(), points, strict=True)]
        shape = (len(numbers), self.scene.mosaic.local.shape[0])
        one = np.ones(regions.size, np.float32)
        self.pixels = sparse.coo_matrix((one, (number.ravel(), atoms.ravel())), shape).tocsr()
        counts = np.zeros((len(numbers), len(CLASSES)))
        np.add.at(counts, (number.ravel(), truth.ravel()), 1)
        self.right = counts.argmax(axis=1)

    def doubt(self, known: Vocabulary) -> tuple[float, int]:
        """The most uncertain wrong place: what it may have wrong, in pixels, and its number."""
        options = resolve(self.scene.options, len(known.prototypes) > 0, False)
        scores = place_scores(self.scene, known, options)
        labels, _ = scores.decide()
        best = np.partition(scores.of(np.arange(len(labels))), -2, axis=1)
        odds = (best[:, -1] - best[:, -2]) / SCALE[options.weights.freeda > 0]
        unsure = self.pixels @ (1 / (1 + np.exp(np.minimum(odds, 50))))
        label = (self.pixels @ np.eye(len(CLASSES), dtype=np.float32)[labels]).argmax(axis=1)
        wrong = label != self.right
        wrong[list(self.said)] = False
        at = int(np.where(wrong, unsure, -1).argmax())
        return (float(unsure[at]), at) if wrong.any() else (-1.0, -1)

    def labels(self, model: FreeDA, known: Vocabulary) -> npt.NDArray[np.int32]:
        """What the page shows: the model's labels, and on top what was said."""
        out = model.segment(self.scene, known).labels.copy()
        for mask, word in self.said.values():
            out[mask] = word
        return out


def loaded(view: str) -> FreeDA:
    """The model of a view."""
    preset, other = VIEWS[view]
    parts = find_preset(preset if other is None else other).regions
    return freeda.load(preset, regions=None if other is None or parts is None else parts.id)


def taught(view: str, start: str, seed: int, n: int, clicks: int) -> list[tuple[int, float, float]]:
    """(clicks, mIoU over n scenes, mIoU over n / 4 that nobody clicked in); after the last wrong region the
    figures stay."""
    model = loaded(view)
    model = (model if start == "bundled bank" else model.with_bank(None)).with_taught(Taught())
    sheets = [Sheet(one, model.encode(one.image)) for one in held_out(seed, n)]
    others = held_out(seed, n + n // 4)[n:]
    elsewhere = [model.encode(one.image) for one in others]
    words = model.vocabulary(list(CLASSES))
    rows: list[tuple[int, float, float]] = []
    for click in range(clicks + 1):
        known = with_lessons(words, model.taught)
        doubts = [one.doubt(known) for one in sheets]
        over = max(doubts)[1] < 0
        if click in MARKS or over:
            here = counted([one.truth for one in sheets], (one.labels(model, known) for one in sheets)).miou()
            there = counted(others, (model.segment(one, known).labels for one in elsewhere)).miou()
            rows += [
                (mark, here, there) for mark in MARKS if mark == click or (over and click < mark <= clicks)
            ]
            print(view, start, seed, click, here, there, flush=True)
        if over or click == clicks:
            break
        sheet = sheets[int(np.argmax([unsure for unsure, _ in doubts]))]
        _, at = max(doubts)
        word = int(sheet.right[at])
        mask = place(sheet.scene, sheet.where[at])
        sheet.said[at] = mask, word
        model.teach(sheet.scene, mask, CLASSES[word])
    return rows


def bound(view: str, seed: int, n: int) -> float:
    """mIoU where every region has the word of most of its pixels."""
    model, scenes = loaded(view), held_out(seed, n)
    cuts = ((enlarged(model.encode(one.image).regions() + 1, one.labels.shape), one) for one in scenes)
    return counted(scenes, (best_of_regions(cut, one.labels) for cut, one in cuts)).miou()


def draw(curves: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """The curves (clicks, mIoU) as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure((9.6, 4.2), layout="constrained")
    ax = figure.add_subplot()
    ax.set_title("What clicks are worth", loc="left", color=INK, fontsize=13, pad=10)
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
    ax.tick_params(length=0, colors=FAINT)
    for (name, points), colour, line in zip(
        curves.items(), (RED, RED, BLUE, BLUE, GREEN, GREEN), "-:-:-:", strict=True
    ):
        ax.plot(*zip(*points, strict=True), f"o{line}", color=colour, ms=5, label=name)
    ax.set_xlabel("clicks in 100 scenes", color=INK)
    ax.set_ylabel("mIoU (0 to 1)", color=INK)
    ax.set_ylim(0.4, 1)
    ax.grid(axis="y", color="#e2e5eb")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, labelcolor=INK)
    with atomic_path(path) as temp:
        figure.savefig(temp, format="png", dpi=100)


def main(
    scenes: Annotated[int, typer.Option(help="Scenes that are clicked in.")] = 100,
    seeds: Annotated[int, typer.Option(help="Seeds.")] = 3,
    page: Annotated[Path | None, typer.Option(help="Page whose table and chart are made anew.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder that keeps what is done: a rerun goes on.")
    ] = None,
) -> None:
    """Measure, print a table, and put it into the page with its chart."""
    torch.set_num_threads(1)
    rows, curves = [], {}
    for view in VIEWS:
        best = np.mean([kept(keep, bound, view, seed, scenes) for seed in range(seeds)])
        for start, clicks in STARTS.items():
            found = np.array([kept(keep, taught, view, start, seed, scenes, clicks) for seed in range(seeds)])
            mean = found.mean(axis=0).tolist()
            curves[f"{start}, {view}"] = [(int(click), here) for click, here, _ in mean]
            first = mean[0][1]
            for i, (click, here, there) in enumerate(mean):
                each = ", ".join(f"{value:.3f}" for value in found[:, i, 1])
                gone = [
                    f"{100 * (here - first) / (most - first):.0f} %" if click else "" for most in (1, best)
                ]
                told = f"{start}, {view} (bound {best:.3f})" if not click else ""
                rows.append((told, f"{click:.0f}", f"{here:.3f}", each, *gone, f"{there:.3f}"))
    head = ("from", "clicks", "mIoU", "of each seed", "error gone", "of what regions allow", "elsewhere")
    publish(markdown(head, rows), page, COMMAND)
    if page is not None:
        draw(curves, page.with_name("teaching.png"))


def kept(folder: Path | None, measure: Any, *given: Any) -> Any:
    """What `measure` gives, from the folder where it is there."""
    path = None if folder is None else folder / ("-".join(map(str, (measure.__name__, *given))) + ".json")
    if path is None or not path.exists():
        found = measure(*given)
        return found if path is None else json.loads(atomic_write_json(path, found).read_text())
    return json.loads(path.read_text())


if __name__ == "__main__":
    typer.run(main)
