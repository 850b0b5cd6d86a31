"""The offline stage: captions are drawn, their nouns found in the pictures, and a bank made of them.

The package can be called: `freeda.collect(...)` is `freeda.collect.job.collect(...)`, so that the verb and
the room share one name. It loads no torch until it is called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import collect

    __all__ = ["collect"]


class _CallableRoom(ModuleType):
    """Importing `freeda.collect.job` binds the package to `freeda.collect`; calling it must still collect."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from .job import collect

        return collect(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "collect":
            from .job import collect

            return collect
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _CallableRoom
