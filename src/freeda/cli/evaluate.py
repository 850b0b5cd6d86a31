"""`freeda evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import InputError
from ..options import parse_settings
from ..presets import DEFAULT, ENCODERS, PRESETS, drawing_with, find_preset
from .base import Dtype, Engine, GpusPerWorker, Yes, say
from .fetching import fetch_first
from .growing import Draw, Growing, Images, ready_model

if TYPE_CHECKING:
    from ..evaluation.dataset import DataSet
    from ..evaluation.result import Evaluation


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="voc20, voc21, context59, context60, stuff171, object, cityscapes19 or ade150; folder, for "
            "images and masks of your own; miniature.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set's files (miniature has none).")
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", "--preset", help=f"One of {', '.join(PRESETS)}, or a preset .json file."),
    ] = DEFAULT,
    bank: Annotated[Path | None, typer.Option(help="Bank directory; default: the preset's own.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report and of what is done; default: evaluation/DATASET-MODEL."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take only the first so many images (miniature: 200).")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Another split than the usual one; miniature: a seed.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="Other words for the classes, one a line in their order; folder: its names file."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes, each with models of its own; default: one a device.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume/--no-resume", help="Go on with what --out holds, or begin anew."),
    ] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Depart from the protocol: --set k=100 --set superpixels.algorithm=slic."),
    ] = None,
    grow: Annotated[
        bool,
        typer.Option("--grow/--no-grow", help="Draw references for classes that the bank hardly knows."),
    ] = False,
    yes: Yes = False,
    images_per_word: Images = None,
    draw: Draw = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or mps; several for several workers: cuda:0,cuda:1.")
    ] = "auto",
    dtype: Dtype = None,
    engine: Engine = "local",
    gpus_per_worker: GpusPerWorker = 1.0,
) -> None:
    """Measure on a data set by the published protocol: label its images, compare them with their truth.

    Writes report.md, report.json and pictures to --out. May be stopped at any
    time: the same command goes on where it was. A larger --limit extends a run.

    Exit code: 0 measured; 2 it stopped for the reason told; 130 Ctrl-C.
    """
    from ..evaluation.dataset import FileDataSet, find_origin
    from ..evaluation.job import evaluate as run
    from ..evaluation.subject import protocol_options

    chosen = find_preset(model)
    origin = find_origin(dataset, data, split, classes, limit)
    found = origin.open()
    if isinstance(found, FileDataSet) and found.found.legend:
        say(found.found.legend)
    options = parse_settings(settings or [], protocol_options(chosen, found))
    place = Path("evaluation") / f"{found.name}-{chosen.name}" if out is None else out
    usual = replace(chosen, segment=options)
    if draw and not grow:
        raise InputError("--draw says how words are drawn: nothing is drawn without --grow")
    drawing = drawing_with(usual, draw or [])
    how = Growing(drawing, bank, True, yes, images_per_word, dtype=dtype, usual=usual)
    if engine == "local" and (grow or bank is not None or chosen.bank is not None):
        fetch_first(chosen, ENCODERS, yes)
    known = _grown(how, found, device) if grow else bank
    try:
        result = run(
            dataset,
            data,
            place,
            chosen,
            known,
            device,
            limit,
            options,
            progress=True,
            split=split,
            classes=classes,
            workers=workers,
            dtype=dtype or "float32",
            resume=resume,
            engine=engine,
            gpus_per_worker=gpus_per_worker,
        )
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on with {place}", "yellow", Console(stderr=True))
        raise
    _tell(result, place)


def _grown(how: Growing, dataset: DataSet, device: str) -> Any:
    """The bank with references for the classes that it hardly knows, drawn now unless they were before."""
    from ..model import load

    base = how.open_base()
    loaded = load(how.preset, bank=base, device=device.split(",")[0], dtype=how.dtype or "float32")
    return ready_model(loaded, base, list(dataset.classes), how).bank


def _tell(result: Evaluation, place: Path) -> None:
    """The table, and where the rest is."""
    from ..evaluation.report import print_report

    print_report(result)
    for name, (usual, used) in result.settings["protocol_changes"].items():
        say(f"not the protocol: {name} is {used}, not {usual}", "yellow")
    say(f"report in {place / 'report.md'}", "green")
