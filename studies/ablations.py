"""`python -m studies.ablations`: the paper's ablations on the small world.

A seed changes captions, pictures and held-out scenes; all variants of a seed share them, so that differences
are paired. What was drawn and measured is kept (`--out`), and a rerun makes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from freeda.collection.shard import CollectModels, load_models
from freeda.files import atomic_write_bytes, atomic_write_json, atomic_write_text, cache_folder
from freeda.options import to_dict
from freeda.presets import PRESETS, Preset
from freeda.show import write_image

from .axes import AXES, Axis
from .findings import Findings, Row, chart, sheet, table
from .page import Page, begin, between_marks
from .world import World

COMMAND = "python -m studies.ablations"
PRESET = PRESETS["miniature"]


def mark(axis: Axis) -> str:
    """The line of a page after which an axis's table stands."""
    return begin(f"{COMMAND} --only {axis.key}")


def digest(captions: int, scenes: int, preset: Preset, models: CollectModels) -> str:
    """Of all that parts depend on: sizes, options, models, the bytes of local weights. 16 hex digits."""
    told = [captions, scenes, to_dict(preset.segment), to_dict(preset.collect), models.encoders.identity]
    found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for source in (preset.clip, preset.dense, preset.generator):
        for path in sorted(Path(source.id).rglob("*.safetensors")):
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]


def measure(
    axes: Sequence[Axis],
    seeds: Sequence[int],
    captions: int,
    scenes: int,
    out: Path,
    preset: Preset = PRESET,
) -> list[Findings]:
    """Every axis with every seed. Parts are kept in `out`, in a folder for these very sizes and models."""
    console = Console(stderr=True)
    models = load_models(preset, preset.collect)
    place = out / digest(captions, scenes, preset, models)

    def progress(items: Sequence[Any], name: str) -> Iterable[Any]:
        return track(items, name, console=console)

    found = [Findings(axis, [Row(v) for v in axis.variants]) for axis in axes]
    for seed in seeds:
        folder = place / f"seed-{seed}"
        world = World(seed, captions, scenes, preset, models, folder, progress)
        for axis, findings in zip(axes, found, strict=True):
            path = folder / f"{axis.key}.json"
            part = read_part(path, axis) or make_part(path, axis, world, progress)
            for row, told in zip(findings.rows, part, strict=True):
                row.take(told)
        for axis, findings in zip(axes, found, strict=True):
            if seed == seeds[0] and axis.shown:
                findings.scenes = folder / f"{axis.key}-scenes.jpg"
                if not findings.scenes.exists():
                    write_image(findings.scenes, sheet(axis, world))
    return found


def read_part(path: Path, axis: Axis) -> list[dict[str, Any]] | None:
    """What was measured of an axis with one seed, or None where it is missing or of other variants."""
    try:
        part = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(part, dict) and part.get("variants") == variants_of(axis)
    return part["rows"] if same else None


def make_part(path: Path, axis: Axis, world: World, progress: Any) -> list[dict[str, Any]]:
    """Measure an axis with one seed. Kept if all of it could be measured here; else rows say why not."""
    rows: list[dict[str, Any]] = []
    for variant in progress(axis.variants, f"seed {world.seed}: {axis.key}"):
        error = world.lacking(variant)
        if error:
            rows.append({"error": error})
            continue
        measured = world.measure(variant)
        iou = [None if v != v else float(v) for v in measured.iou]
        rows.append({"iou": iou, "beside": measured.beside})
    if not any("error" in row for row in rows):
        atomic_write_json(path, {"variants": variants_of(axis), "rows": rows})
    return rows


def variants_of(axis: Axis) -> Any:
    """The axis's variants as JSON gives them back."""
    return json.loads(json.dumps([asdict(v) for v in axis.variants]))


def write_page(page: Path, found: Sequence[Findings], told: str) -> None:
    """Put every table between its marks of a Markdown page, and the pictures beside the page.

    InputError where the page lacks a place for one.
    """
    text = page.read_text("utf-8")
    for findings in found:
        axis = findings.axis
        picture = page.with_name(f"{page.stem}-{axis.key}.png")
        block = f"{told}\n\n![{axis.title}: mIoU]({picture.name})\n\n{table(findings)}"
        if findings.scenes is not None:
            shown = page.with_name(f"{page.stem}-{axis.key}-scenes.jpg")
            block += f"\n\n![{axis.title}: scenes]({shown.name})"
        text = between_marks(text, block, mark(axis))
    for findings in found:
        write_image(page.with_name(f"{page.stem}-{findings.axis.key}.png"), chart(findings))
        if findings.scenes is not None:
            shown = page.with_name(f"{page.stem}-{findings.axis.key}-scenes.jpg")
            atomic_write_bytes(shown, findings.scenes.read_bytes())
    atomic_write_text(page, text)


def main(
    captions: Annotated[int, typer.Option(min=1, help="Captions a bank.")] = 200,
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="16 captions, 8 scenes, one seed.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this one (repeatable): {', '.join(a.key for a in AXES)}.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where parts are kept, so that a rerun goes on; default: the cache folder."),
    ] = None,
    page: Page = None,
) -> None:
    """Measure what the paper's ablations measure, on the miniature, and print tables.

    With --page, the tables also go between their marks of that page, and the pictures beside it.
    """
    if quick:
        captions, scenes, seeds = 16, 8, 1
    axes = [a for a in AXES if not only or a.key in only]
    for name in only or ():
        if name not in [a.key for a in AXES]:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(a.key for a in AXES)}")
    found = measure(axes, range(seeds), captions, scenes, out or cache_folder() / "ablations")
    told = (
        f"Banks of {captions} captions, {scenes} held-out scenes, "
        f"{'seed 0' if seeds == 1 else f'mean of seeds 0 to {seeds - 1} (least to greatest)'}."
    )
    for findings in found:
        print(f"\n## {findings.axis.title}\n\n{told}\n\n{table(findings)}")
    if page is not None:
        write_page(page, found, told)


if __name__ == "__main__":
    typer.run(main)
