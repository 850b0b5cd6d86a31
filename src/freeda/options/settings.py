"""Options as text: `k=64`, `superpixels.algorithm=slic`, as `freeda segment --set` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import Any

from .checks import kinds, read_text, require
from .segment import SegmentOptions, unknown_option


def parse_settings(settings: Sequence[str], base: SegmentOptions) -> SegmentOptions:
    """`base` with settings "name=value" applied together, a later one over an earlier one of its name.

    Fields of a nested dataclass are named with a dot. Lists are "a|b|c" or JSON; "none" stands for None.
    Raises InputError for text without "=", an unknown name, or a value of the wrong kind or out of range.
    """
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    known = kinds(SegmentOptions)
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        require(bool(equals and name), f"setting {setting!r} is not NAME=VALUE, such as k=64")
        outer, dot, inner = name.partition(".")
        if dot and is_dataclass(known.get(outer)):
            inside = kinds(known[outer])
            require(inner in inside, unknown_option(name, [f"{outer}.{n}" for n in inside]))
            nested.setdefault(outer, {})[inner] = read_text(name, text, inside[inner])
            continue
        require(name in known, unknown_option(name, known))
        require(
            not is_dataclass(known[name]), f"setting {setting!r}: name one of its fields: {name}.FIELD=VALUE"
        )
        # A template set's name is a word of its own, not a list.
        flat[name] = text.strip() if _is_name_of_set(name, text) else read_text(name, text, known[name])
    changed = {name: replace(getattr(base, name), **values) for name, values in nested.items()}
    return base.with_changes(**flat, **changed)


def _is_name_of_set(name: str, text: str) -> bool:
    return name == "templates" and "{}" not in text
