"""Files of one picture or of a whole workspace, written behind everybody else, with progress and cancel."""

from __future__ import annotations

import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import told_by
from ..files import atomic_path
from ..options.exports import DATASETS
from ..segment.upsample import enlarged
from ..show.exports import Labelled, write_exports
from ..show.exports.folder import export_folder
from ..source_file import SourceFile
from .limits import Refused, Shelf
from .photographs import file_of, read, safe_stem
from .studio import Cancelled, Studio
from .workspace import Picture, Workspace

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
_JOBS = 32
_AT_ONCE = 4
"""Exports of one workspace that may be unfinished."""


@dataclass
class Job:
    """An export that is being written."""

    workspace: str
    kind: str
    of: int
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    done: int = 0
    path: Path | None = None
    """The file, once it is there."""
    error: str | None = None
    cancelled: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.cancelled or self.path is not None or self.error is not None

    def told(self) -> dict[str, Any]:
        """As a workspace tells of its work."""
        pace = (time.monotonic() - self.began) / self.done if self.done else None
        left = None if pace is None else round(pace * (self.of - self.done), 1)
        return {"what": "exporting", "done": self.done, "of": self.of, "seconds_left": left, "job": self.id}


class Exporter:
    """Writes exports, one at a time, into a folder that it keeps small."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        seconds = 60.0 * studio.limits.minutes
        self._jobs: Shelf[Job] = Shelf(_JOBS, seconds, dropped=self._drop)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="freeda-export")

    def close(self) -> None:
        """Give up what is unfinished."""
        for job in self._jobs.values():
            job.cancelled = True
        self._threads.shutdown(wait=True, cancel_futures=True)

    def begin(self, ws: Workspace, kind: str, accepted_only: bool, picture: str | None) -> Job:
        """Begin an export. Raises InputError for another kind, Refused where there is nothing to write."""
        if kind not in KINDS:
            raise Refused(400, f"there is no file of kind {kind[:40]!r}: choose one of {', '.join(KINDS)}")
        with ws.lock:
            accepted = ws.state.accepted()
            chosen = [ws.picture(picture)] if picture is not None else list(ws.pictures.values())
            chosen = [one for one in chosen if not one.error and (not accepted_only or one.id in accepted)]
        if not chosen:
            raise Refused(
                409, "no picture is accepted yet" if accepted_only else "there is no picture to write"
            )
        if sum(job.workspace == ws.id and not job.over for job in self._jobs.values()) >= _AT_ONCE:
            raise Refused(429, "exports are being written: wait for them, or cancel one")
        job = Job(ws.id, kind, len(chosen))
        self._jobs.put(job.id, job)
        ws.job = lambda: self._first(ws)
        ws.changed()
        self._threads.submit(self._run, ws, job, chosen, picture is not None)
        return job

    def job(self, ws: Workspace, id: str) -> Job:
        """Raises Refused (404) where there is none (any more)."""
        found = self._jobs.get(id)
        if found is None or found.workspace != ws.id:
            raise Refused(404, "there is no such export (any more)")
        return found

    def cancel(self, ws: Workspace, id: str) -> None:
        """Stop an export, and forget its file."""
        self.job(ws, id).cancelled = True
        self._jobs.drop(id)
        ws.changed()

    def cancel_all(self, ws: Workspace) -> None:
        """Stop every export of a workspace that is unfinished."""
        for job in self._jobs.values():
            if job.workspace == ws.id and not job.over:
                self.cancel(ws, job.id)

    def _make_room(self) -> None:
        """Let the oldest files go while all are too large, the last one excepted."""
        left = self._studio.limits.folder_megabytes * 1_000_000
        for i, job in enumerate(reversed(self._jobs.values())):
            with suppress(OSError):  # it went just now
                left -= job.path.stat().st_size if job.path is not None else 0
            if i and left < 0 and job.over:
                self._jobs.drop(job.id)

    def _first(self, ws: Workspace) -> dict[str, Any] | None:
        """The export of a workspace that is being written, or waits for that."""
        mine = [job for job in self._jobs.values() if job.workspace == ws.id and not job.over]
        return min(mine, key=lambda job: job.began).told() if mine else None

    def _drop(self, job: Job) -> None:
        job.cancelled = True
        shutil.rmtree(self._place(job), ignore_errors=True)

    def _place(self, job: Job) -> Path:
        return self._studio.place / f"export-{job.id}"

    def _run(self, ws: Workspace, job: Job, chosen: list[Picture], single: bool) -> None:
        place = self._place(job)
        try:
            (place / "files").mkdir(parents=True)
            stems = unique_stems([one.name for one in chosen])
            if not single and job.kind in DATASETS:
                items = self._items(ws, job, chosen, stems, place / "files")
                export_folder(items, place / "files" / "data", job.kind)
            else:
                for one, stem in zip(chosen, stems, strict=True):
                    self._write(ws, job, one, stem, place / "files")
            job.path = self._packed(ws, job, place, stems[0] if single else None)
            self._make_room()
        except Cancelled:
            shutil.rmtree(place, ignore_errors=True)
        except Exception as error:
            told = told_by(error)
            job.error = self._studio.without_places(str(told)) if told else "this could not be written"
            if told is None:
                raise
        finally:
            ws.changed()

    def _write(self, ws: Workspace, job: Job, picture: Picture, stem: str, out: Path) -> None:
        self._check(job)
        if job.kind == "npz":
            self._npz(ws, picture, out / f"{stem}.npz")
        else:
            write_exports(self.labelled(ws, picture, job.kind, out, stem), [job.kind])
        job.done += 1
        ws.changed()

    def _items(
        self, ws: Workspace, job: Job, chosen: list[Picture], stems: list[str], out: Path
    ) -> Iterator[Labelled]:
        """Pictures of a data set, which holds their files as well."""
        for picture, stem in zip(chosen, stems, strict=True):
            self._check(job)
            made = self.labelled(ws, picture, job.kind, out, stem)
            place = None if made.file is None else made.file.place
            yield replace(made, file=SourceFile(str(picture.path), None, place))
            job.done += 1
            ws.changed()

    def _check(self, job: Job) -> None:
        if job.cancelled:
            raise Cancelled

    def labelled(self, ws: Workspace, picture: Picture, kind: str, out: Path, stem: str) -> Labelled:
        """A picture as exports take it, at the photograph's own size."""
        ws.check(picture)
        truth = self._studio.truth(ws, picture)
        if truth is None:
            final = self._studio.labels(ws, picture, behind=True)
            truth = final.composed.labels, final.names
        labels, names = truth
        if labels.shape != picture.size:
            labels = enlarged(labels, picture.size)
        with ws.lock:
            colours, caveats = ws.colours()[: len(names)], ws.caveats
        photo = read(picture.path, picture.name) if kind == "overlay" else None
        file = file_of(picture.path, picture.name, picture.size)
        return Labelled(labels, names, colours, photo, file, out, stem, 0.0, caveats)

    def _npz(self, ws: Workspace, picture: Picture, path: Path) -> None:
        """What Python goes on with: scores, too, unless people changed the labels."""
        result, final = self._studio.result(ws, picture)
        if np.array_equal(final.composed.labels, result.labels):
            result.save_npz(path)
        else:
            labels = final.composed.labels.astype(np.int32)
            replace(result, labels=labels, names=final.names).save_npz(path, keep="image")

    def _packed(self, ws: Workspace, job: Job, place: Path, stem: str | None) -> Path:
        files = sorted(p for p in (place / "files").rglob("*") if p.is_file() and not p.name.startswith("."))
        if stem is not None and len(files) == 1:
            return files[0]
        packed = place / f"{stem or safe_stem(ws.folder or 'pictures')}.{job.kind}.zip"
        with atomic_path(packed) as temp, zipfile.ZipFile(temp, "w", zipfile.ZIP_DEFLATED) as archive:
            root = place / "files" / "data" if (place / "files" / "data").is_dir() else place / "files"
            for path in files:
                self._check(job)
                archive.write(path, path.relative_to(root).as_posix())
        shutil.rmtree(place / "files", ignore_errors=True)
        return packed


def unique_stems(names: list[str]) -> list[str]:
    """Plain file names, one for each picture, no two alike whatever a file system makes of case."""
    seen: set[str] = set()
    out = []
    for name in names:
        stem = one = safe_stem(name)
        n = 1
        while one.casefold() in seen:
            n += 1
            one = f"{stem}-{n}"
        seen.add(one.casefold())
        out.append(one)
    return out
