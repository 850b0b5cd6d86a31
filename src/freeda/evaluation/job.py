"""`freeda.evaluate`: a data set and a method in, figures out, resumable by part."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..engines import Engine, find_engine
from ..errors import InputError
from ..files import make_folder
from ..lock import only_writer
from ..model import FreeDA
from ..options import SegmentOptions
from ..presets import DEFAULT, Preset
from ..segment.prototypes import ReferenceBank
from ..show.caveats import Caveats
from .counts import Counts
from .dataset import DataSet, check_dataset, contents
from .folder import RunFolder, digest_of
from .origin import Origin, find_origin
from .part import Part, Piece, score_part
from .progress import ImageProgress
from .protocol import Labeller, label_names
from .report import write_report
from .result import Evaluation, ImageRow
from .subject import Callables, Preparation, Subject

PART = 8
"""Images of a part: what a kill loses at most, for every worker."""
CHECKING = "checking the files"


def evaluate(
    dataset: str | DataSet,
    data: str | Path | None = None,
    out: str | Path | None = None,
    model: str | Path | Preset | FreeDA = DEFAULT,
    bank: str | Path | ReferenceBank | None = None,
    device: str | torch.device = "auto",
    limit: int | None = None,
    options: SegmentOptions | None = None,
    progress: bool = False,
    *,
    split: str | None = None,
    classes: str | Path | None = None,
    workers: int | None = None,
    dtype: str | torch.dtype = "float32",
    resume: bool = True,
    report: bool = True,
    labeller: Labeller | None = None,
    engine: str = "local",
    gpus_per_worker: float = 1.0,
) -> Evaluation:
    """Label a data set's images and compare them with their truth.

    Images are labelled in parts, each kept in a file of its own as soon as it is done; stopped at any moment,
    the same call goes on. A larger `limit` extends a run, a smaller one takes nothing away.

    Args:
        dataset: a name (`DATASETS`, "folder", "miniature"), or an object of your own (see `DataSet`).
        data: the folder of its files; "miniature" has none.
        out: the folder of parts and report; None is evaluation/DATASET-PRESET. One run a folder.
        model: a preset, its name, a preset JSON file, or a loaded FreeDA (its options give way to `options`).
        bank: a bank directory or an open bank; None takes the model's own.
        device: "auto", "cpu", "cuda", "mps"; several ("cuda:0,cuda:1") are dealt to the workers in turn.
        limit: take only the first so many images, in the data set's order.
        options: None takes the protocol's: the preset's with what the data set says (`protocol_options`).
            Others are used as they are, and the report tells where they differ.
        progress: show a bar where stderr is a terminal, else now and then a line on stdout.
        split: None takes the data set's usual one; the miniature's is the number of a seed.
        classes: a file of class names, one a line, instead of the data set's own.
        workers: processes, each with models of its own; None takes one for every device named, and one works
            in this process.
        dtype: as `freeda.load` takes it.
        resume: False removes what an earlier run left in `out` and begins anew.
        report: write report.json, report.md and pictures to `out`.
        labeller: what is measured instead of FreeDA, in this process (see `Labeller`); its attribute `name`,
            or else its function's name, is what tells its runs from others'.
        engine: "local", processes of this machine, or "ray" (see docs/cluster.md), where `workers` are
            actors, None takes as many as the cluster's GPUs or CPUs are good for, and every node must have
            the data set and the models.
        gpus_per_worker: with "ray" on GPUs: 0.5 lets two workers share one.

    Raises:
        InputError: files that are missing, damaged or do not fit, options that have no place in the data set,
            a folder of another run or in use by one.
        ModelError, BankError: as `freeda.load`.
        WorkerError: a worker process died.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}: at least 1 image must be taken")
    origin: Origin | None
    if isinstance(dataset, str):
        origin = find_origin(dataset, data, split, classes, limit)
        found = origin.open()
    else:
        origin, found = getattr(dataset, "origin", None), dataset
    images = range(len(found) if limit is None else min(limit, len(found)))
    pool = find_engine(engine, device, workers, gpus_per_worker)
    subject: Subject = (
        Preparation(model, bank, options, found, pool, dtype) if labeller is None else Callables(labeller)
    )
    if not pool.here:
        subject.check_workers(origin)
    place = Path("evaluation") / f"{found.name}-{subject.name}" if out is None else Path(out)
    settings = {
        "freeda": version("freeda"),
        "dataset": found.name,
        "samples_digest": found.digest(),
        "labels": list(label_names(found)),
        **subject.settings,
    }
    folder = RunFolder(place, digest_of(settings))
    make_folder(place)
    with only_writer(place, "evaluation", InputError):
        folder.begin(settings, resume)
        with ImageProgress(len(images), progress) as bar:
            total = _Total(found, bar)
            missing = total.take(folder, images)
            if missing:
                todo = [i for piece in missing for i in piece.images]
                check_dataset(found, partial(bar.stage, CHECKING), todo, len(todo) == len(images))
                bar.stage("loading models")
                subject.prepare(folder)
                _make(subject, found, origin, folder, pool, missing, total)
            about = {"split": split, "limit": limit, **pool.about}
            result = total.evaluation({**subject.about, **settings, **about}, subject.caveats(folder))
            if report:
                bar.stage("writing the report")
                subject.prepare(folder)  # where nothing was missing, nothing is ready
                write_report(place, result, found, lambda i: subject.labeller(found.read_image(i)))
    return result


class _Total:
    """All parts so far, added up."""

    def __init__(self, dataset: DataSet, bar: ImageProgress) -> None:
        self._dataset, self._bar = dataset, bar
        self._counts = Counts(len(label_names(dataset)))
        self._rows: list[ImageRow] = []
        self._peak = 0

    def take(self, folder: RunFolder, images: range) -> list[Piece]:
        """Add the parts that are done; those that are not."""
        missing = []
        for number, start in enumerate(range(0, len(images), PART)):
            chosen = images[start : start + PART]
            piece = Piece(number, list(chosen), contents(self._dataset, chosen))
            if any(piece.files):  # reading them took a moment
                self._bar.stage(CHECKING, start, len(images))
            part = folder.read(piece)
            if part is None:
                missing.append(piece)
            else:
                self._add(part)
        self._bar.part(self._counts, len(self._rows), earlier=True)
        return missing

    def add(self, part: Part) -> None:
        """Add a part that was just made."""
        self._add(part)
        self._bar.part(self._counts, len(self._rows))

    def _add(self, part: Part) -> None:
        self._counts.add(part.counts)
        self._rows += part.images
        self._peak = max(self._peak, part.peak_memory)

    def image(self, seconds: float) -> None:
        """One more image is labelled, its part not yet done."""
        self._bar.image(seconds)

    def evaluation(self, settings: dict[str, Any], caveats: Caveats) -> Evaluation:
        """All of it."""
        rows = tuple(sorted(self._rows, key=lambda row: row.index))
        return Evaluation(
            self._dataset.name,
            label_names(self._dataset),
            self._counts,
            rows,
            {**settings, "images": len(rows)},
            sum(row.seconds for row in rows),
            self._peak,
            caveats,
        )


def _make(
    subject: Subject,
    dataset: DataSet,
    origin: Origin | None,
    folder: RunFolder,
    engine: Engine,
    missing: list[Piece],
    total: _Total,
) -> None:
    """Make what is missing, here or in workers."""
    if engine.here:
        for piece in missing:
            part = score_part(subject.labeller, dataset, piece.images, lambda row: total.image(row.seconds))
            folder.write(piece, part)
            total.add(part)
        return
    by_number = {piece.number: piece for piece in missing}

    def made(number: int) -> None:
        part = folder.read(by_number[number])
        if part is None:
            raise InputError(f"{folder.path}: part {number} was written and cannot be read back")
        total.add(part)

    engine.share_out(
        subject.work(origin),
        [asdict(piece) for piece in missing],
        made,
        total.image,
    )
