"""Segmentations as files that other tools read: `render` makes their bytes, `write_exports` writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from ...errors import InputError
from ...files import atomic_paths
from ...options.exports import EXPORTS, export_kinds, export_names
from ..export import jpeg, png
from ..overlay import label_map_image, overlay
from . import coco, cvat, vector
from .labelled import Labelled, check, detections

__all__ = ["Labelled", "detections", "render", "write_exports"]


def render(picture: Labelled, kind: str) -> dict[str, bytes]:
    """The files of one kind of export: bytes by file name.

    `kind` is one of `freeda.options.exports.EXPORTS` except "npz", which only a `Segmentation` can write.
    Raises InputError for another kind, an overlay without photograph, arrays that do not fit together, and
    as `vector.geojson` says.
    """
    export_kinds(kind)
    if kind not in _WRITERS:
        raise InputError(f"{kind!r} is written from a Segmentation only (Segmentation.save_npz)")
    check(picture)
    names = [f"{picture.stem}{suffix}" for suffix in EXPORTS[kind]]
    return dict(zip(names, _WRITERS[kind](picture), strict=True))


def write_exports(picture: Labelled, kinds: Iterable[str]) -> dict[str, Path]:
    """Write exports into `picture.folder`; the paths by kind (`export_names`). All files or none are new.

    Raises InputError as `render`, and where writing fails.
    """
    kinds = export_kinds(kinds)
    files = {name: data for kind in kinds for name, data in render(picture, kind).items()}
    with atomic_paths(*(picture.folder / name for name in files)) as temps:
        for temp, data in zip(temps, files.values(), strict=True):
            temp.write_bytes(data)
    return {kind: picture.folder / name for kind, name in export_names(picture.stem, kinds).items()}


def _labels(picture: Labelled) -> list[bytes]:
    return [png(label_map_image(picture.labels, picture.colours))]


def _overlay(picture: Labelled) -> list[bytes]:
    if picture.photo is None:
        raise InputError("an overlay needs the photograph, which was not kept (keep='labels')")
    drawn = overlay(picture.photo, picture.labels, picture.names, picture.colours, caveats=picture.caveats)
    return [jpeg(Image.fromarray(drawn))]


_WRITERS: dict[str, Callable[[Labelled], list[bytes]]] = {
    "labels": _labels,
    "overlay": _overlay,
    "svg": vector.svg,
    "coco": coco.classes,
    "coco-instances": coco.instances,
    "coco-panoptic": coco.panoptic,
    "labelme": vector.labelme,
    "yolo": vector.yolo,
    "cvat": cvat.masks,
    "geojson": vector.geojson,
}
