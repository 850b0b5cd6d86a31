"""The report on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...errors import printable
from .figures import best_first, ends, figures, labels_told, share

if TYPE_CHECKING:
    from ..result import Evaluation

MANY = 30
"""From more classes than this, only the worst and the best are shown."""
_EACH = 8


def print_report(result: Evaluation, console: Console | None = None) -> None:
    """Print the whole metrics, the sizes and the classes; of many classes the worst and the best."""
    told = figures(result)
    console = console or Console()
    images = told["images"]
    title = f"{told['dataset']}: {images:,} image{'' if images == 1 else 's'}, labels: {labels_told(told)}"
    console.print(Text(printable(title), style="bold"), soft_wrap=True)
    for line in result.caveats.brief():
        console.print(Text(printable(line), style="yellow"), soft_wrap=True)
    for table in (_whole(told), _sizes(told), _classes(told)):
        console.print(table)


def _whole(told: dict[str, Any]) -> Table:
    table = _table("", "metric", "value")
    for name, key in METRICS:
        table.add_row(name, share(told[key]), style="bold" if key == "miou" else "")
    if told["seconds_an_image"] is not None:
        table.add_row("seconds an image (median)", f"{told['seconds_an_image']:.3g}", style="dim")
    if told["peak_memory"] is not None:
        table.add_row("memory at its peak", f"{told['peak_memory'] / 2**30:.2f} GiB", style="dim")
    return table


def _sizes(told: dict[str, Any]) -> Table:
    table = _table("by size of the component", "size", "mIoU", "recall", "components", "pixels")
    for row in told["by_size"]:
        table.add_row(
            row["size"],
            share(row["miou"]),
            share(row["recall"]),
            f"{row['components']:,}",
            f"{row['pixels']:,}",
        )
    return table


def _classes(told: dict[str, Any]) -> Table:
    classes = told["classes"]
    title = "classes"
    groups = [best_first(classes)]
    if len(classes) > MANY:
        worst, best = ends(classes, _EACH)
        title, groups = f"the best and the worst of {len(classes)} classes", [best, worst[::-1]]
    table = _table(title, "class", "IoU", "accuracy", "boundary IoU", "true pixels")
    for group in groups:
        for c in group:
            table.add_row(
                Text(printable(c["name"])),
                share(c["iou"]),
                share(c["accuracy"]),
                share(c["boundary_iou"]),
                f"{c['pixels']:,}",
            )
        table.add_section()
    return table


METRICS = (
    ("mIoU", "miou"),
    ("pixel accuracy", "pixel_accuracy"),
    ("mean class accuracy", "mean_accuracy"),
    ("frequency-weighted IoU", "frequency_weighted_iou"),
    ("boundary IoU", "boundary_iou"),
)
"""What is told of the whole data set: name and key in the figures."""


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=Text(printable(title)) if title else None, title_justify="left")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table
