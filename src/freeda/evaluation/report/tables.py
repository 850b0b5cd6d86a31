"""The report as tables on the screen, and as a Markdown page that reads well with 2 classes and with 200."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...errors import printable
from ..result import Evaluation, best_first, ends, figures, flat, labels_told, share

MANY = 30
"""From more classes than this, only the worst and the best are shown."""
_ON_SCREEN, _ON_PAGE = 8, 10
_METRICS = (
    ("mIoU", "miou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("mean class accuracy", "mean_accuracy"),
    ("frequency-weighted IoU", "frequency_weighted_iou"),
    ("boundary IoU", "boundary_iou"),
)
_CLASS = ("class", "IoU", "accuracy", "boundary IoU", "true pixels")

Rows = Sequence[Sequence[str]]


def _metrics(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, share(told[key])) for name, key in _METRICS]


def _costs(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if told["seconds_an_image"] is not None:
        rows.append(("seconds an image (median)", f"{told['seconds_an_image']:.3g}"))
    if told["peak_memory"] is not None:
        rows.append(("memory at its peak", f"{told['peak_memory'] / 2**30:.2f} GiB"))
    return rows


def _sizes(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (s["size"], share(s["miou"]), share(s["recall"]), f"{s['components']:,}", f"{s['pixels']:,}")
        for s in told["by_size"]
    ]


def _classes(classes: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (c["name"], share(c["iou"]), share(c["accuracy"]), share(c["boundary_iou"]), f"{c['pixels']:,}")
        for c in classes
    ]


def print_report(result: Evaluation, console: Console | None = None) -> None:
    """Print the whole metrics, the sizes and the classes; of many classes the worst and the best."""
    told = figures(result)
    console = console or Console()
    images, classes = told["images"], told["classes"]
    title = f"{told['dataset']}: {images:,} image{'' if images == 1 else 's'}, labels: {labels_told(told)}"
    console.print(Text(printable(title), style="bold"), soft_wrap=True)
    for line in result.caveats.brief():
        console.print(Text(printable(line), style="yellow"), soft_wrap=True)
    whole = _screen("", ("metric", "value"))
    for i, row in enumerate(_metrics(told)):
        whole.add_row(*row, style="" if i else "bold")
    for row in _costs(told):
        whole.add_row(*row, style="dim")
    console.print(whole)
    head = ("size", "mIoU", "recall", "components", "pixels")
    console.print(_screen("by size of the component", head, _sizes(told)))
    if len(classes) <= MANY:
        console.print(_screen("classes", _CLASS, _classes(best_first(classes))))
        return
    worst, best = ends(classes, _ON_SCREEN)
    title = f"the best and the worst of {len(classes)} classes"
    console.print(_screen(title, _CLASS, _classes(best), _classes(worst[::-1])))


def _screen(title: str, head: Sequence[str], *groups: Rows) -> Table:
    """A table of sections; its first column holds names that nobody has checked."""
    table = Table(title=Text(title) if title else None, title_justify="left")
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for group in groups:
        for name, *numbers in group:
            table.add_row(Text(printable(name)), *numbers)
        table.add_section()
    return table


def page(told: Mapping[str, Any], pictures: Mapping[str, Path], worst: Rows, warnings: Sequence[str]) -> str:
    """Markdown of `figures`.

    `pictures` by kind as `write_report` names them, `worst` the images (name, mIoU, pixel accuracy), worst
    first; `warnings` stand above the figures.
    """
    (first, best), *metrics = _metrics(told)
    counts = [(what, f"{told[key]:,}") for what, key in (("images", "images"), ("pixels counted", "pixels"))]
    whole = [(f"**{first}**", f"**{best}**"), *metrics, *counts, ("labels", labels_told(told)), *_costs(told)]
    parts = [
        f"# {escape(told['dataset'])}: mIoU {best}",
        *(f"> {escape(line)}" for line in warnings),
        _table(("", ""), whole),
        "## By size",
        "Small components have fewer than 32 × 32 pixels, large ones 96 × 96 or more.",
        _table(("component", "mIoU", "recall", "components", "true pixels"), _sizes(told)),
        "## Classes",
        _picture(pictures, "classes", "IoU of every class"),
        *_page_of_classes(told["classes"]),
        "## What is taken for what",
        _picture(pictures, "confusion", "confusion matrix"),
        _mistakes(told["mistakes"]),
    ]
    if worst:
        parts += [
            "## Images",
            "The worst, by mIoU over the classes in truth or prediction:",
            _table(("image", "mIoU", "pixel accuracy"), _escaped(worst[:_ON_PAGE])),
            _picture(pictures, "worst", "the worst images"),
            _picture(pictures, "best", "the best images"),
        ]
    settings = [
        (escape(name), escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
        for name, value in flat(told["settings"])
    ]
    if settings:
        parts += ["## Settings", _table(("setting", "value"), settings, "---|")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _page_of_classes(classes: Sequence[dict[str, Any]]) -> list[str]:
    def table(of: Iterable[Mapping[str, Any]]) -> str:
        return _table(_CLASS, _escaped(_classes(of)))

    if len(classes) <= MANY:
        return [table(best_first(classes))]
    worst, best = ends(classes, _ON_PAGE)
    return [
        f"The {len(best)} best of those in the truth:",
        table(best),
        f"The {len(worst)} worst:",
        table(worst),
        f"<details><summary>All {len(classes)} classes</summary>",
        table(classes),
        "</details>",
    ]


def _mistakes(mistakes: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            escape(m["truth"]),
            escape(m["taken_for"]),
            f"{100 * m['share_of_truth']:.1f} %",
            f"{100 * m['share_of_mistakes']:.1f} %",
        )
        for m in mistakes
    ]
    head = ("truth", "taken for", "of the truth", "of all mistakes")
    return _table(head, rows) if rows else "There is no mistake."


def escape(text: str) -> str:
    """`text` in one line of which Markdown makes nothing but itself, in a table too."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&])", r"\\\1", printable(text))


def _escaped(rows: Rows) -> Rows:
    """Rows that begin with a name, as Markdown."""
    return [(escape(name), *numbers) for name, *numbers in rows]


def _table(head: Sequence[str], rows: Rows, others: str = "---:|") -> str:
    """The first column to the left, the others as told: numbers to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + others * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _picture(pictures: Mapping[str, Path], kind: str, told: str) -> str:
    return f"![{told}]({pictures[kind].name})" if kind in pictures else ""
