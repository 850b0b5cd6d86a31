"""The data sets that are known by name: classes, layout, and what the published protocol sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..options import Superpixels
from .layouts.coco import find_objects, find_stuff
from .layouts.files import Found
from .layouts.others import find_ade, find_cityscapes
from .layouts.pascal import find_context, find_voc

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
    background: bool
    """Whether the last label is "background"."""
    superpixels: Superpixels
    """How windows are cut. [paper; where a background is counted, as without it: ours]"""
    split: str
    """The split that is evaluated if none is named."""
    images: int
    """How many images its usual split has, as published."""
    find: Callable[[Path, str, bool], Found]
    """(folder, split, background) -> its files. InputError that says what is missing."""
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


_VOC = Superpixels(scale=100.0, sigma=0.7, min_size=20)
_CONTEXT = Superpixels(scale=100.0, sigma=1.0, min_size=20)
_STUFF = Superpixels(scale=100.0, sigma=1.0, min_size=100)
_CITYSCAPES = Superpixels(scale=20.0, sigma=0.5, min_size=50)
_ADE = Superpixels(scale=100.0, sigma=1.0, min_size=20)

DATASETS: dict[str, Known] = {
    "voc20": Known(
        title="Pascal VOC 2012 without background",
        lists=("voc",),
        background=False,
        superpixels=_VOC,
        split="val",
        images=1449,
        find=find_voc,
        aliases=("voc",),
    ),
    "voc21": Known(
        title="Pascal VOC 2012",
        lists=("voc",),
        background=True,
        superpixels=_VOC,
        split="val",
        images=1449,
        find=find_voc,
    ),
    "context59": Known(
        title="Pascal Context without background",
        lists=("context",),
        background=False,
        superpixels=_CONTEXT,
        split="val",
        images=5105,
        find=find_context,
        aliases=("context", "pc59"),
    ),
    "context60": Known(
        title="Pascal Context",
        lists=("context",),
        background=True,
        superpixels=_CONTEXT,
        split="val",
        images=5105,
        find=find_context,
        aliases=("pc60",),
    ),
    "stuff171": Known(
        title="COCO-Stuff 164k",
        lists=("coco-things", "coco-stuff"),
        background=False,
        superpixels=_STUFF,
        split="val2017",
        images=5000,
        find=find_stuff,
        aliases=("stuff", "coco-stuff", "cocostuff", "stuff164k"),
    ),
    "object": Known(
        title="COCO-Object",
        lists=("coco-things",),
        background=True,
        superpixels=_STUFF,
        split="val2017",
        images=5000,
        find=find_objects,
        aliases=("coco-object", "cocoobject", "object81"),
    ),
    "cityscapes19": Known(
        title="Cityscapes",
        lists=("cityscapes",),
        background=False,
        superpixels=_CITYSCAPES,
        split="val",
        images=500,
        find=find_cityscapes,
        aliases=("cityscapes", "city"),
    ),
    "ade150": Known(
        title="ADE20K",
        lists=("ade",),
        background=False,
        superpixels=_ADE,
        split="validation",
        images=2000,
        find=find_ade,
        aliases=("ade", "ade20k"),
    ),
}
"""Name -> benchmark. `folder` and `miniature` are data sets as well, but no benchmarks."""

OTHERS = ("folder", "miniature")


def canonical(name: str) -> str:
    """The name in `DATASETS` or `OTHERS` that `name` stands for, case, blanks and underscores aside.

    Raises InputError that lists all of them.
    """
    wanted = "-".join(name.strip().lower().replace("_", " ").split())
    for own, known in DATASETS.items():
        if wanted in (own, *known.aliases):
            return own
    if wanted in OTHERS:
        return wanted
    raise InputError(f"{name!r} is no data set that is known: {', '.join((*DATASETS, *OTHERS))}")
