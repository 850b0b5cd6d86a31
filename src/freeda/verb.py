"""A room that shares its name with a verb: `freeda.collect(...)` and `freeda.collect.job` are both there."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def make_callable(package: str, verb: str, homes: Mapping[str, str]) -> None:
    """Let an imported package be called as its function `verb`, its lazy names coming from its modules.

    `homes` maps a name to the module of the package that holds it. Importing any module of the package binds
    the package to its name in `freeda`, whose own lazy name is then out of reach: calling it must still work.
    """

    class Room(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(self, verb)(*args, **kwargs)

        def __getattr__(self, name: str) -> Any:
            if name not in homes:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            return getattr(import_module(f"{package}.{homes[name]}"), name)

    sys.modules[package].__class__ = Room
