"""Options as text (`k=64`, `superpixels.algorithm=slic`, as `--set` takes them) and as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .checks import kinds, optional, read_text, require, unknown_option

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


def parse_settings(settings: Sequence[str], base: Options) -> Options:
    """`base` with settings "name=value" applied together, a later one over an earlier one of its name.

    `base` is any options dataclass. Fields of a nested dataclass are named with a dot. Lists are "a|b|c" or
    JSON; "none" stands for None.
    Raises InputError for text without "=", an unknown name, or a value of the wrong kind or out of range.
    """
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    known = kinds(type(base))
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        require(bool(equals and name), f"setting {setting!r} is not NAME=VALUE, such as {_example(base)}")
        outer, dot, inner = name.partition(".")
        if dot and is_dataclass(part := optional(known.get(outer)) or known.get(outer)):
            inside: dict[str, Any] = kinds(part)  # type: ignore[arg-type]
            require(inner in inside, unknown_option(name, [f"{outer}.{n}" for n in inside]))
            nested.setdefault(outer, {})[inner] = read_text(name, text, inside[inner])
            continue
        require(name in known, unknown_option(name, known))
        require(
            not is_dataclass(optional(known[name]) or known[name]) or text.strip().lower() == "none",
            f"setting {setting!r}: name one of its fields: {name}.FIELD=VALUE",
        )
        # A template set's name is a word of its own, not a list.
        flat[name] = text.strip() if _is_name_of_set(name, text) else read_text(name, text, known[name])
    changed = {
        name: replace(getattr(base, name) or optional(known[name])(), **values)
        for name, values in nested.items()
    }
    return replace(base, **flat, **changed)


def to_dict(options: DataclassInstance) -> dict[str, Any]:
    """The options as JSON-ready plain values (nested dataclasses become dicts, tuples lists)."""
    return {f.name: _plain(getattr(options, f.name)) for f in fields(options)}


def from_dict(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """The options dataclass that `to_dict` made plain; fields left out take their defaults.

    Raises InputError for an unknown field, or a value of the wrong kind or out of range.
    """
    known = kinds(kind)
    for name in values:
        require(name in known, unknown_option(name, known))
    return kind(**{name: _of_kind(known[name], value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _of_kind(kind: Any, value: Any) -> Any:
    kind = optional(kind) or kind
    nested = isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping)
    return from_dict(kind, value) if nested else value


def _is_name_of_set(name: str, text: str) -> bool:
    return name == "templates" and "{}" not in text


def _example(options: DataclassInstance) -> str:
    """A setting that this kind of options has."""
    return next(
        f"{f.name}={getattr(options, f.name)}"
        for f in fields(options)
        if type(getattr(options, f.name)) in (int, float)
    )
