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
from .ensemble import DenseClip, Ensemble
from .naming import Naming
from .segment import SegmentOptions
from .superpixels import Superpixels
from .templates import TEMPLATES


def lists() -> str:
    """All options as Markdown: one item a field with its default, its meaning and its source."""
    parts = (
        ("### The online stage", SegmentOptions),
        ("### Superpixels", Superpixels),
        ("### Ensemble", Ensemble),
        ("### Dense CLIP", DenseClip),
        ("### Naming", Naming),
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
        source = f" [{source}]" if source not in ("", "ours") else ""
        lines.append(f"- {_default(entry)}: {_choices(options, entry.name)}{meaning}{source}")
    return "\n".join(lines)


def _default(entry: Field[Any]) -> str:
    """Name and default, as `--set` takes them."""
    value = entry.default
    if value is MISSING:
        return f"`{entry.name}`"
    if isinstance(value, tuple) and isinstance(value[0], str) and value != TEMPLATES["sub-imagenet-7"]:
        return f'`{entry.name}` ({len(value)}, such as "{value[0]}")'
    if isinstance(value, tuple):
        value = "sub-imagenet-7" if isinstance(value[0], str) else ",".join(map(str, value))
    told = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    return f"`{entry.name}={told}`"


def _choices(options: type, name: str) -> str:
    kind = kinds(options)[name]
    return ", ".join(f"`{c}`" for c in get_args(kind)) + ". " if get_origin(kind) is Literal else ""
