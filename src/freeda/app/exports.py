"""Files of a labelled photograph that the page offers: the library's exports, in the visitor's colours."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import atomic_path
from ..options import EXPORTS
from ..segment.result import Segmentation
from ..show.export import write_image
from ..show.overlay import overlay
from .engine import Open, safe_stem

_WORDS = {
    "overlay": "Overlay with legend (JPEG)",
    "labels": "Label map (palette PNG)",
    "svg": "Polygons (SVG)",
    "coco": "COCO (JSON, RLE)",
    "coco-instances": "COCO instances (JSON, RLE)",
    "coco-panoptic": "COCO panoptic (JSON and PNG)",
    "labelme": "LabelMe (JSON)",
    "yolo": "YOLO segmentation (text)",
    "geojson": "GeoJSON (map or pixels)",
    "npz": "Everything, for Python (npz)",
}
KINDS: dict[str, str] = {
    kind: _WORDS.get(kind, kind) for kind in sorted(EXPORTS, key=lambda kind: [*_WORDS, kind].index(kind))
}
"""What can be downloaded, and what the page calls it; the first is chosen unless told otherwise."""


def write(
    opened: Open,
    result: Segmentation,
    kind: str,
    folder: Path,
    colours: npt.NDArray[np.uint8],
    opacities: npt.NDArray[np.float32],
) -> Path:
    """Write one of `KINDS` of a photograph's result into `folder` and return its path (a zip of several).

    `colours` (n, 3) and `opacities` (n,), 0 to 1, are one a label. Raises InputError for another kind, and
    where a GeoTIFF's georeference cannot be kept.
    """
    stem = safe_stem(opened.name)
    if kind not in KINDS:
        raise InputError(f"there is no file of kind {kind!r}: choose one of {', '.join(KINDS)}")
    if kind == "overlay":
        picture = overlay(
            result.image, result.labels, result.names, colours, opacities, caveats=result.caveats
        )
        return write_image(folder / f"{stem}.overlay.jpg", picture)
    if kind == "npz":
        return result.save_npz(folder / f"{stem}.npz")
    from ..show.exports import Labelled, write_exports

    labelled = Labelled(result.labels, result.names, colours, result.photo, result.file, folder, stem, 0.0)
    done = write_exports(labelled, [kind])
    written = sorted(set(done.values()))
    if len(written) == 1 and written[0].is_file():
        return written[0]
    packed = folder / f"{stem}.{kind}.zip"
    with atomic_path(packed) as temp, zipfile.ZipFile(temp, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
            archive.write(path, path.relative_to(folder).as_posix())
    return packed
