"""`freeda bank add-images`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text
from typer import Argument, Exit, Option

from ..errors import InputError, counted, printable
from ..options import CollectOptions, parse_settings
from ..presets import DEFAULT, ENCODERS, LABELLING, find_preset
from .base import print_table, say
from .options import Device, KeepImages, Model, Yes, change, fetch_first

if TYPE_CHECKING:
    from ..references.add import Added

_ROWS = 30  # classes listed; the others are one number


def add_images(
    folder: Annotated[Path, Argument(help="Folder of annotated pictures.", show_default=False)],
    out: Annotated[Path, Option(help="Bank directory: a new one, or one to add to.", show_default=False)],
    model: Model = DEFAULT,
    names: Annotated[
        Path | None,
        Option(help="Which class each value of a label map is; default: names.json and the like."),
    ] = None,
    images: Annotated[
        Path | None, Option(help="Folder of the pictures; default: images and the like.")
    ] = None,
    masks: Annotated[
        Path | None,
        Option(help="Folder of the masks, or other tools' file or folder; default: masks and the like."),
    ] = None,
    format: Annotated[
        str | None, Option(help="masks, coco, labelme, yolo or cvat; default: what lies there.")
    ] = None,
    ignore: Annotated[
        list[int] | None,
        Option(help="A value of label maps that stands for nothing, besides 0 and 255; may be repeated."),
    ] = None,
    shots: Annotated[
        int | None, Option(help="References a class, at most; default: all that there are.")
    ] = None,
    seed: Annotated[int, Option(help="Other pictures, where --shots leaves some out.")] = 0,
    keep_images: KeepImages = False,
    regions: Annotated[
        bool, Option("--regions", help="Of photographs without masks: a row of every region.")
    ] = False,
    device: Device = "auto",
    dtype: Annotated[
        str, Option(help="float32, bfloat16, float16 or auto: what the encoders compute in.")
    ] = "float32",
    settings: Annotated[
        list[str] | None, Option("--set", help="Any other option: --set min_area=0.02.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Take references from annotated pictures instead of drawing them: few-shot classes.

    For a picture P.jpg the masks are P.png (a label map of grey or palette values, with a names file),
    CLASS/P.png or P/CLASS.png (the mask of one class, 0 outside). COCO's JSON (instances, panoptic),
    LabelMe's, YOLO's label files and CVAT's XML are read, too. docs/references.md tells more. A bank that
    is there gets the references added; what it holds already is left out, so the same command twice adds
    nothing.

    With --regions no masks are asked for: every region of every picture, in folders below too, becomes a row
    of the bank's region values (docs/bank.md); a new bank then has no pairs.

    Exit code: 0 all went well; 1 some photographs failed (--regions); 2 it stopped for the reason told.
    """
    if regions:
        given: dict[str, Any] = {
            "--format": format,
            "--names": names,
            "--images": images,
            "--masks": masks,
            "--ignore": ignore,
            "--shots": shots,
        }
        for option, value in given.items():
            if value:
                raise InputError(f"{option} means nothing with --regions, which asks for no masks")
        return _add_regions(folder, out, model, keep_images, device, dtype, settings or [], yes)
    from ..references.add import OPTIONS, reference_options
    from ..references.add import add_images as run

    preset = find_preset(model)
    usual = reference_options(preset.collect)
    options = _changed(usual, settings or [], OPTIONS, "pictures with masks", keep_images)
    fetch_first(preset, ENCODERS, yes)
    with _counting() as count:
        added = run(
            folder,
            out,
            preset,
            device,
            names=names,
            images=images,
            masks=masks,
            ignore=ignore or (),
            format=format,
            shots=shots,
            seed=seed,
            options=options,
            dtype=dtype,
            on_names=say,
            **count,
        )
    _report(added, folder)


def _add_regions(
    folder: Path, out: Path, model: str, keep: bool, device: str, dtype: str, settings: list[str], yes: bool
) -> None:
    from ..references.photographs import OPTIONS
    from ..references.photographs import add_regions as run

    preset = find_preset(model)
    options = _changed(preset.collect, settings, OPTIONS, "photographs without masks", keep)
    fetch_first(preset, LABELLING, yes)
    with _counting() as count:
        added = run(folder, out, preset, device, options=options, dtype=dtype, **count)
    for path, why in added.failed.items():
        say(f"{path}: {why.removeprefix(f'{path}: ')}", "red", Console(stderr=True))
    parts = [f"{counted(added.rows, 'row')} of {counted(added.pictures, 'photograph')}"]
    parts += [f"{added.there:,} there already"] if added.there else []
    parts += [f"{len(added.failed):,} failed"] if added.failed else []
    say(f"{folder}: {', '.join(parts)}")
    assert added.bank.regions is not None
    say(f"{len(added.bank.regions):,} region values in {out}", "green")
    if added.failed:
        raise Exit(1)


def _changed(
    options: CollectOptions, settings: list[str], known: Sequence[str], what: str, keep: bool
) -> CollectOptions:
    """The options with `--set`, of which only those `known` are taken, and `--keep-images`."""
    for setting in settings:
        name = setting.partition("=")[0].strip()
        if name not in known:
            raise InputError(f"option {name!r} means nothing to {what}: {', '.join(known)} do")
    return parse_settings(settings, change(options, keep_images=keep or None))


@contextmanager
def _counting() -> Iterator[dict[str, Any]]:
    """`on_start` and `on_done` that show how far a command is, where stderr is a terminal."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        yield {
            "on_start": lambda what, pictures: shown.update(shown.add_task(what), total=pictures),
            "on_done": lambda: shown.advance(shown.task_ids[-1]),
        }


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
    for what, (n, first) in added.left.items():
        say(f"left out: {n:,} {what} (first: {first})", "yellow")
    say(f"bank of {len(added.bank):,} pairs in {added.bank.path}", "green")
