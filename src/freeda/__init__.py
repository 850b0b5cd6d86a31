"""freeda: training-free open-vocabulary segmentation with a bank of generated references.

    import freeda
    model = freeda.load("miniature")
    result = model.segment("photo.jpg", ["cat", "sofa", "wooden floor"])

The public names are resolved when first used, so that importing freeda loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import FreedaError

if TYPE_CHECKING:
    from .bank import Bank
    from .collection.job import collect
    from .evaluation.job import evaluate
    from .model import FreeDA, load
    from .segment import Scene, Segmentation, Vocabulary

    __version__: str

__all__ = [
    "Bank",
    "FreeDA",
    "FreedaError",
    "Scene",
    "Segmentation",
    "Vocabulary",
    "__version__",
    "collect",
    "evaluate",
    "load",
]

_HOMES = {
    "load": "freeda.model",
    "FreeDA": "freeda.model",
    "collect": "freeda.collection.job",
    "evaluate": "freeda.evaluation.job",
    "Bank": "freeda.bank",
    "Vocabulary": "freeda.segment",
    "Scene": "freeda.segment",
    "Segmentation": "freeda.segment",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("freeda")
    if name not in _HOMES:
        raise AttributeError(f"module 'freeda' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
