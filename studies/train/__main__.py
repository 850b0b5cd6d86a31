"""`python -m studies.train`: render the world, train its five models, collect its bundled bank."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from freeda.miniature.scenes import CLOSE
from freeda.presets import PRESETS

STAGES = ("data", "vae", "dense", "masks", "clip", "unet", "bank")
BANK_SEED, BANK_CAPTIONS = 1000, 400


def main(
    out: Annotated[Path, typer.Option(help="Where weights go; default: the package's own folder.")] = Path(
        str(PRESETS["miniature"].bank)
    ).parent,
    work: Annotated[Path, typer.Option(help="Scenes and training states; may be deleted afterwards.")] = Path(
        "runs/miniature"
    ),
    stage: Annotated[list[str] | None, typer.Option(help=f"Only these of {', '.join(STAGES)}.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    scenes: Annotated[int, typer.Option(help="Training scenes.")] = 20_000,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves the choice to torch.")] = 0,
    pace: Annotated[
        float, typer.Option(help="Share of the recipe's steps: below 1 to try things out.")
    ] = 1.0,
) -> None:
    """Train the bundled miniature from nothing. Stop it whenever you like: the same command goes on.

    A stage whose result lies in the output folder is skipped; delete that result to train it again.
    """
    unknown = [s for s in stage or () if s not in STAGES]
    if unknown:
        raise typer.BadParameter(f"unknown stage '{unknown[0]}': use {', '.join(STAGES)}")
    import torch

    from freeda.precision import choose_device

    from . import clip, dense, masks, unet, vae
    from .data import Run, training_pairs

    if threads:
        torch.set_num_threads(threads)
    train = {one.__name__.split(".")[-1]: one.train for one in (vae, dense, masks, clip, unet)}
    results = {
        "clip": out / "clip",
        "vae": work / "weights" / "vae",
        "dense": out / "dense",
        "masks": out / "regions",
        "unet": out / "generator",
    }
    chosen_stages = stage or STAGES
    to_train = [s for s in chosen_stages if s in train and not any(results[s].glob("**/*.safetensors"))]
    if to_train or "data" in chosen_stages:
        pairs = training_pairs(work / "data", scenes)
        near = training_pairs(work / "data", scenes * 6 // 5, CLOSE)
        run = Run(pairs, near, work / "state", results, choose_device(device), pace)
    for name in to_train:
        print(f"{name}: training", flush=True)
        result = results[name]
        temporary = result.with_name(result.name + ".part")
        shutil.rmtree(temporary, ignore_errors=True)
        train[name](run, temporary)
        shutil.rmtree(result, ignore_errors=True)
        temporary.rename(result)
    if "bank" in chosen_stages:
        _bank(out, device)


def _bank(out: Path, device: str) -> None:
    """The bank that comes with the miniature, from captions of scenes that nothing was trained on."""
    from freeda.collection.job import collect
    from freeda.miniature.trial import bank_captions, bank_scenes

    preset = replace(PRESETS["miniature-plus"], name="miniature")
    parts = ("clip", "dense", "generator", "regions")
    here = replace(preset, **{part: replace(getattr(preset, part), id=str(out / part)) for part in parts})
    options = replace(preset.collect, region_values=True)
    captions = bank_captions(bank_scenes(BANK_SEED, BANK_CAPTIONS), BANK_SEED)
    bank = collect(captions, out / "bank", here, device, seed=BANK_SEED, options=options, progress=True)
    print(f"bank: {len(bank)} pairs", flush=True)


if __name__ == "__main__":
    typer.run(main)
