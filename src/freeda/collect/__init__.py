"""The offline stage: captions are drawn, their nouns found in the pictures, and a bank made of them.

The package can be called: `freeda.collect(...)` is `freeda.collect.job.collect(...)`, so that the verb and
the room share one name. It loads no torch until it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..verb import make_callable

if TYPE_CHECKING:
    from .job import collect

    __all__ = ["collect"]

make_callable(__name__, "collect", {"collect": "job"})
