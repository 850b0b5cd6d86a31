"""An evaluation as figures on the screen, JSON, Markdown and pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ...files import atomic_write_json, atomic_write_text, make_folder
from ...show import write_image
from ..part import REPORT
from ..result import Evaluation, figures, share
from .charts import draw_bars, draw_matrix
from .examples import draw_examples
from .tables import page, print_report

if TYPE_CHECKING:
    from ..dataset import DataSet

__all__ = ["figures", "print_report", "write_report"]

EXAMPLES = 5
"""So many of the worst and of the best images are drawn."""


def write_report(
    out: Path,
    result: Evaluation,
    dataset: DataSet,
    relabel: Callable[[int], NDArray[Any]] | None,
) -> dict[str, Path]:
    """Write the report into the folder `out`; returns the paths by kind.

    Which they are says `part.REPORT`: the confusion as a picture and as a table of pixels ("matrix", a row
    a true class), the classes, the worst and the best images, the text, and the figures as JSON, the last.
    `relabel(i)` gives the labels, (H, W) integers, of the data set's image i; it is called for `EXAMPLES` of
    the worst and as many of the best images, and not at all if None: then there are no such pictures.
    Nor are there where too few images have a truth that counts.

    Each file appears whole or not at all. Raises InputError where writing or reading an image fails.
    """
    folder = make_folder(out)
    told, order = figures(result), result.ranked()
    title, matrix = result.dataset, result.counts.matrix
    pictures = {
        "confusion": draw_matrix(f"{title}: what is taken for what", matrix, result.labels),
        "classes": draw_bars(f"{title}: every class", told["classes"], told["miou"]),
    }
    paths = {kind: write_image(folder / REPORT[kind], drawn) for kind, drawn in pictures.items()}
    if relabel is not None:
        n = min(EXAMPLES, (len(order) + 1) // 2)
        for kind, rows in (("worst", order[:n]), ("best", order[n:][-n:][::-1] if n else [])):
            path = folder / REPORT[kind]
            if rows:
                head = f"{title}: the {kind} images"
                paths[kind] = write_image(path, draw_examples(head, rows, result.labels, dataset, relabel))
            else:
                path.unlink(missing_ok=True)  # of an earlier run, about other figures
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["truth \\ prediction", *result.labels])
    writer.writerows([name, *row] for name, row in zip(result.labels, matrix.tolist(), strict=True))
    paths["matrix"] = atomic_write_text(folder / REPORT["matrix"], table.getvalue())
    worst = [(row.name, share(row.miou), share(row.pixel_accuracy)) for row in order]
    text = page(told, paths, worst, result.caveats.brief())
    paths["markdown"] = atomic_write_text(folder / REPORT["markdown"], text)
    paths["json"] = atomic_write_json(folder / REPORT["json"], told)
    return paths
