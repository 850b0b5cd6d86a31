"""Option values against their fields' types: one generic check, and one reading of text for them."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from math import inf
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..errors import InputError, shortened

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def require(good: bool, message: str) -> None:
    """Raise InputError with that message unless `good`."""
    if not good:
        raise InputError(message)


def require_slots(texts: Sequence[str], what: str, filled_with: str) -> None:
    """Raise InputError unless there is at least one of these texts, and each holds `{}` once."""
    good = len(texts) > 0 and all(text.count("{}") == 1 for text in texts)
    require(good, f"every {what} needs exactly one {{}} for the {filled_with}")


def unknown_option(name: str, known: Iterable[str]) -> str:
    """The message that `name` is none of the `known` options, with the likeliest one where there is one."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    said = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known)}"
    return f"unknown option {name!r}: {said}"


@dataclass(frozen=True)
class Range:
    """What a number may be, in a field's type: `Annotated[float, Range(0, 1)]`."""

    low: float
    high: float = inf
    open: bool = False
    """Whether the bounds themselves are left out."""

    def check(self, name: str, value: Any) -> None:
        """Raise InputError for a number outside; each of several is looked at, and None is none."""
        several = isinstance(value, tuple)
        name = f"an item of {name}" if several else name
        for one in value if several else (value,):
            good = one is None or (self.low < one < self.high if self.open else self.low <= one <= self.high)
            require(good, f"{name} is {one}: it must {self}")

    def __str__(self) -> str:
        if self.high == inf:
            return f"be above {self.low:g}" if self.open else f"be at least {self.low:g}"
        return f"lie between {self.low:g} and {self.high:g}" + ", neither of them" * self.open


@cache
def _ranges(options: Any) -> dict[str, Range]:
    hints = get_type_hints(options, include_extras=True)
    found = ((f.name, getattr(hints[f.name], "__metadata__", ())) for f in fields(options))
    return {name: one for name, told in found for one in told if isinstance(one, Range)}


@cache
def kinds(options: Any) -> dict[str, Any]:
    """Field name -> type, of an options dataclass (the class itself)."""
    hints = get_type_hints(options)
    return {field.name: hints[field.name] for field in fields(options)}


def check_types(options: Any, prefix: str = "") -> None:
    """Check every field of a frozen dataclass against its type and `Range`; called first in `__post_init__`.

    Whole numbers become floats and lists tuples where the field says so. Raises InputError naming the field.
    """
    for name, kind in kinds(options.__class__).items():
        object.__setattr__(options, name, _fit(prefix + name, getattr(options, name), kind))
    for name, bounds in _ranges(options.__class__).items():
        bounds.check(prefix + name, getattr(options, name))


def read_text(name: str, text: str, kind: Any) -> Any:
    """The value that `text` stands for in a field of that type; InputError where it stands for none.

    "none" is None where None is allowed; tuples are "a|b|c", numbers also "1,2,4", or a JSON list.
    """
    text = text.strip()
    inner = optional(kind)
    if inner is not None:
        return None if text.lower() == "none" else read_text(name, text, inner)
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if text.startswith("["):
            return _fit(name, _json_list(name, text), kind)
        parts = text.replace(",", "|").split("|") if item is int else text.split("|")
        return tuple(read_text(name, part, item) for part in parts if part.strip())
    if kind is bool:
        require(text.lower() in TRUE + FALSE, f"{name} is {text!r}: it must be true or false")
        return text.lower() in TRUE
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return _fit(name, text, kind)
    return text


def _json_list(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is {text!r}: not a JSON list ({error})") from error


def optional(kind: Any) -> Any:
    """T where the type is T | None, else None."""
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    return next(a for a in get_args(kind) if a is not types.NoneType)


def _fit(name: str, value: Any, kind: Any) -> Any:
    inner = optional(kind)
    if inner is not None:
        return None if value is None else _fit(name, value, inner)
    said = f"{name} is {shortened(value)}: it must be"
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        listed = ", ".join(map(repr, choices[:-1])) + f" or {choices[-1]!r}" * (len(choices) > 1)
        require(value in choices, f"{said} {listed or repr(choices[0])}")
        return value
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        require(isinstance(value, (list, tuple)), f"{said} a list")
        return tuple(_fit(f"an item of {name}", v, item) for v in value)
    if is_dataclass(kind):
        assert isinstance(kind, type)
        require(isinstance(value, kind), f"{said} a {kind.__name__}")
        return value
    if kind is float:
        good = isinstance(value, Real) and not isinstance(value, bool)
        require(good and abs(value) <= sys.float_info.max, f"{said} a finite number")  # NaN is not
        return float(value)
    if kind is int:
        require(isinstance(value, Integral) and not isinstance(value, bool), f"{said} a whole number")
        return int(value)
    what = {bool: "True or False", str: "a text"}[kind]
    require(isinstance(value, kind), f"{said} {what}")
    return value
