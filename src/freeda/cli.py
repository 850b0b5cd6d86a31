"""The command line. Heavy modules are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from .errors import FreedaError, InputError
from .options import CollectOptions, SegmentOptions
from .presets import DEFAULT, PRESETS, find_preset

if TYPE_CHECKING:
    from .segment import Segmentation

Options = TypeVar("Options", SegmentOptions, CollectOptions)


class _OneLineErrors(TyperGroup):
    """Prints an error that the user can mend as one line on stderr and exits with 2, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FreedaError as error:
            line = " ".join(str(error).split())
            Console(stderr=True).print(Text(f"error: {line}", style="red"), soft_wrap=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Segment any photograph by words, with no training: captions become a bank of reference prototypes, "
    "class names look up their prototypes in it, and a photograph's regions are matched to them.",
)
bank_app = typer.Typer(cls=_OneLineErrors, no_args_is_help=True, help="Look into a bank directory.")
app.add_typer(bank_app, name="bank")

_Model = Annotated[str, typer.Option("--model", help=f"One of {', '.join(PRESETS)}, or a preset .json file.")]
_Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


def main() -> None:
    """The entry point of the command `freeda`."""
    app()


def _print_version(asked: bool) -> None:
    if asked:
        print(f"freeda {installed_version('freeda')}")
        raise typer.Exit


@app.callback()
def _face(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="Photographs.", show_default=False)],
    classes: Annotated[
        str | None, typer.Option(help='Words, separated by commas: "cat, wooden floor".')
    ] = None,
    classes_file: Annotated[Path | None, typer.Option(help="A text file with one word a line.")] = None,
    model: _Model = DEFAULT,
    bank: Annotated[Path | None, typer.Option(help="Bank directory; default: the preset's own.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    device: _Device = "auto",
    k: Annotated[
        int | None, typer.Option(help="Prototypes averaged per word; default: the preset's.")
    ] = None,
    local_weight: Annotated[float | None, typer.Option(help="Share of local similarity, 0 to 1.")] = None,
    background: Annotated[str | None, typer.Option(help="'none', or 'constant': an extra label.")] = None,
    background_threshold: Annotated[float | None, typer.Option(help="Score under which it wins.")] = None,
) -> None:
    """Label every pixel of photographs with one of your words.

    Writes STEM.labels.png (palette), STEM.overlay.jpg (with legend) and STEM.json for every photograph.
    """
    names = read_names(classes, classes_file)
    for path in images:
        if not path.exists():
            raise InputError(f"{path}: no such file")
    preset = find_preset(model)
    options = change(
        preset.segment,
        k=k,
        local_weight=local_weight,
        background=background,
        background_threshold=background_threshold,
    )
    from .model import load
    from .segment.vocabulary import parse_names

    parse_names(names)  # before anything costly is loaded
    loaded = load(replace(preset, segment=options), bank=bank, device=device)
    vocabulary = loaded.vocabulary(names)
    table = Table("image", "found", "files", title=None, show_lines=len(images) > 1)
    pairs = list(zip(images, unique_stems(images), strict=True))
    shown = track(pairs, "segmenting", console=Console(stderr=True), transient=True, disable=len(pairs) == 1)
    for path, stem in shown:
        result = loaded.encode(path).segment(vocabulary)
        written = result.save(out, stem)
        table.add_row(
            f"{path.name}\n[dim]{_size(result)}[/]", _found(result), "\n".join(map(str, written.values()))
        )
    Console().print(table)


@app.command()
def collect(
    captions: Annotated[
        Path, typer.Argument(help="Text file with one caption a line, or COCO captions JSON.")
    ],
    out: Annotated[Path, typer.Option(help="Bank directory; one that is there is continued.")],
    model: _Model = DEFAULT,
    device: _Device = "auto",
    limit: Annotated[int | None, typer.Option(help="Take only the first so many captions.")] = None,
    seed: Annotated[int, typer.Option(help="Other pictures for the same captions.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Captions drawn together.")] = None,
    shard_size: Annotated[int | None, typer.Option(help="Captions per file of the bank.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    keep_images: Annotated[bool, typer.Option("--keep-images", help="Keep pictures and masks too.")] = False,
) -> None:
    """Draw captions, find their nouns in the pictures, and keep a prototype of each: a bank.

    May be stopped at any time; the same command continues where it was.
    """
    preset = find_preset(model)
    options = change(
        preset.collect,
        batch_size=batch_size,
        shard_size=shard_size,
        steps=steps,
        keep_images=keep_images or None,
    )
    from .collect.job import collect as run

    bank = run(
        captions, out=out, model=preset, device=device, limit=limit, seed=seed, options=options, progress=True
    )
    Console().print(f"[green]bank of {len(bank):,} pairs in[/] {out}", highlight=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures and report.json.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Other captions and other held-out scenes.")] = 0,
    captions: Annotated[int, typer.Option(min=1, help="Captions drawn for the bank.")] = 400,
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes that are segmented.")] = 200,
) -> None:
    """The whole story on the bundled miniature models, with pictures; no download."""
    from .demo import run_demo

    run_demo(out=out, seed=seed, captions=captions, scenes=scenes)


@bank_app.command("info")
def bank_info(path: Annotated[Path, typer.Argument(help="Bank directory.", show_default=False)]) -> None:
    """Say what a bank holds, which models made it, and with which options."""
    from .bank import Bank

    opened = Bank.open(path)
    table = Table(show_header=False, title=f"bank {path}", title_justify="left")
    table.add_row("pairs", f"{len(opened):,} from {opened.meta['captions']:,} captions")
    table.add_row("nouns", f"{len(set(opened.nouns)):,} different: {_most_frequent(opened.nouns)}, ...")
    table.add_row("dimensions", f"key {opened.keys.shape[1]}, prototype {opened.prototypes.shape[1]}")
    table.add_row("shards", f"{len(opened.meta['shards']):,}")
    said = ("pairs", "captions", "dimensions", "shards")
    for key, value in flat({key: value for key, value in opened.meta.items() if key not in said}):
        table.add_row(Text(key), Text(value))
    Console().print(table)


def read_names(classes: str | None, classes_file: Path | None) -> list[str]:
    """Class names as given by `--classes` or `--classes-file` (one a line, `#` for remarks), not yet checked.

    Raises InputError for none or both of the two, and for a file that cannot be read.
    """
    if (classes is None) == (classes_file is None):
        raise InputError('give the words to look for: either --classes "cat, sofa" or --classes-file FILE')
    if classes_file is not None:
        try:
            lines = classes_file.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise InputError(f"{classes_file}: class list cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{classes_file}: class list is not UTF-8 text") from error
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return classes.split(",") if classes and classes.strip() else []


def unique_stems(paths: Sequence[Path]) -> list[str]:
    """One name per photograph for its results: the file's stem, with -2, -3, ... where stems repeat."""
    stems: list[str] = []
    for path in paths:
        stem, n = path.stem, 2
        while stem in stems:
            stem, n = f"{path.stem}-{n}", n + 1
        stems.append(stem)
    return stems


def change(options: Options, **given: Any) -> Options:
    """`options` with the values that were given on the command line; None means not given."""
    return replace(options, **{key: value for key, value in given.items() if value is not None})


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as (dotted key, text) pairs; lists become one text."""
    if isinstance(value, dict):
        return [
            pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}" if prefix else key)
        ]
    return [(prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]


def _size(result: Segmentation) -> str:
    height, width = result.labels.shape
    return f"{width} x {height}"


def _found(result: Segmentation) -> Text:
    from .show import palette, to_hex

    colours = dict(zip(result.names, palette(len(result.names)), strict=True))
    found = sorted(((share, name) for name, share in result.shares.items() if share > 0), reverse=True)
    wide = max(len(name) for _, name in found)
    lines = []
    for share, name in found:
        line = Text("■ ", style=to_hex(colours[name]))
        lines.append(line.append(f"{name:<{wide}} {100 * share:5.1f} %", style="default"))
    return Text("\n").join(lines)


def _most_frequent(nouns: Sequence[str], n: int = 8) -> str:
    from collections import Counter

    return ", ".join(f"{noun} {count}" for noun, count in Counter(nouns).most_common(n))
