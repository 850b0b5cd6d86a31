"""`python -m studies.beyond`: what each term, each kind of region and a bank are worth on the small world."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import freeda
from freeda.miniature.scenes import CLASSES, DrawnScene
from freeda.miniature.stuff import STUFF
from freeda.miniature.trial import best_of_regions, counted, held_out
from freeda.model import FreeDA
from freeda.options import METHODS, DenseClip, Ensemble
from freeda.profile import Clock
from freeda.segment.regions import SuperpixelRegions
from freeda.segment.scene import Scene
from freeda.segment.upsample import enlarged

from .sweep import markdown, publish

TOLD: dict[str, dict[str, Any]] = {
    "no-bank": {"method": "no-bank"},
    "values": {"method": "values"},
    "freeda": {"method": "freeda"},
    "freeda, local only": {"method": "freeda", "local_weight": 1.0},
    "freeda + 0.05 own": {"ensemble": Ensemble(own=0.05)},
    "freeda + 0.1 own": {"ensemble": Ensemble(own=0.1)},
    "freeda + 0.05 own + 0.05 support": {"ensemble": Ensemble(own=0.05, support=0.05)},
    "freeda + 0.1 own + 0.1 support": {"ensemble": METHODS["all"]},
}
"""What is added up, by how the table calls it."""


@dataclass
class View:
    """One way to cut scenes."""

    name: str
    side: int
    regions: str = "superpixels"
    how: DenseClip = field(default_factory=lambda: DenseClip(attention="own"))
    only: tuple[str, ...] = tuple(TOLD)


VIEWS = (
    View("superpixels, 128 px", 128),
    View("superpixels, 192 px", 192),
    View("learned, 128 px", 128, "learned"),
    View("learned, 192 px", 192, "learned"),
    View("truth, 192 px", 192, "truth"),
    View("superpixels, 128 px, CorrCLIP's attention", 128, how=DenseClip(), only=("no-bank",)),
    View("superpixels, 128 px, ProxyCLIP's", 128, how=DenseClip(attention="proxy"), only=("no-bank",)),
)


def encoded(model: FreeDA, scenes: list[DrawnScene], view: View) -> Iterator[Scene]:
    """The scenes, cut as the view says."""
    for scene in scenes:
        sources: dict[str, Any] = {
            "truth": scene.labels.astype(np.int64),
            "learned": model.regions,
            "superpixels": SuperpixelRegions(model.options.superpixels),
        }
        how: Any = {"dense_clip": view.how, "short_side": view.side}
        yield model.encode(scene.image, regions=sources[view.regions], **how)


def scored(scenes: list[DrawnScene], labels: Iterator[Any]) -> tuple[float, float]:
    """mIoU of all classes, and of things alone."""
    found = counted(scenes, labels).per_class_iou()
    return float(np.nanmean(found)), float(np.nanmean(found[len(STUFF) :]))


def measure(seed: int, n: int) -> dict[str, dict[str, tuple[float, float]]]:
    """View -> row -> mIoU of all classes and of things, over n scenes that nothing was trained on."""
    model, scenes = freeda.load("miniature-plus"), held_out(seed, n)
    out: dict[str, dict[str, tuple[float, float]]] = {}
    for view in VIEWS:
        seen, rows = list(encoded(model, scenes, view)), {}
        for name in view.only:
            words = model.vocabulary(list(CLASSES), **TOLD[name])
            labels = (model.segment(scene, words, **TOLD[name]).labels for scene in seen)
            rows[name] = scored(scenes, labels)
        if view.name == "learned, 128 px":
            cuts = (enlarged(one.regions() + 1, one.size) for one in seen)
            maps = (best_of_regions(a, b.labels) for a, b in zip(cuts, scenes, strict=True))
            rows["bound of these regions"] = scored(scenes, maps)
        out[view.name] = rows
        print(seed, view.name, rows, flush=True)
    return out


def cost(n: int = 30) -> str:
    """What labelling takes beside the encoders and the region model, as a share of their time."""
    clock, scenes = Clock(), held_out(0, n)
    model = freeda.load("miniature-plus", clock=clock)
    words = model.vocabulary(list(CLASSES), method="all", ensemble=METHODS["all"])
    started, before = time.perf_counter(), models_of(clock)
    for scene in scenes:
        model.segment(scene.image, words, ensemble=METHODS["all"])
    models = models_of(clock) - before
    rest = time.perf_counter() - started - models
    return f"All that is no encoder or region model: {100 * rest / models:.0f} % on top of these, {n} scenes."


def models_of(clock: Clock) -> float:
    """Seconds that the encoders and the region model had."""
    return sum(stage.seconds for stage in clock.stages() if stage.name in ("clip", "dense", "regions"))


def main(
    scenes: Annotated[int, typer.Option(help="Scenes a seed.")] = 60,
    seeds: Annotated[int, typer.Option(help="Seeds.")] = 3,
    page: Annotated[Path | None, typer.Option(help="Page whose table is made anew.")] = None,
) -> None:
    """Measure, print a table, and put it into the page."""
    torch.set_num_threads(1)
    found = [measure(seed, scenes) for seed in range(seeds)]
    rows = []
    for view, first in found[0].items():
        for name in first:
            each = np.array([one[view][name] for one in found])
            mean, told = each.mean(axis=0), ", ".join(f"{value:.3f}" for value in each[:, 0])
            rows.append((view, name, f"{mean[0]:.3f}", f"{mean[1]:.3f}", told))
    table = markdown(("regions", "score", "mIoU", "things", "mIoU of each seed"), rows)
    publish(f"{table}\n\n{cost()}", page, "python -m studies.beyond")


if __name__ == "__main__":
    typer.run(main)
