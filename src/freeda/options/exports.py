"""What a segmentation can be written as, for other tools to read."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import InputError

EXPORTS: dict[str, tuple[str, ...]] = {
    "labels": (".labels.png",),
    "overlay": (".overlay.jpg",),
    "svg": (".svg",),
    "coco": (".coco.json",),
    "coco-instances": (".instances.json",),
    "coco-panoptic": (".panoptic.png", ".panoptic.json"),
    "labelme": (".labelme.json",),
    "yolo": (".txt",),
    "cvat": (".cvat.xml",),
    "geojson": (".geojson",),
    "npz": (".npz",),
}
"""Each kind and how its files' names end, after the photograph's stem; docs/exports.md tells the rest."""
DATASETS: dict[str, str] = {
    **dict.fromkeys(("labels", "coco", "coco-instances", "coco-panoptic", "cvat"), "images"),
    "labelme": ".",
    "yolo": "images/train",
}
"""Kinds of whole data sets, each with the folder of its photographs."""
PICTURES = ("labels", "overlay")
"""Kinds that are always written, beside a photograph's record."""
RECORD, FORMAT = ".json", "freeda-result"
"""How the record's name ends, and what its "format" says."""

EXPLANATION = ".explain-{x}-{y}.png"
"""How the name of the picture ends that explains a pixel."""
_EXPLANATION = re.compile(EXPLANATION.format(x=r"\d+", y=r"\d+").replace(".", r"\.") + "$")


def is_own(name: str) -> bool:
    """Whether a file of that name is one of ours by its ending: no photograph, whatever lies in a folder."""
    pictures = (end for ends in EXPORTS.values() for end in ends if end.endswith((".png", ".jpg")))
    return name.endswith(tuple(pictures)) or _EXPLANATION.search(name) is not None


def export_kinds(kinds: str | Iterable[str]) -> tuple[str, ...]:
    """The kinds asked for, each once. Raises InputError for one that does not exist."""
    if not isinstance(kinds, Iterable):
        raise InputError(f"exports are {kinds!r}: give names such as 'svg', or a list of them")
    return _each_once(kinds, EXPORTS, "export")


def dataset_kinds(kinds: str | Iterable[str]) -> tuple[str, ...]:
    """The same for data sets."""
    return _each_once(kinds, DATASETS, "data set")


def _each_once(kinds: str | Iterable[str], known: Iterable[str], what: str) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys([kinds] if isinstance(kinds, str) else kinds))
    for kind in wanted:
        if kind not in known:
            raise InputError(f"there is no {what} {kind!r}: use one of {', '.join(known)}")
    return wanted


def export_names(stem: str, kinds: Iterable[str]) -> dict[str, str]:
    """File names by kind; a second file of a kind goes by the kind and its suffix ("coco-panoptic.json")."""
    return {
        kind if not i else f"{kind}{suffix[suffix.rindex('.') :]}": f"{stem}{suffix}"
        for kind in kinds
        for i, suffix in enumerate(EXPORTS[kind])
    }
