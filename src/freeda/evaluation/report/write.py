"""The report as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ...files import atomic_write_json, atomic_write_text, make_folder
from ...show import write_image
from ..folder import REPORT
from .bars import draw_bars
from .examples import draw_examples
from .figures import figures, ranked
from .markdown import page
from .matrix import draw_matrix

if TYPE_CHECKING:
    from ..dataset import DataSet
    from ..result import Evaluation

EXAMPLES = 5
"""So many of the worst and of the best images are drawn."""


def write_report(
    out: Path,
    result: Evaluation,
    dataset: DataSet,
    relabel: Callable[[int], NDArray[Any]] | None,
    examples: int = EXAMPLES,
) -> dict[str, Path]:
    """Write the report into the folder `out`; returns the paths by kind.

    Which they are says `folder.REPORT`: the confusion as a picture and as a table of pixels ("matrix", a row
    a true class), the classes, the worst and the best images, the text, and the figures as JSON, the last.
    `relabel(i)` gives the labels, (H, W) integers, of the data set's image i; it is called for `examples` of
    the worst and as many of the best images, and not at all if None: then there are no such pictures.
    Nor are there where too few images have a truth that counts.

    Each file appears whole or not at all. Raises InputError where writing or reading an image fails.
    """
    folder = make_folder(out)
    told, order = figures(result), ranked(result)
    title = result.dataset
    matrix = result.counts.confusion.matrix
    paths = {
        "confusion": write_image(
            folder / REPORT["confusion"],
            draw_matrix(f"{title}: what is taken for what", matrix, result.labels),
        ),
        "classes": write_image(
            folder / REPORT["classes"], draw_bars(f"{title}: every class", told["classes"], told["miou"])
        ),
    }
    if relabel is not None:
        n = min(examples, (len(order) + 1) // 2)
        for kind, rows in (("worst", order[:n]), ("best", order[n:][-n:][::-1] if n else [])):
            path = folder / REPORT[kind]
            if rows:
                head = f"{title}: the {kind} images"
                drawn = draw_examples(head, rows, result.labels, dataset, relabel)
                paths[kind] = write_image(path, drawn)
            else:
                path.unlink(missing_ok=True)  # of an earlier run, about other figures
    paths["matrix"] = atomic_write_text(folder / REPORT["matrix"], _csv(matrix, result.labels))
    by_index = {row["index"]: row for row in told["per_image"]}
    text = page(told, paths, [by_index[row.index] for row in order], result.caveats.brief())
    paths["markdown"] = atomic_write_text(folder / REPORT["markdown"], text)
    paths["json"] = atomic_write_json(folder / REPORT["json"], told)
    return paths


def _csv(matrix: NDArray[Any], names: tuple[str, ...]) -> str:
    """The confusion matrix: a row a true class, a column a predicted one, in pixels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["truth \\ prediction", *names])
    writer.writerows([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    return text.getvalue()
