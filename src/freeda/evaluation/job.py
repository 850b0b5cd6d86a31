"""`freeda.evaluate`: a data set and a method in, figures out, resumable by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from ..engines import Engine, Work, find_engine
from ..errors import InputError, shortened
from ..files import make_folder
from ..lock import only_writer
from ..model import FreeDA
from ..options import SegmentOptions
from ..presets import DEFAULT, Preset
from ..progress import RunProgress, duration
from ..segment.prototypes import ReferenceBank
from .counts import Counts
from .dataset import DataSet, Origin, check_dataset, contents, find_origin
from .part import Labeller, ManyLabeller, Part, Piece, RunFolder, digest_of, label_names, score_part
from .report import write_report
from .result import Evaluation, ImageRow
from .subject import FreedaSubject, Subject

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
        for what, own in (("data", data), ("split", split), ("classes", classes)):
            if own is not None:
                raise InputError(f"{what} is {shortened(own)}: an open data set has its own, leave it out")
        origin, found = getattr(dataset, "origin", None), dataset
    images = range(len(found) if limit is None else min(limit, len(found)))
    pool = find_engine(engine, device, workers, gpus_per_worker)
    subject = (
        FreedaSubject(model, bank, options, found, pool, dtype) if labeller is None else Subject(labeller)
    )
    place = Path("evaluation") / f"{found.name}-{subject.name}" if out is None else Path(out)
    settings = {
        "freeda": version("freeda"),
        "dataset": found.name,
        "samples_digest": found.digest(),
        "labels": list(label_names(found)),
        **subject.settings,
    }
    folder = RunFolder(place, digest_of(settings))
    work = None if pool.here else subject.work(origin, folder)
    make_folder(place)
    with only_writer(place, "evaluation", InputError):
        folder.begin(settings, resume)
        with ImageProgress(len(images), progress) as bar:
            total = _Total(found, folder, bar)
            missing = total.take(images)
            if missing:
                todo = [i for piece in missing for i in piece.images]
                check_dataset(found, partial(bar.stage, CHECKING), todo, len(todo) == len(images))
                bar.stage("loading models")
                subject.prepare(folder)
                if work is None:
                    total.make(missing, subject.labeller(folder))
                else:
                    total.have_made(missing, pool, work)
            rows = tuple(sorted(total.rows, key=lambda row: row.index))
            about = {"split": split, "limit": limit, **pool.about, "images": len(rows)}
            result = Evaluation(
                found.name,
                label_names(found),
                total.counts,
                rows,
                {**subject.about, **settings, **about},
                sum(row.seconds for row in rows),
                total.peak,
                subject.caveats(folder),
            )
            if report:
                bar.stage("writing the report")
                subject.prepare(folder)  # where nothing was missing, nothing is ready
                again = subject.labeller(folder)
                write_report(place, result, found, lambda i: next(again([found.read_image(i)])))
    return result


class _Total:
    """All parts so far, added up."""

    def __init__(self, dataset: DataSet, folder: RunFolder, bar: ImageProgress) -> None:
        self._dataset, self._folder, self._bar = dataset, folder, bar
        self.counts = Counts(len(label_names(dataset)))
        self.rows: list[ImageRow] = []
        self.peak = 0

    def take(self, images: range) -> list[Piece]:
        """Add the parts that are done; those that are not."""
        missing = []
        for number, start in enumerate(range(0, len(images), PART)):
            chosen = images[start : start + PART]
            piece = Piece(number, list(chosen), contents(self._dataset, chosen))
            if any(piece.files):  # reading them took a moment
                self._bar.stage(CHECKING, start, len(images))
            part = self._folder.read(piece)
            if part is None:
                missing.append(piece)
            else:
                self._add(part)
        self._bar.part(self.counts, len(self.rows), earlier=True)
        return missing

    def make(self, missing: list[Piece], labeller: ManyLabeller) -> None:
        """Make what is missing in this process, and add it."""
        for piece in missing:
            part = score_part(labeller, self._dataset, piece.images, self._bar.image)
            self._folder.write(piece, part)
            self._add(part)
            self._bar.part(self.counts, len(self.rows))

    def have_made(self, missing: list[Piece], engine: Engine, work: Work) -> None:
        """Have workers make what is missing, and add it."""
        by_number = {piece.number: piece for piece in missing}

        def made(number: int) -> None:
            part = self._folder.read(by_number[number])
            if part is None:
                raise InputError(f"{self._folder.path}: part {number} was written and cannot be read back")
            self._add(part)
            self._bar.part(self.counts, len(self.rows))

        engine.share_out(work, [asdict(piece) for piece in missing], made, self._bar.image)

    def _add(self, part: Part) -> None:
        self.counts.add(part.counts)
        self.rows += part.images
        self.peak = max(self.peak, part.peak_memory)


class ImageProgress(RunProgress):
    """Images done out of all, seconds an image, time left, and the mIoU so far.

    The mIoU is that of all parts done, those of earlier runs included; the pace is this run's.
    """

    def __init__(
        self,
        total: int,
        show: bool,
        console: Console | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__("evaluating", "images", show, console, clock)
        self._total = total
        self._began = self._last = self._line_at
        self._done = self._made = self._scored = 0
        self._miou = float("nan")
        self._task = self._bar.add_task("evaluating", total=total)
        self._other = self._bar.add_task("", total=None, visible=False)
        self._stage = ""

    def stage(self, name: str, done: int = 0, total: int | None = None) -> None:
        """What is done before or after the images: "checking", so many of so many."""
        self._bar.update(self._task, visible=False)
        self._bar.update(self._other, description=name, completed=done, total=total, visible=True)
        if name != self._stage:
            self._note(name)
        self._stage = name

    def image(self, seconds: float) -> None:
        """One more image is labelled, which took so long."""
        self._last = self._clock()
        if self._made == 0:
            self._began = self._last - seconds  # models are loaded by now
            self._bar.update(self._other, visible=False)
            self._bar.update(self._task, visible=True)
        self._made += 1
        self._done += 1
        self._bar.update(self._task, advance=1)
        self._line_if_due()

    def part(self, counts: Counts, images: int, *, earlier: bool = False) -> None:
        """So far so many images are counted; `earlier`: by another run."""
        self._miou, self._scored = counts.miou(), images
        if earlier:
            self._done = images
            self._bar.update(self._task, completed=images)

    def said(self) -> str:
        """ "0.52 s/image, 12 min left, mIoU 0.431 (120 images)", as far as it can be told yet."""
        parts = []
        if self._made:
            each = (self._last - self._began) / self._made
            left = self._total - self._done
            parts.append(f"{each:.3g} s/image" + (f", {duration(each * left)} left" if left else ""))
        if not np.isnan(self._miou):
            parts.append(f"mIoU {self._miou:.3f} ({self._scored:,} images)")
        return ", ".join(parts)

    def _done_of(self) -> str:
        return f"{self._done:,} of {self._total:,} images" if self._made else ""
