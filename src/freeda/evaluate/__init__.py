"""How good label maps are: data sets, the published protocol, metrics, reports.

The package can be called: `freeda.evaluate(...)` is `freeda.evaluate.job.evaluate(...)`. Nothing is loaded
until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..verb import make_callable

if TYPE_CHECKING:
    from .dataset import DataSet, open_dataset
    from .evaluation import Evaluation, ImageRow
    from .job import evaluate
    from .metric import Confusion

    __all__ = ["Confusion", "DataSet", "Evaluation", "ImageRow", "evaluate", "open_dataset"]

make_callable(
    __name__,
    "evaluate",
    {
        "evaluate": "job",
        "Evaluation": "evaluation",
        "ImageRow": "evaluation",
        "DataSet": "dataset",
        "open_dataset": "dataset",
        "Confusion": "metric",
    },
)
