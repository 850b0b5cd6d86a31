"""`freeda evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from ..errors import InputError
from ..options import parse_settings
from ..presets import DEFAULT, PRESETS, drawing_with, find_preset, with_models
from .base import resumable, say, trained_on_masks
from .options import (
    BankOrOwn,
    Devices,
    Draw,
    Dtype,
    Engine,
    GpusPerWorker,
    Images,
    Regions,
    Workers,
    Yes,
    fetch_first,
)


def evaluate(
    dataset: Annotated[
        str,
        Argument(
            help="voc20, voc21, context59, context60, stuff171, object, cityscapes19 or ade150; folder, for "
            "images and masks of your own; miniature.",
            show_default=False,
        ),
    ],
    data: Annotated[Path | None, Option(help="Folder of the data set's files (miniature has none).")] = None,
    model: Annotated[
        str, Option("--model", "--preset", help=f"One of {', '.join(PRESETS)}, or a preset .json file.")
    ] = DEFAULT,
    bank: BankOrOwn = None,
    regions: Regions = None,
    out: Annotated[
        Path | None,
        Option(help="Folder of the report and of what is done; default: evaluation/DATASET-MODEL."),
    ] = None,
    limit: Annotated[
        int | None, Option(min=1, help="Take only the first so many images (miniature: 200).")
    ] = None,
    split: Annotated[str | None, Option(help="Another split than the usual one; miniature: a seed.")] = None,
    classes: Annotated[
        Path | None,
        Option(help="Other words for the classes, one a line in their order; folder: its names file."),
    ] = None,
    workers: Workers = None,
    resume: Annotated[
        bool, Option("--resume/--no-resume", help="Go on with what --out holds, or begin anew.")
    ] = True,
    settings: Annotated[
        list[str] | None,
        Option("--set", help="Depart from the protocol: --set k=100 --set superpixels.algorithm=slic."),
    ] = None,
    grow: Annotated[
        bool, Option("--grow/--no-grow", help="Draw references for classes that the bank hardly knows.")
    ] = False,
    yes: Yes = False,
    images_per_word: Images = None,
    draw: Draw = None,
    device: Devices = "auto",
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
    from ..evaluation.report import print_report
    from ..evaluation.subject import protocol_options
    from ..segment.support import resolve

    chosen = with_models(find_preset(model), regions=regions)
    origin = find_origin(dataset, data, split, classes, limit)
    found = origin.open()
    if isinstance(found, FileDataSet) and found.found.legend:
        say(found.found.legend)
    options = parse_settings(settings or [], protocol_options(chosen, found))
    place = Path("evaluation") / f"{found.name}-{chosen.name}" if out is None else out
    usual = replace(chosen, segment=options)
    if grow:
        chosen.check_draws()
    if draw and not grow:
        raise InputError("--draw says how words are drawn: nothing is drawn without --grow")
    drawing = drawing_with(usual, draw or [])
    if bank is None and chosen.bank is None and not grow and chosen.detector is None:
        resolve(options, False, False)  # told before anything is fetched
    if engine == "local":
        fetch_first(chosen, chosen.labelling, yes)
    known: Any = bank
    if grow:  # references for the classes that it hardly knows, drawn now unless they were before
        from ..model import load
        from .growing import Growing, ready_model

        how = Growing(drawing, bank, True, yes, images_per_word, dtype=dtype, usual=usual)
        base = how.open_base()
        loaded = load(drawing, bank=base, device=device.split(",")[0], dtype=dtype or "float32")
        known = ready_model(loaded, base, list(found.classes), how).bank
    with resumable(place):
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
    print_report(result)
    if model_of_masks := result.settings.get("trained_on_masks"):
        told = "regions" if chosen.detector is None else "labels"
        say(trained_on_masks(model_of_masks, told), "yellow")
    for name, (published, used) in result.settings["protocol_changes"].items():
        say(f"not the protocol: {name} is {used}, not {published}", "yellow")
    say(f"report in {place / 'report.md'}", "green")
