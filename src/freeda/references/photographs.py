"""`freeda bank add-images --regions`: rows of the regions of photographs that nobody labelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..bank import Bank, Pair
from ..bank.format import (
    MANIFEST,
    REGIONS,
    SHARDS,
    caption_digest,
    read_info,
    read_strings,
    shard_name,
    write_shard,
)
from ..bank.manifest import file_digest, finish_bank, made_with
from ..bank.verify import shard_damage
from ..collection.job import comparable, refuse_foreign, sweep
from ..collection.regions import region_rows
from ..collection.shard import told_of
from ..encoders import Encoders, load_encoders, model_identity
from ..errors import BankError, InputError
from ..files import make_folder
from ..identity import first_difference
from ..images import read_image
from ..lock import only_writer
from ..options import CollectOptions, to_dict
from ..precision import choose_device
from ..presets import DEFAULT, Preset, find_preset
from ..region_models import load_regions, regions_name
from ..segment.regions import regions_from
from ..segment.scene import Photograph, Scene, encode_scenes
from ..sources import find_images
from .extract import ID_PREFIX

OPTIONS = ("keep_images", "batch_size", "shard_size")
"""Fields of CollectOptions that act on photographs' regions."""
_VIEW = ("short_side", "long_side", "window", "stride", "superpixels", "dense_clip")


@dataclass(frozen=True)
class AddedRegions:
    """What became of a folder of photographs."""

    bank: Bank
    """The bank whose region values were added to."""
    rows: int
    """Rows added in this run."""
    pictures: int
    """Photographs that gave them."""
    there: int
    """Photographs left out because the bank, or another of this run, has the same file."""
    failed: dict[Path, str]
    """Photographs that could not be read or encoded -> why, in one line."""


def add_regions(
    folder: str | Path,
    out: str | Path,
    model: str | Path | Preset = DEFAULT,
    device: str | torch.device = "auto",
    *,
    regions: Any = None,
    options: CollectOptions | None = None,
    dtype: str | torch.dtype = "float32",
    encoders: Encoders | None = None,
    on_start: Callable[[str, int], None] | None = None,
    on_done: Callable[[], None] | None = None,
) -> AddedRegions:
    """Take a row of every region of every photograph in a folder, and in its folders; nobody labels them.

    Photographs are seen as they are when they are labelled: resized, in windows. A region's features are the
    mean over its pixels of what the windows give there. A run that was stopped goes on where it was; a file
    that the bank has, by its SHA-256, is never added twice.

    Args:
        folder: of photographs.
        out: the bank directory; a new one is a bank without pairs.
        model: a preset, its name, or a preset JSON file; its generator is not needed.
        regions: what cuts the photographs (see `segment.regions.Regions`); None: what the preset says.
        options: `OPTIONS` act; None takes the preset's.
        dtype: what the encoders compute in, see `precision.choose_dtype`.
        encoders: already loaded ones of that preset.
        on_start, on_done: called with "reading" or "taking regions" and the number of photographs to come,
            then after each.

    Raises:
        InputError: no photograph is there, or none gives a row.
        ModelError: weights cannot be had.
        BankError: `out` holds something else, was made with other models or other rules, or is being written
            by another run.
    """
    preset, out = find_preset(model), Path(out)
    options = preset.collect if options is None else options
    on_start, on_done = on_start or (lambda _, __: None), on_done or (lambda: None)
    identity = encoders.identity if encoders is not None else model_identity(preset)
    by = regions_name(preset) if regions is None else regions_from(regions, preset.segment.superpixels).name
    view = {name: getattr(preset.segment, name) for name in _VIEW[:4]}
    how = {name: to_dict(getattr(preset.segment, name)) for name in _VIEW[4:]}
    settings: dict[str, Any] = {
        "preset": preset.name,
        "models": identity,
        "source": REGIONS,
        "options": {"keep_images": options.keep_images},
        "view": view,
        "regions": {"by": by, **how},
    }
    bank = _there(out, identity, how["dense_clip"])
    there = set[str]()
    if bank is not None:
        for entry in bank.meta["shards"]:
            there.update(read_strings(bank.path / entry["file"], "caption_id")[0])
    paths = find_images(folder, recursive=True)
    on_start("reading", len(paths))
    new: dict[str, Path] = {}
    for path in paths:
        try:
            name = f"{ID_PREFIX}{file_digest(path)}"
        except BankError as error:
            raise InputError(f"{path}: cannot be read") from error
        if name not in there:
            new.setdefault(name, path)
        on_done()
    known = len(paths) - len(new)
    if not new and bank is not None:
        return AddedRegions(Bank.open(out), 0, 0, known, {})
    if encoders is None:
        encoders = load_encoders(preset, choose_device(device), dtype)
    settings["dtype"] = str(encoders.dtype).removeprefix("torch.")
    if regions is None:
        regions = load_regions(preset, encoders.device, encoders.dtype)
    source = regions_from(regions, preset.segment.superpixels)
    make_folder(out)
    with only_writer(out):
        now = _there(out, identity, how["dense_clip"])  # another run may have added to it meanwhile
        if (len(now) if now else 0) != (len(bank) if bank else 0):
            raise BankError(f"{out}: another run has just added to this bank: run the same again")
        make_folder(out / REGIONS / SHARDS)
        sweep(out / REGIONS)
        on_start("taking regions", len(new))

        def rows(part: Sequence[tuple[str, Path]]) -> Iterator[tuple[Path, list[Pair] | str]]:
            return _rows(part, Path(folder), encoders, preset, source, options)

        taken, failed = _add(list(new.items()), out, bank, settings, options.shard_size, rows, on_done)
        if not taken and bank is None:
            raise InputError(f"{folder}: gives no region{_why(failed)}")
        if not (out / MANIFEST).exists():
            finish_bank(out, 0, settings, {"key": encoders.clip.dim, "prototype": encoders.dense.dim})
    return AddedRegions(Bank.open(out), taken, len(new) - len(failed), known, failed)


def _add(
    new: list[tuple[str, Path]],
    out: Path,
    bank: Bank | None,
    settings: dict[str, Any],
    size: int,
    rows: Callable[[Sequence[tuple[str, Path]]], Iterator[tuple[Path, list[Pair] | str]]],
    on_done: Callable[[], None],
) -> tuple[int, dict[Path, str]]:
    """Make the missing shards behind those of the bank, and finish it; rows taken, and what failed."""
    place = out / REGIONS
    first = len(bank.meta["shards"]) if bank is not None else 0
    taken, failed = 0, dict[Path, str]()
    chunks = [new[i : i + size] for i in range(0, len(new), size)]
    for index, chunk in enumerate(chunks, first):
        file, digest = place / shard_name(index), caption_digest((name, "") for name, _ in chunk)
        info = read_info(file) if shard_damage(file) is None else None
        if info is not None and (comparable(info.settings), info.digest) == (comparable(settings), digest):
            why = {one["caption_id"]: one["error"] for one in info.failed}
            failed |= {path: why[name] for name, path in chunk if name in why}
            for _ in chunk:
                on_done()
        else:
            pairs, errors = list[Pair](), list[dict[str, str]]()
            for (name, _), (path, found) in zip(chunk, rows(chunk), strict=True):
                if isinstance(found, str):
                    failed[path] = found
                    errors.append({"caption_id": name, "error": found})
                else:
                    pairs += found
                on_done()
            told = {"captions": len(chunk), "pictures": len(chunk) - len(errors)}
            about = {"settings": settings, "digest": digest, **told, "rejected": {}, "failed": errors}
            write_shard(file, pairs, about)
        taken += read_info(file).pairs
    n_shards = first + (len(chunks) if taken else 0)
    for file in {*(place / SHARDS).glob("*.parquet")} - {place / shard_name(i) for i in range(n_shards)}:
        file.unlink()  # such as of a stopped run with more photographs
    if taken:
        about = dict(settings) if bank is None else made_with(bank.meta)
        before = about.get("photographs")
        about["photographs"] = (before if isinstance(before, int) else 0) + len(new) - len(failed)
        finish_bank(place, n_shards, about)
    return taken, failed


def _rows(
    part: Sequence[tuple[str, Path]],
    folder: Path,
    encoders: Encoders,
    preset: Preset,
    source: Any,
    options: CollectOptions,
) -> Iterator[tuple[Path, list[Pair] | str]]:
    """The rows of each photograph, or why there are none."""

    def photographs() -> Iterator[Photograph]:
        for name, path in part:
            image, error = None, None
            try:
                image = read_image(path)
            except (InputError, MemoryError) as wrong:
                error = wrong
            yield Photograph(image, preset.segment, source, True, error=error, tag=(name, path))

    for photograph, scene in encode_scenes(encoders, photographs(), options.batch_size):
        name, path = photograph.tag
        if not isinstance(scene, Scene):
            yield path, told_of(scene)
            continue
        weights, joint = scene.region_weights(), scene.mosaic.joint
        assert joint is not None
        picture = scene.working_image() if options.keep_images else None
        caption = path.relative_to(folder).as_posix() if folder in path.parents else path.name
        about: dict[str, Any] = {"caption_id": name, "caption": caption, "seed": 0}
        seen, values = weights @ scene.mosaic.features, weights @ joint
        made = region_rows(seen, values, scene.regions(), image=picture, **about)
        yield path, [row for row in made if not isinstance(row, str)]


def _there(out: Path, identity: dict[str, Any], dense_clip: Any) -> Bank | None:
    """The bank of region values there; None for a new directory, or one that a stopped run left.

    Raises BankError for anything else, and where it was made with other models or by another rule of values.
    """
    if (out / MANIFEST).exists():
        Bank.open(out).check_models(identity)
    else:
        refuse_foreign(out)
        if any((out / SHARDS).glob("*.parquet")):
            raise BankError(f"{out}: half-written bank: finish it first, or use another directory")
    place = out / REGIONS
    refuse_foreign(place)
    if not (place / MANIFEST).exists():
        for file in sorted((place / SHARDS).glob("*.parquet")):
            if "view" not in read_info(file).settings:
                raise BankError(f"{place}: half-written bank: run its `freeda collect` again first")
        return None
    bank = Bank.open(place)
    bank.check_models(identity)
    made = bank.meta.get("regions")
    given = made.get("dense_clip") if isinstance(made, dict) else dense_clip
    if other := first_difference(given, dense_clip, "dense_clip"):
        raise BankError(f"{place}: its values were made by another rule ({other}): use another directory")
    return bank


def _why(failed: dict[Path, str]) -> str:
    return f": {next(iter(failed.values()))}" if failed else ""
