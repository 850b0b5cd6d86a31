"""Where a data set comes from, in plain values: another process opens the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from .dataset import DataSet

MINIATURE = "miniature"


@dataclass(frozen=True)
class Origin:
    """A function that opens a data set, and what it is called with."""

    opener: str
    """ "package.module:function"."""
    arguments: Mapping[str, Any]
    """JSON values."""

    def open(self) -> DataSet:
        """The data set. Errors as the function's own."""
        module, _, name = self.opener.partition(":")
        dataset: DataSet = getattr(import_module(module), name)(**self.arguments)
        return dataset


def find_origin(
    name: str,
    data: str | Path | None = None,
    split: str | None = None,
    classes: str | Path | None = None,
    limit: int | None = None,
) -> Origin:
    """The data set of a name; `data` is the folder of its files, which all but "miniature" need.

    Raises InputError for an unknown name, where `data` is missing, and for what the miniature has not.
    """
    from .table import canonical

    name = canonical(name)
    if name == MINIATURE:
        for what, given in (("data", data), ("classes", classes)):
            if given is not None:
                raise InputError(f"{what} is {str(given)!r}: the miniature's scenes are drawn, leave it out")
        # Told by name: that room lies above this one, which knows nothing of it.
        return Origin("freeda.miniature.dataset:open_scenes", {"split": split, "limit": limit})
    if data is None:
        raise InputError(f"data set {name!r} needs the folder of its files: --data DIR (data=DIR)")
    return Origin(
        "freeda.evaluation.dataset:open_dataset",
        {
            "name": name,
            "data": str(data),
            "split": split,
            "classes": None if classes is None else str(classes),
        },
    )
