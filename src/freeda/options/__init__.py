"""Every default of the method, once: what the online and the offline stage can be asked to do."""

from __future__ import annotations

from dataclasses import fields

from .collect import CollectOptions
from .segment import ENCODING, VOCABULARY, SegmentOptions
from .settings import parse_settings
from .superpixels import Superpixels
from .templates import TEMPLATES
from .words import OTHER_WORDS

__all__ = [
    "ENCODING",
    "OTHER_WORDS",
    "TEMPLATES",
    "VOCABULARY",
    "CollectOptions",
    "SegmentOptions",
    "Superpixels",
    "parse_settings",
    "to_dict",
]


def to_dict(options: SegmentOptions | CollectOptions | Superpixels) -> dict[str, object]:
    """The options as JSON-ready plain values (nested dataclasses become dicts, tuples lists)."""
    out: dict[str, object] = {}
    for f in fields(options):
        value = getattr(options, f.name)
        out[f.name] = (
            to_dict(value)
            if isinstance(value, Superpixels)
            else (list(value) if isinstance(value, tuple) else value)
        )
    return out
