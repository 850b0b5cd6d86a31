"""The lists of docs/options.md, read from the dataclasses themselves: `python -m freeda.options`."""

from __future__ import annotations

import ast
import inspect
import json
import re
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from .attribution import Attribution
from .checks import kinds
from .collect import CollectOptions
from .segment import SegmentOptions
from .superpixels import Superpixels
from .templates import TEMPLATES
from .words import OTHER_WORDS

_NAMED = {TEMPLATES["sub-imagenet-7"]: '"sub-imagenet-7"', OTHER_WORDS: f"{len(OTHER_WORDS)} common words"}


def lists() -> str:
    """All options as Markdown: one item a field with its default, its meaning and its source."""
    parts = (
        ("### The online stage", SegmentOptions),
        ("### Superpixels", Superpixels),
        ("### The offline stage", CollectOptions),
        ("### Attribution", Attribution),
    )
    return "\n\n".join(f"{heading}\n\n{_list(options)}" for heading, options in parts) + "\n"


def field_notes(options: type) -> dict[str, tuple[str, str]]:
    """Field name -> (meaning, source), from the text under the field and the bracket at its end."""
    body = next(n for n in ast.parse(inspect.getsource(options)).body if isinstance(n, ast.ClassDef)).body
    notes: dict[str, tuple[str, str]] = {}
    for node, below in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(below, ast.Expr):
            text = " ".join(str(ast.literal_eval(below.value)).split())
            found = re.fullmatch(r"(.*?)\s*\[([^\]]*)\]", text)
            notes[ast.unparse(node.target)] = (found[1], found[2]) if found else (text, "")
    return notes


def _list(options: type) -> str:
    notes = field_notes(options)
    lines = []
    for entry in fields(options):
        meaning, source = notes.get(entry.name, ("", ""))
        told = _choices(options, entry.name) + meaning + (f" [{source}]" if source not in ("", "ours") else "")
        lines.append(f"- `{entry.name}` = {_default(entry)}: {told}")
    return "\n".join(lines)


def _default(entry: Field[Any]) -> str:
    if entry.default is MISSING:
        return "below"
    if isinstance(entry.default, tuple) and entry.default in _NAMED:
        return _NAMED[entry.default]
    return "none" if entry.default is None else f"`{json.dumps(entry.default)}`"


def _choices(options: type, name: str) -> str:
    kind = kinds(options)[name]
    return ", ".join(f"`{c}`" for c in get_args(kind)) + ". " if get_origin(kind) is Literal else ""
