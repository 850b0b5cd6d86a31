"""The data sets that are known by name: classes, layout, and what the published protocol sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..options import Superpixels
from .layouts import benchmarks
from .layouts.files import Found

NAMES = Path(__file__).parent / "names"
"""Folder of the class lists: one plain benchmark name a line, in the order of the labels."""

BACKGROUND = {"background": "local"}
"""Option of data sets that have a background: FreeDA has three rules for it, and none is published as the one
of the benchmarks. [ours]
"""


@dataclass(frozen=True)
class Known:
    """A data set as the protocol knows it."""

    title: str
    lists: tuple[str, ...]
    """Its files in `NAMES`, one after the other."""
    superpixels: Superpixels
    """How windows are cut. [paper; where a background is counted, as without it: ours]"""
    images: int
    """How many images its usual split has, as published."""
    find: Callable[[Path, str, bool], Found]
    """(folder, split, background) -> its files. InputError that says what is missing."""
    split: str = "val"
    """The split that is evaluated if none is named."""
    background: bool = False
    """Whether the last label is "background"."""
    aliases: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in label order, without a background."""
        texts = [(NAMES / f"{name}.txt").read_text("utf-8") for name in self.lists]
        return tuple(line for text in texts for line in text.splitlines())

    @property
    def changes(self) -> dict[str, Any]:
        """Fields of SegmentOptions that the protocol sets."""
        return {"superpixels": self.superpixels, **(BACKGROUND if self.background else {})}


_VOC = Known(
    title="Pascal VOC 2012",
    lists=("voc",),
    superpixels=Superpixels(scale=100.0, sigma=0.7, min_size=20),
    images=1449,
    find=benchmarks.find_voc,
)
_CONTEXT = Known(
    title="Pascal Context",
    lists=("context",),
    superpixels=Superpixels(scale=100.0, sigma=1.0, min_size=20),
    images=5105,
    find=benchmarks.find_context,
)
_STUFF = Known(
    title="COCO-Stuff 164k",
    lists=("coco-things", "coco-stuff"),
    superpixels=Superpixels(scale=100.0, sigma=1.0, min_size=100),
    images=5000,
    find=benchmarks.find_stuff,
    split="val2017",
    aliases=("stuff", "coco-stuff", "cocostuff", "stuff164k"),
)
_OBJECT = replace(
    _STUFF,
    title="COCO-Object",
    lists=("coco-things",),
    find=benchmarks.find_objects,
    background=True,
    aliases=("coco-object", "cocoobject", "object81"),
)
_CITYSCAPES = Known(
    title="Cityscapes",
    lists=("cityscapes",),
    superpixels=Superpixels(scale=20.0, sigma=0.5, min_size=50),
    images=500,
    find=benchmarks.find_cityscapes,
    aliases=("cityscapes", "city"),
)
_ADE = Known(
    title="ADE20K",
    lists=("ade",),
    superpixels=Superpixels(scale=100.0, sigma=1.0, min_size=20),
    images=2000,
    find=benchmarks.find_ade,
    split="validation",
    aliases=("ade", "ade20k"),
)
DATASETS: dict[str, Known] = {
    "voc20": replace(_VOC, title="Pascal VOC 2012 without background", aliases=("voc",)),
    "voc21": replace(_VOC, background=True),
    "context59": replace(_CONTEXT, title="Pascal Context without background", aliases=("context", "pc59")),
    "context60": replace(_CONTEXT, background=True, aliases=("pc60",)),
    "stuff171": _STUFF,
    "object": _OBJECT,
    "cityscapes19": _CITYSCAPES,
    "ade150": _ADE,
}
"""Name -> benchmark. `folder` and `miniature` are data sets as well, but no benchmarks."""

OTHERS = ("folder", "miniature")


def canonical(name: str) -> str:
    """The name in `DATASETS` or `OTHERS` that `name` stands for, case, blanks and underscores aside.

    Raises InputError that lists all of them.
    """
    wanted = "-".join(name.strip().lower().replace("_", " ").split())
    aliases = {alias: own for own, known in DATASETS.items() for alias in known.aliases}
    found = aliases.get(wanted, wanted)
    if found not in (*DATASETS, *OTHERS):
        raise InputError(f"{name!r} is no data set that is known: {', '.join((*DATASETS, *OTHERS))}")
    return found
