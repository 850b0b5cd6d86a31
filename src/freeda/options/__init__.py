"""Every default of the method, once: what the online and the offline stage can be asked to do."""

from __future__ import annotations

from .attribution import Attribution
from .collect import PACE, CollectOptions
from .ensemble import METHODS, DenseClip, Ensemble
from .exports import EXPORTS, export_kinds
from .naming import Naming
from .segment import ENCODING, VOCABULARY, Changes, SegmentOptions
from .settings import from_dict, parse_settings, to_dict
from .superpixels import Superpixels
from .templates import TEMPLATES
from .word_list import OTHER_WORDS

__all__ = [
    "ENCODING",
    "EXPORTS",
    "METHODS",
    "OTHER_WORDS",
    "PACE",
    "TEMPLATES",
    "VOCABULARY",
    "Attribution",
    "Changes",
    "CollectOptions",
    "DenseClip",
    "Ensemble",
    "Naming",
    "SegmentOptions",
    "Superpixels",
    "export_kinds",
    "from_dict",
    "parse_settings",
    "to_dict",
]
