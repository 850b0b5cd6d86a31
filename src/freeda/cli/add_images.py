"""`freeda bank add-images`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..errors import InputError, counted, printable
from ..options import parse_settings
from ..presets import DEFAULT, ENCODERS, find_preset
from .base import Device, Model, Yes, change, print_table, say
from .fetching import fetch_first

if TYPE_CHECKING:
    from ..references.add import Added

_ROWS = 30  # classes listed; the others are one number


def add_images(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures with masks.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Bank directory: a new one, or one to add to.", show_default=False)
    ],
    model: Model = DEFAULT,
    names: Annotated[
        Path | None,
        typer.Option(help="Which class each value of a label map is; default: names.json and the like."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; default: images and the like.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of the masks; default: masks and the like.")
    ] = None,
    ignore: Annotated[
        list[int] | None,
        typer.Option(
            help="A value of label maps that stands for nothing, besides 0 and 255; may be repeated."
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="References a class, at most; default: all that there are.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Other pictures, where --shots leaves some out.")] = 0,
    keep_images: Annotated[bool, typer.Option("--keep-images", help="Keep pictures and masks too.")] = False,
    device: Device = "auto",
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, float16 or auto: what the encoders compute in.")
    ] = "float32",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other option: --set min_area=0.02.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Take references from pictures with masks instead of drawing them: few-shot classes.

    For a picture P.jpg the masks are P.png (a label map of grey or palette values, with a names file),
    CLASS/P.png or P/CLASS.png (the mask of one class, 0 outside). docs/references.md tells more. A bank that
    is there gets the references added; what it holds already is left out, so the same command twice adds
    nothing.

    Exit code: 0 all went well; 2 it stopped for the reason told.
    """
    from ..references.add import OPTIONS, reference_options
    from ..references.add import add_images as run

    for setting in settings or []:
        name = setting.partition("=")[0].strip()
        if name not in OPTIONS:
            raise InputError(f"option {name!r} means nothing to pictures with masks: {', '.join(OPTIONS)} do")
    preset = find_preset(model)
    options = change(reference_options(preset.collect), keep_images=keep_images or None)
    options = parse_settings(settings or [], options)
    fetch_first(preset, ENCODERS, yes)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True)
    )
    bar.disable = not bar.console.is_terminal

    def start(what: str, pictures: int) -> None:
        bar.add_task(what, total=pictures)

    with bar:
        added = run(
            folder,
            out,
            preset,
            device,
            names=names,
            images=images,
            masks=masks,
            ignore=ignore or (),
            shots=shots,
            seed=seed,
            options=options,
            dtype=dtype,
            on_start=start,
            on_done=lambda: bar.advance(bar.task_ids[-1]),
            on_names=say,
        )
    _report(added, folder)


def _report(added: Added, folder: Path) -> None:
    taken = sorted(added.taken.items(), key=lambda item: (-item[1], item[0]))
    if taken:
        table = Table("class", "references")
        for word, count in taken[:_ROWS]:
            table.add_row(Text(printable(word)), f"{count:,}")
        if len(taken) > _ROWS:
            table.add_row(f"{len(taken) - _ROWS:,} more", f"{sum(n for _, n in taken[_ROWS:]):,}")
        print_table(table)
    parts = [f"{counted(sum(added.taken.values()), 'reference')} from {counted(added.pictures, 'picture')}"]
    parts += [f"{added.there:,} there already"] if added.there else []
    parts += [f"{n:,} masks rejected: {reason}" for reason, n in sorted(added.rejected.items())]
    parts += [f"{added.without_mask:,} pictures without a mask"] if added.without_mask else []
    parts += [f"{added.without_image:,} masks without a picture"] if added.without_image else []
    say(f"{folder}: {', '.join(parts)}")
    say(f"bank of {len(added.bank):,} pairs in {added.bank.path}", "green")
