"""`python -m studies.ablations`: the paper's ablations on the small world.

A seed changes captions, pictures and held-out scenes; all variants of a seed share them, so that differences
are paired. What was drawn and measured is kept (`--out`), and a rerun makes only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import typer

from freeda.collection.shard import load_models
from freeda.evaluation.metric import mean_of_known
from freeda.files import atomic_write_bytes, atomic_write_text
from freeda.miniature.scenes import CLASSES
from freeda.miniature.things import THINGS
from freeda.options import Attribution, parse_settings
from freeda.presets import Preset
from freeda.show import Row as TileRow
from freeda.show import Section, Tile, draw_regions, lay_page, palette, tint, write_image

from .axes import AXES, BOUND, MASKS, Axis
from .charts import command, draw_charts
from .sweep import (
    PRESET,
    Captions,
    Out,
    Page,
    Rows,
    Scenes,
    Seeds,
    begin,
    between_marks,
    folder_of,
    markdown,
    mean_of,
    shown,
    spread,
    sweep,
)
from .world import JUDGE, World

RGB = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Findings:
    """What an axis's variants reached."""

    axis: Axis
    rows: dict[str, list[dict[str, Any]]]
    """Variant -> what each seed gave: "iou", the IoU of each class, and "beside"; or "error", why it gave
    nothing."""
    scenes: Path | None = None
    """The sheet of scenes, where the axis has one."""

    def miou(self, name: str, of: Callable[[str], bool] = lambda name: True) -> Floats:
        """(seeds,) mean IoU over the classes that `of` takes."""
        chosen = [of(c) for c in CLASSES]
        return np.array([mean_of_known(np.array(seed["iou"])[chosen]) for seed in self.rows[name]])


def measure(
    axes: Sequence[Axis],
    seeds: Sequence[int],
    captions: int,
    scenes: int,
    out: Path | None,
    preset: Preset = PRESET,
) -> list[Findings]:
    """Every axis with every seed. Parts are kept in `out`, in a folder for these very sizes and models."""
    models = load_models(preset, preset.collect)
    place = folder_of(out, "ablations", preset, models.encoders, captions, scenes)

    def worlds(seed: int, folder: Path) -> Callable[[tuple[Attribution, ...]], World]:
        return lru_cache(None)(partial(World, seed, captions, scenes, preset, models, folder))

    names = {axis.key: f"{axis.key}-{crc32(repr(axis.variants).encode()):08x}" for axis in axes}
    tables = {names[axis.key]: partial(measure_axis, axis, preset) for axis in axes}
    found = sweep(seeds, worlds, tables, place, lambda rows: not any("error" in row for row in rows.values()))
    sheets = {a.key: place / f"seed-{seeds[0]}" / f"{names[a.key]}.jpg" for a in axes if a.shown}
    for axis in axes:
        if axis.shown and not sheets[axis.key].exists():
            world = worlds(seeds[0], place / f"seed-{seeds[0]}")((preset.collect.attribution,))
            write_image(sheets[axis.key], sheet(axis, world))
    return [Findings(axis, found[names[axis.key]], sheets.get(axis.key)) for axis in axes]


def measure_axis(axis: Axis, preset: Preset, world_of: Callable[[tuple[Attribution, ...]], World]) -> Rows:
    """An axis with one seed: variant -> as `Findings.rows`."""
    offline = [parse_settings(v.offline, preset.collect) for v in axis.variants]
    world = world_of(tuple(dict.fromkeys(o.attribution for o in offline)))
    rows: Rows = {}
    for variant in shown(axis.variants, f"seed {world.seed}: {axis.key}"):
        if error := world.lacking(variant):
            rows[variant.name] = {"error": error}
            continue
        iou, beside = world.measure(variant)
        beside = beside | (world.masks(variant) if MASKS in axis.columns else {})
        rows[variant.name] = {"iou": iou.tolist(), "beside": beside}
    return rows


def table(findings: Findings) -> str:
    """Markdown: means over the seeds; differences are paired by seed, with their least and greatest."""
    axis = findings.axis
    parts = {"things": THINGS.__contains__, "stuff": lambda c: c not in THINGS} if axis.parts else {}
    measured = {name: seeds for name, seeds in findings.rows.items() if not any("error" in s for s in seeds)}
    heads = [h for h in axis.columns if any(h in seeds[0]["beside"] for seeds in measured.values())]
    rows = []
    for name, seeds in findings.rows.items():
        if name not in measured:
            error = next(s["error"] for s in seeds if "error" in s)
            rows.append([name, error, *[""] * (1 + len(parts) + len(heads))])
            continue
        usual = name == axis.usual
        change = spread(findings.miou(name) - findings.miou(axis.usual), "+.3f")
        beside = {h: [s["beside"][h] for s in seeds] for h in heads if h in seeds[0]["beside"]}
        rows.append(
            [
                f"**{name}**" if usual else name,
                *(f"{findings.miou(name, of).mean():.3f}" for of in (lambda c: True, *parts.values())),
                "the preset's" if usual else change,
                *(_mean(beside[h], h) if h in beside else "" for h in heads),
            ]
        )
    return markdown([axis.what, "mIoU", *parts, "Difference (least to greatest)", *heads], rows)


def _mean(values: Sequence[float], head: str) -> str:
    return f"{np.mean(values):.3f}" if head in (BOUND, MASKS) else f"{np.mean(values):.0f}"


def sheet(axis: Axis, world: World) -> RGB:
    """A few scenes of this world with their truth, as each of the axis's shown variants labels them."""
    colours, classes = palette(len(CLASSES)), set()
    variants = [v for v in axis.variants if v.name in axis.shown and not world.lacking(v)]
    rows = []
    for i, truth in enumerate(world.scenes[: 2 if axis.regions else 4]):

        def tinted(labels: npt.NDArray[Any], caption: str, image: RGB = truth.image) -> Tile:
            classes.update(np.unique(labels).tolist())
            return Tile(tint(image, labels.astype(np.int64), colours, 0.75), caption)

        cut, labelled = [Tile(truth.image, "scene")], [tinted(truth.labels, "truth")]
        for variant in variants:
            labels, regions = world.label(variant, i)
            cut.append(Tile(draw_regions(truth.image, regions), variant.name.partition(" (")[0]))
            labelled.append(tinted(labels, "" if axis.regions else f"{axis.what.strip('`')} {variant.name}"))
        rows += [TileRow(cut), TileRow(labelled)] if axis.regions else [TileRow([cut[0], *labelled])]
    key = [(CLASSES[i], colours[i]) for i in sorted(classes)]
    return lay_page(axis.title, [Section(f"Scenes of seed {world.seed}", rows, key=key)], tile=128)


def write_page(page: Path, found: Sequence[Findings], text: str) -> None:
    """Put every table between its marks of a Markdown page, and the pictures beside the page.

    InputError where the page lacks a place for one.
    """
    whole = page.read_text("utf-8")
    for findings in found:
        axis = findings.axis
        block = f"{text}\n\n![{axis.title}: mIoU]({page.stem}-{axis.key}.png)\n\n{table(findings)}"
        if findings.scenes is not None:
            block += f"\n\n![{axis.title}: scenes]({page.stem}-{axis.key}-scenes.jpg)"
        whole = between_marks(whole, block, command(axis))
    for findings in found:
        if findings.scenes is not None:
            beside = page.with_name(f"{page.stem}-{findings.axis.key}-scenes.jpg")
            atomic_write_bytes(beside, findings.scenes.read_bytes())
    draw_charts(page, whole)
    atomic_write_text(page, whole)


def main(
    captions: Captions = 200,
    scenes: Scenes = 100,
    seeds: Seeds = 3,
    quick: Annotated[bool, typer.Option("--quick", help="16 captions, 8 scenes, one seed.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this one (repeatable): {', '.join(a.key for a in AXES)}.")
    ] = None,
    out: Out = None,
    page: Page = None,
) -> None:
    """Measure what the paper's ablations measure, on the miniature, and print tables.

    With --page, what the page has a place for is measured (or --only some of it); tables go between their
    marks, charts and pictures beside the page.
    """
    if quick:
        captions, scenes, seeds = 16, 8, 1
    for name in only or ():
        if name not in [a.key for a in AXES]:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(a.key for a in AXES)}")
    axes = [a for a in AXES if not only or a.key in only]
    if page is not None and not only:
        axes = [a for a in axes if begin(command(a)) in page.read_text("utf-8")]
    found = measure(axes, range(seeds), captions, scenes, out)
    text = f"Banks of {captions} captions, {scenes} held-out scenes, {mean_of(seeds)}."
    for findings in found:
        print(f"\n## {findings.axis.title}\n\n{text}\n\n{table(findings)}")
        judge = [s["beside"][JUDGE] for s in findings.rows[findings.axis.usual] if JUDGE in s["beside"]]
        if judge:
            print(f"\nThe judge of the word masks reaches IoU {np.mean(judge):.3f} on rendered scenes.")
    if page is not None:
        write_page(page, found, text)


if __name__ == "__main__":
    typer.run(main)
