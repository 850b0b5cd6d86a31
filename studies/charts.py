"""`python -m studies.charts docs/ablations.md`: the charts of a page of ablations, from the tables on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from freeda.errors import InputError, extra
from freeda.files import atomic_path
from freeda.show import palette

from .axes import AXES, BOUND, Axis
from .sweep import END, begin

SIZE = 9.6
"""Width of every chart, in hundreds of pixels."""
RED, BLUE, GREEN = (tuple(rgb / 255) for rgb in palette(4)[[0, 1, 3]])
INK, FAINT = "#20242c", "#6b7280"


@dataclass(frozen=True)
class Measured:
    """A row of an axis's table."""

    name: str
    values: dict[str, float]
    """Column -> figure."""
    low: float
    high: float
    """Least and greatest mIoU, paired with the preset's by seed: its mean plus the differences."""


def command(axis: Axis) -> str:
    """What makes an axis's table; its place on a page is named after it."""
    return f"python -m studies.ablations --only {axis.key}"


def rows_of(page: str, axis: Axis) -> list[Measured]:
    """The rows of an axis's table on a page, but those not measured; none without the preset's."""
    lines = re.findall(r"^\| (.*) \|$", page.partition(begin(command(axis)))[2].partition(END)[0], re.M)
    cells = [line.replace("**", "").split(" | ") for line in lines]
    if not cells:
        return []
    head, *rows = cells
    change = next(i for i, name in enumerate(head) if name.startswith("Difference"))
    known = [row for row in rows if re.fullmatch(r"[\d.]+", row[1])]
    usual = next((float(row[1]) for row in known if row[0] == axis.usual), 0.0)
    found: list[Measured] = []
    for row in known if usual else ():
        apart = [float(v) for v in re.findall(r"[+-][\d.]+", row[change])] or [0.0]
        values = {n: float(v) for n, v in zip(head, row, strict=True) if re.fullmatch(r"[\d.]+", v.strip())}
        found.append(Measured(row[0], values, usual + apart[-2:][0], usual + apart[-1]))
    return found


def draw_chart(axis: Axis, rows: list[Measured], path: Path) -> None:
    """A PNG of an axis's rows: lines where its variants have places, rows of dots where they have none."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(f"charts need matplotlib: {extra('studies')}") from None
    along = axis.variants[0].at is not None
    figure = Figure((SIZE, 4.2 if along else 1.3 + 0.26 * len(rows)), layout="constrained")
    ax = figure.add_subplot()
    ax.set_title(axis.title, loc="left", color=INK, fontsize=13, pad=10)
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
    ax.tick_params(length=0, colors=FAINT)
    draw_rows(ax, axis, rows)
    figure.legend(loc="outside lower center", ncols=5, frameon=False, labelcolor=INK)
    with atomic_path(path) as temp:
        figure.savefig(temp, format="png", dpi=100)


def draw_rows(ax: Any, axis: Axis, rows: list[Measured]) -> None:
    """Draw them on matplotlib's axes."""
    (_dots if axis.variants[0].at is None else _lines)(ax, axis, rows)


def _lines(ax: Any, axis: Axis, rows: list[Measured]) -> None:
    """mIoU along the axis: of its lines with their ranges, or of all classes, things and stuff."""
    variants = {v.name: v for v in axis.variants}
    places = {name: float(variant.at or 0) for name, variant in variants.items()}
    place = {r.name: r.values.get("Captions", places[r.name]) for r in rows}
    reach = "least to greatest difference from the preset"
    for name, colour in zip(dict.fromkeys(variants[r.name].line for r in rows), (RED, BLUE), strict=False):
        line = [r for r in rows if variants[r.name].line == name]
        at = [place[r.name] for r in line]
        band = {"color": colour, "alpha": 0.18, "lw": 0, "label": reach}
        ax.fill_between(at, [r.low for r in line], [r.high for r in line], **band)
        reach = ""
        ax.plot(at, [r.values["mIoU"] for r in line], "o-", color=colour, ms=5, label=name or "all classes")
    for part, colour in (("things", BLUE), ("stuff", GREEN)) if "" in {v.line for v in axis.variants} else ():
        ax.plot(list(place.values()), [r.values[part] for r in rows], "o-", color=colour, ms=5, label=part)
    ax.axvline(place[axis.usual], color=FAINT, ls="--", lw=1, label="the preset", zorder=0)
    if axis.log:
        ax.set_xscale("log")
    ticks = sorted(set(place.values()))
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    ax.set_xticks([], minor=True)
    ax.set_xlabel(axis.along, color=INK)
    ax.set_ylabel("mIoU (0 to 1)", color=INK)
    ax.set_ylim(0, 1)
    ax.grid(axis="y", color="#e2e5eb")


def _dots(ax: Any, axis: Axis, rows: list[Measured]) -> None:
    """A row a variant: its mIoU and range; a tick where regions that are labelled perfectly would be."""
    usual = next(r for r in rows if r.name == axis.usual)
    others = [r for r in rows if r is not usual]
    label = "another setting; bar: least to greatest difference from the preset"
    for kind, colour, chosen in (("the preset", RED, [usual]), (label, BLUE, others)):
        at = [len(rows) - rows.index(r) for r in chosen]
        mean = np.array([r.values["mIoU"] for r in chosen])
        reach = np.abs(np.array([[r.low for r in chosen], [r.high for r in chosen]]) - mean)
        ax.errorbar(mean, at, xerr=reach, fmt="o", color=colour, ms=7, capsize=3, label=kind)
    bounds = [(r.values[BOUND], len(rows) - i) for i, r in enumerate(rows) if BOUND in r.values]
    if bounds:
        ax.plot(*zip(*bounds, strict=True), "|", color=FAINT, ms=12, mew=2, label=BOUND.lower())
    ax.axvline(usual.values["mIoU"], color=RED, ls="--", lw=1, zorder=0)
    for i, row in enumerate(rows):
        text = f"{row.values['mIoU']:.3f}"
        ax.annotate(text, (1.01, len(rows) - i), xycoords=("axes fraction", "data"), va="center", color=INK)
    ax.set_yticks(range(len(rows), 0, -1), [r.name.replace("`", "") for r in rows], color=INK)
    ax.set_xlabel("mIoU (0 to 1)", color=INK)
    ax.grid(axis="x", color="#e2e5eb")


def draw_charts(page: Path, text: str | None = None) -> None:
    """Draw the chart of every axis that a page has a table of, beside the page; `text` is what it will hold.

    InputError where matplotlib is not installed.
    """
    text = page.read_text("utf-8") if text is None else text
    for axis in AXES:
        rows = rows_of(text, axis) if begin(command(axis)) in text else []
        if rows:
            draw_chart(axis, rows, page.with_name(f"{page.stem}-{axis.key}.png"))


def main(
    page: Annotated[Path, typer.Argument(help="A page with tables of studies.ablations.")],
) -> None:
    """Draw the charts of a page again, from the tables on it."""
    draw_charts(page)


if __name__ == "__main__":
    typer.run(main)
