"""The page's own folder, from which alone files are served, and the files of a result in it."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from ..files import atomic_path
from ..segment.result import Segmentation
from ..show.export import write_image
from ..show.exports import Labelled, write_exports
from ..show.overlay import overlay
from .engine import Open, safe_stem
from .limits import Limits

_VARIABLE = "GRADIO_TEMP_DIR"
_PAUSE = 20
"""Seconds from one tidying to the next."""


class OwnFolder:
    """A new private folder of one server: a thread keeps it small, and `remove` removes it with all in it."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Gradio is told of it, so this must come before the page is built."""
        self._limits, self._over = limits or Limits(), threading.Event()
        self.path = Path(tempfile.mkdtemp(prefix="freeda-app-")).resolve()
        self._before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = str(self.path)
        threading.Thread(target=self._tidying, name="freeda-app-tidying", daemon=True).start()

    def new(self) -> Path:
        """A new folder inside it, for one file to download."""
        return Path(tempfile.mkdtemp(prefix="file-", dir=self.path))

    def upload(self, path: str) -> Path:
        """An upload's path. Raises InputError for one that is not in this folder."""
        found = Path(path)
        if "\0" in path or not found.is_absolute() or not found.resolve().is_relative_to(self.path):
            raise InputError("this is no photograph that was sent to the page")
        if not found.is_file():
            raise InputError("the photograph that was sent is gone: send it again")
        return found.resolve()

    def tidy(self, now: float | None = None) -> None:
        """Remove files that are too old, the oldest while all together are too large, and empty folders.

        `now` is in seconds since the epoch. The bounds are `Limits.minutes` and `Limits.folder_megabytes`.
        """
        now = time.time() if now is None else now
        found = []
        for path in self.path.rglob("*"):
            with suppress(OSError):  # somebody else was faster
                if path.is_file() or path.is_symlink():
                    told = path.lstat()
                    found.append((told.st_mtime, told.st_size, path))
                elif path.stat().st_mtime < now - 60:  # younger ones may be about to be filled
                    path.rmdir()  # fails, as it should, unless it is empty
        total, most = 0, self._limits.folder_megabytes * 1_000_000
        for changed, size, path in sorted(found, reverse=True):
            total += size
            if total > most or changed < now - 60 * self._limits.minutes:
                with suppress(OSError):
                    path.unlink()

    def _tidying(self) -> None:
        while not self._over.wait(_PAUSE):
            with suppress(OSError):  # a folder went while it was listed, as all do when the page ends
                self.tidy()

    def remove(self) -> None:
        """Remove the folder; Gradio is told of whatever it knew before."""
        self._over.set()
        shutil.rmtree(self.path, ignore_errors=True)
        if os.environ.get(_VARIABLE) == str(self.path):
            os.environ.pop(_VARIABLE)
            if self._before is not None:
                os.environ[_VARIABLE] = self._before


KINDS = {
    "overlay": "Overlay with legend (JPEG)",
    "labels": "Label map (palette PNG)",
    "svg": "Polygons (SVG)",
    "coco": "COCO (JSON, RLE)",
    "coco-instances": "COCO instances (JSON, RLE)",
    "coco-panoptic": "COCO panoptic (JSON and PNG)",
    "labelme": "LabelMe (JSON)",
    "yolo": "YOLO segmentation (text)",
    "cvat": "CVAT for images (XML)",
    "geojson": "GeoJSON (map or pixels)",
    "npz": "Everything, for Python (npz)",
}
"""What can be downloaded, and what the page calls it; the first is chosen unless told otherwise."""


def write_result(
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
