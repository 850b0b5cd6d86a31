"""What the ablations found, as tables and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from freeda.miniature.scenes import CLASSES
from freeda.miniature.things import THINGS
from freeda.show import Row as TileRow
from freeda.show import Section, Tile, draw_regions, lay_page, palette, tint

from .axes import Axis, Variant
from .charts import Line, line_chart, range_chart
from .world import World

BOUND = "Labelled perfectly"
RGB = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]


def _any(name: str) -> bool:
    return True


@dataclass
class Row:
    """One variant: what it reached, one entry a seed."""

    variant: Variant
    iou: list[list[float]] = field(default_factory=list)
    """Per seed the IoU of each class; nan where there is none."""
    beside: list[dict[str, float]] = field(default_factory=list)
    error: str = ""
    """Why it could not be measured."""

    def take(self, told: dict[str, Any]) -> None:
        """Add a seed, as a part tells it."""
        self.error = self.error or told.get("error", "")
        if "iou" in told:
            self.iou.append([float("nan") if v is None else v for v in told["iou"]])
            self.beside.append(told["beside"])

    def mean(self, classes: Callable[[str], bool] = _any) -> Floats:
        """(seeds,) mean IoU over the classes that `classes` takes."""
        chosen = [classes(c) for c in CLASSES]
        return np.array([np.nanmean(np.asarray(one)[chosen]) for one in self.iou])


@dataclass
class Findings:
    """One axis: its rows, and the sheet of scenes where there is one."""

    axis: Axis
    rows: list[Row]
    scenes: Path | None = None

    @property
    def usual(self) -> Row:
        """The row that changes nothing."""
        return next(r for r in self.rows if r.variant.name == self.axis.usual)


def table(findings: Findings) -> str:
    """Markdown: means over the seeds; differences are paired by seed, with their least and greatest."""
    heads = [h for h in findings.axis.columns if any(h in told for r in findings.rows for told in r.beside)]
    lines = [
        f"| {findings.axis.what} | mIoU | things | stuff | Difference (least to greatest) |"
        + "".join(f" {h} |" for h in heads),
        "|---|---|---|---|---|" + "---|" * len(heads),
    ]
    usual = findings.usual.mean()
    for row in findings.rows:
        if row.error:
            lines.append(f"| {row.variant.name} | {row.error} | | | |" + " |" * len(heads))
            continue
        every, things, stuff = row.mean(), row.mean(THINGS.__contains__), row.mean(lambda c: c not in THINGS)
        name = row.variant.name
        told = "the preset's" if row is findings.usual else _difference(every - usual)
        lines.append(
            f"| {f'**{name}**' if row is findings.usual else name} | {every.mean():.3f} "
            f"| {things.mean():.3f} | {stuff.mean():.3f} | {told} |"
            + "".join(f" {_beside(row, h)} |" for h in heads)
        )
    return "\n".join(lines)


def _difference(apart: Floats) -> str:
    told = f"{apart.mean():+.3f}"
    return told if len(apart) == 1 else f"{told} ({apart.min():+.3f} to {apart.max():+.3f})"


def _beside(row: Row, head: str) -> str:
    values = [told[head] for told in row.beside if head in told]
    if not values:
        return ""
    return f"{np.mean(values):.3f}" if head == BOUND else f"{np.mean(values):.0f}"


def chart(findings: Findings) -> RGB:
    """The axis's picture: lines where its variants have places, rows of dots where they have none."""
    axis, rows = findings.axis, [r for r in findings.rows if not r.error]
    title = f"{axis.title}: mIoU"
    if rows[0].variant.at is None:
        bounds = [
            float(np.mean([t[BOUND] for t in r.beside])) if BOUND in r.beside[0] else None for r in rows
        ]
        told = "mIoU; a tick: regions labelled perfectly" if BOUND in axis.columns else "mIoU"
        dots = [(r.variant.name, r.mean()) for r in rows]
        return range_chart(
            title, told, dots, rows.index(findings.usual), bounds if BOUND in axis.columns else None
        )
    names = dict.fromkeys(r.variant.line for r in rows)
    groups = {n: [r for r in rows if r.variant.line == n] for n in names}
    first = next(iter(groups.values()))
    places = [_place(r) for r in first]
    if len(groups) > 1:
        lines = [Line(n, np.stack([r.mean() for r in group], axis=1)) for n, group in groups.items()]
    else:
        parts = {"all": _any, "things": THINGS.__contains__, "stuff": lambda c: c not in THINGS}
        lines = [Line(n, np.stack([r.mean(part) for r in rows], axis=1)) for n, part in parts.items()]
    return line_chart(title, axis.along, places, lines, _place(findings.usual), axis.log)


def _place(row: Row) -> float:
    """Where a row stands in a picture of lines: its number of captions where these are what is varied."""
    assert row.variant.at is not None
    return row.beside[0]["Captions"] if row.variant.line else row.variant.at


def sheet(axis: Axis, world: World) -> RGB:
    """A few scenes of this world with their truth, as each of the axis's shown variants labels them."""
    colours, seen = palette(len(CLASSES)), set()
    shown = [v for v in axis.variants if v.name in axis.shown and not world.lacking(v)]
    rows = []
    for i, truth in enumerate(world.scenes[: 2 if axis.regions else 4]):
        cut, labelled = [Tile(truth.image, "scene")], [_tinted(truth.image, truth.labels, "truth")]
        if not axis.regions:
            labelled.insert(0, cut[0])
        seen |= set(np.unique(truth.labels).tolist())
        for variant in shown:
            labels, regions = world.label(variant, i)
            cut.append(Tile(draw_regions(truth.image, regions), variant.name.partition(" (")[0]))
            told = "" if axis.regions else f"{axis.what.strip('`')} {variant.name}"
            labelled.append(_tinted(truth.image, labels, told))
            seen |= set(np.unique(labels).tolist())
        rows += ([TileRow(cut)] if axis.regions else []) + [TileRow(labelled)]
    key = [(CLASSES[i], colours[i]) for i in sorted(seen)]
    return lay_page(axis.title, [Section(f"Scenes of seed {world.seed}", rows, key=key)], tile=128)


def _tinted(image: RGB, labels: npt.NDArray[Any], caption: str) -> Tile:
    return Tile(tint(image, labels.astype(np.int64), palette(len(CLASSES)), 0.75), caption)
