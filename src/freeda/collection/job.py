"""`freeda.collect`: captions or words in, a bank directory out, resumable by shard.

Other people's folders are left alone; what of a bank is there already is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..bank import Bank
from ..bank.arrays import FILES, remove_arrays
from ..bank.format import MANIFEST, REGIONS, SHARDS, read_info, shard_name
from ..bank.index import is_index_file
from ..bank.manifest import finish_bank
from ..bank.verify import own_damage
from ..encoders import model_identity
from ..engines import Work, find_engine
from ..errors import BankError, InputError
from ..files import make_folder
from ..identity import first_difference, without_commits
from ..lock import only_writer
from ..options import PACE, CollectOptions, to_dict
from ..presets import DEFAULT, Preset, find_preset
from ..region_models import regions_name
from ..remote import opened
from ..segment.regions import SuperpixelRegions
from ..weights import fetch_models, identity_id, identity_of
from . import runner
from .captions import Caption, to_captions, word_captions
from .runner import CaptionProgress, note
from .shard import CollectModels, OnPicture, Tally, load_models
from .tagging import choose_tagger, prove_tagger

LOG = "log.jsonl"
"""In the bank's directory: one JSON line for every shard made, with what it took."""


def collect(
    captions: str | Path | Iterable[str | Caption] | None = None,
    out: str | Path | None = None,
    model: str | Path | Preset = DEFAULT,
    device: str | torch.device = "auto",
    limit: int | None = None,
    seed: int = 0,
    options: CollectOptions | None = None,
    progress: bool = False,
    *,
    words: str | Path | Iterable[str] | None = None,
    column: str | None = None,
    id_column: str | None = None,
    workers: int | None = None,
    dtype: str | torch.dtype | None = None,
    tagger: str = "auto",
    retry_failed: bool = False,
    models: CollectModels | None = None,
    on_picture: OnPicture | None = None,
    engine: str = "local",
    gpus_per_worker: float = 1.0,
) -> Bank:
    """Make a bank from captions or words, or finish one.

    Shards that are there and whole are kept, if they were made from the same captions with the same models,
    options and seed; damaged and missing ones are made, and the result is the same as that of an unbroken
    run. A larger `limit` extends a bank. Stopped at any moment, it leaves nothing but whole shards.

    Args:
        captions: a file (see `captions.to_captions`), or the captions themselves; None where `words` are
            given.
        out: the bank directory, made if need be; or an address in object storage ("s3://bucket/bank"), of
            which a copy is kept here meanwhile (see `remote`).
        model: a preset, its name, or a preset JSON file.
        device: "auto", "cpu", "cuda", "mps"; several ("cuda:0,cuda:1") are dealt to the workers in turn.
        limit: take only the first so many captions.
        seed: other pictures for the same captions.
        options: None takes the preset's.
        progress: show a bar where stderr is a terminal, else now and then a line on stdout.
        words: a file with one word a line, or the words: captions are made of them (see
            `captions.word_captions`).
        column, id_column: of a caption file that has columns.
        workers: processes, each with models of its own; None takes one for every device named, and one works
            in this process.
        dtype: what the models compute in, see `precision.choose_dtype`; None is float32, but float16 for the
            generator on an accelerator.
        tagger: how nouns are found, see `tagging.choose_tagger`.
        retry_failed: make shards again that hold captions on which a model failed.
        models: already loaded ones of that preset; None loads them, and only if something is missing.
        on_picture: called for each newly drawn caption with picture, maps and masks (see `shard.OnPicture`).
        engine: "local", processes of this machine, or "ray" (see docs/cluster.md), where `workers` are
            actors, and None takes as many as the cluster's GPUs or CPUs are good for.
        gpus_per_worker: with "ray" on GPUs: 0.5 lets two workers share one.

    Raises:
        InputError: captions, options, device or the output folder cannot be used.
        ModelError: weights cannot be had, or the models or the tagger fail on every caption.
        BankError: `out` holds something else, was made with other captions, models, options or seed, or is
            being written by another run.
        WorkerError: a worker process died.
    """
    if out is None or not str(out):
        raise InputError("out is missing: name the bank's directory")
    preset = find_preset(model)
    options = preset.collect if options is None else options
    if (captions is None) == (words is None):
        raise InputError("give captions or words, one of the two")
    if captions is not None:
        columns = {"column": column, "id_column": id_column}
        found = to_captions(captions, limit, **columns, duplicates=options.duplicates)
    elif column is not None or id_column is not None:
        raise InputError("a list of words has no columns: leave out column and id_column")
    else:
        assert words is not None
        found = word_captions(words, options, limit)
    if progress and found.repeated:
        note(f"left out {found.repeated:,} whose text was there before")
    chunks = [found[i : i + options.shard_size] for i in range(0, len(found), options.shard_size)]
    pool = find_engine(engine, device, workers, gpus_per_worker)
    if not pool.here and (models is not None or on_picture is not None):
        name = "models" if models is not None else "on_picture"
        raise InputError(f"{name} belongs to this process: leave it out, or use one worker")
    kind, drawing = pool.dtype("float32" if dtype is None else dtype), pool.drawing_dtype(dtype)
    if models is not None:
        kind, drawing = models.encoders.dtype, models.generator.dtype
    tagger = choose_tagger(tagger)
    if any(caption.word is None for caption in found):
        prove_tagger(tagger)
    settings = settings_of(preset.name, models_of(preset, models), options, seed, kind, tagger, drawing)
    regions = region_settings(preset, settings, models) if options.region_values else None
    no_superpixels = preset.segment.superpixels.algorithm == "none"
    if regions is not None and no_superpixels and _by(preset, models) == SuperpixelRegions.name:
        raise InputError("region_values needs regions, but superpixels.algorithm is 'none'")
    with opened(out, partial(refuse_names, str(out))) as place:
        folder = place.folder

        def find() -> tuple[list[int], bool]:
            missing, finished = look(folder, chunks, settings, retry_failed)
            if regions is not None:  # a shard is there when both its files are
                more, whole = look(folder / REGIONS, chunks, regions, retry_failed)
                missing, finished = sorted({*missing, *more}), finished and whole
            return missing, finished

        missing, finished = find()
        if finished:
            return Bank.open(folder)
        make_folder(folder)
        with only_writer(folder):
            if (folder / MANIFEST).exists():  # it may have been finished meanwhile
                missing, finished = find()
                if finished:
                    return Bank.open(folder)
            places = [folder] if regions is None else [folder, folder / REGIONS]
            for one in places:
                make_folder(one / SHARDS)
                sweep(one)
            cut_broken_line(folder)
            if models is None and missing and engine == "local":
                fetch_models(preset)  # once, not by every worker
                settings["models"] = models_of(preset)
                if regions is not None:
                    regions["models"] = settings["models"]
            # From here on the bank is half-written until bank.json is there again.
            finishing = [MANIFEST, *FILES.values()]
            if regions is not None:
                finishing += [f"{REGIONS}/{name}" for name in finishing]
            place.reopen(*finishing)
            for one in places:
                reopen(one)

            def keep(line: dict[str, Any]) -> None:
                append_line(folder, line)
                if regions is not None:
                    place.store(f"{REGIONS}/{line['shard']}")
                place.store(line["shard"])

            if pool.here and missing and models is None:
                models = load_models(preset, options, pool.device, kind, drawing)
            done = len(found) - sum(len(chunks[i]) for i in missing)
            try:
                with CaptionProgress(len(found), done, progress and bool(missing)) as bar:
                    if models is not None:
                        make = runner.Runner(folder, options, settings, models, on_picture, regions).make
                        for i in missing:
                            keep(make(i, chunks[i], bar.count))
                    elif missing:
                        told = {
                            "preset": to_dict(preset),
                            "options": to_dict(options),
                            "settings": settings,
                            "regions": regions,
                        }
                        pool.share_out(
                            Work(runner.__name__, told, folder, "shards made so far", piece="shard {index}"),
                            [{"index": i, "captions": [asdict(c) for c in chunks[i]]} for i in missing],
                            keep,
                            lambda tally: bar.count(Tally(**tally)),
                        )
            finally:
                for one in places:
                    sweep(one)  # a worker that was stopped while writing
                if missing and (folder / LOG).exists():
                    place.store(LOG)  # once: it grows with every shard
            if regions is not None:
                finish_bank(folder / REGIONS, len(chunks), regions)
            finish_bank(folder, len(chunks), settings)
            place.store(*reversed(finishing))
        return Bank.open(folder)


def models_of(preset: Preset, models: CollectModels | None = None) -> dict[str, Any]:
    """Which models make the rows, without loading them."""
    preset.check_draws()
    identity = dict(models.encoders.identity if models is not None else {}) or model_identity(preset)
    return {**identity, "generator": generator_of(preset)}


def generator_of(preset: Preset) -> dict[str, Any]:
    """What a bank remembers of what drew it."""
    found = identity_of(preset.generator, "generator", preset.name)
    if (lora := preset.lora) is not None:
        file = f"/{lora.weight_name}" if lora.weight_name else ""
        found["lora"] = f"{identity_id(lora, preset.name)}@{lora.revision or 'main'}{file}"
    return found


def look(
    out: Path, chunks: Sequence[Sequence[Caption]], settings: dict[str, Any], retry_failed: bool = False
) -> tuple[list[int], bool]:
    """Return the shards that are to be made, and whether nothing at all is to be done; nothing is changed.

    A shard is made that is not there, is damaged, or, with `retry_failed`, holds captions on which a model
    failed; all of them are read whole. Raises BankError where the directory holds something else, more
    captions than asked for, or what was made from other captions or with other settings.
    """
    refuse_foreign(out)
    there = sorted(p.name for p in (out / SHARDS).glob("*.parquet"))
    damaged = {file for file, _ in own_damage(out)} if there or (out / MANIFEST).exists() else set()
    names = [shard_name(i) for i in range(len(chunks))]
    missing = []
    for i, (name, chunk) in enumerate(zip(names, chunks, strict=True)):
        good = (out / name).exists() and name not in damaged and _is_made(out, name, chunk, settings)
        if not good or (retry_failed and read_info(out / name).failed):
            missing.append(i)
    for more in sorted({f"{SHARDS}/{name}" for name in there} - {*names}):
        raise _holds_more(out, more)
    return missing, not missing and not damaged and (out / MANIFEST).is_file()


def settings_of(
    preset: str,
    models: dict[str, Any],
    options: CollectOptions,
    seed: int,
    dtype: torch.dtype,
    tagger: str,
    drawing: torch.dtype | None = None,
) -> dict[str, Any]:
    """All that the rows depend on: `dtype` is the encoders', `drawing` the generator's where it differs."""
    chosen = {name: value for name, value in to_dict(options).items() if name not in PACE}
    return {
        "preset": preset,
        "models": models,
        "options": chosen,
        "seed": seed,
        "tagger": tagger,
        "dtype": str(dtype).removeprefix("torch."),
        "drawing_dtype": str(drawing or dtype).removeprefix("torch."),
    }


def region_settings(
    preset: Preset, settings: dict[str, Any], models: CollectModels | None = None
) -> dict[str, Any]:
    """All that rows of regions depend on: what pairs do, for the pictures and the nouns, and what cuts and
    reads regions."""
    how = {name: to_dict(getattr(preset.segment, name)) for name in ("superpixels", "dense_clip")}
    return {**settings, "source": REGIONS, "regions": {"by": _by(preset, models), **how}}


def _by(preset: Preset, models: CollectModels | None) -> str:
    return regions_name(preset) if models is None else models.regions.name


def reopen(out: Path) -> None:
    """Take away what says that the bank is whole."""
    try:
        (out / MANIFEST).unlink(missing_ok=True)
        remove_arrays(out)
    except OSError as error:
        raise BankError(f"{out}: this bank cannot be changed ({error.strerror})") from error


def sweep(out: Path) -> None:
    """Remove what a killed process left half-written."""
    for folder in (out, out / SHARDS):
        for temp in folder.glob(".*.tmp"):
            with suppress(OSError):
                temp.unlink()


def append_line(folder: Path, entry: dict[str, Any]) -> None:
    """Add a line to the log, at the end, in one write. Raises InputError where the system refuses."""
    try:
        with open(folder / LOG, "ab") as file:
            file.write((json.dumps(entry, ensure_ascii=True) + "\n").encode())
    except OSError as error:
        raise InputError(f"{folder / LOG}: cannot be written ({error.strerror})") from error


def cut_broken_line(folder: Path) -> None:
    """Take away the log's unfinished last line, left by a process killed while writing or a full disk."""
    try:
        with open(folder / LOG, "r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{folder / LOG}: cannot be written ({error.strerror})") from error


def refuse_foreign(out: Path) -> None:
    """Raise BankError for a folder that holds something else than (part of) a bank; one not there is fine."""
    if not out.exists():
        return
    if not out.is_dir():
        raise BankError(f"{out}: is a file: the bank needs a directory")
    refuse_names(out, [p.name for p in out.iterdir()])


def refuse_names(out: Path | str, paths: Iterable[str]) -> None:
    """Raise BankError where one of these paths within `out` is no part of a bank."""
    known = {MANIFEST, SHARDS, LOG, REGIONS, *FILES.values()}
    names = sorted({path.split("/")[0] for path in paths} - known)
    foreign = [name for name in names if not name.startswith(".") and not is_index_file(name)]
    if foreign:
        raise BankError(f"{out}: holds '{foreign[0]}', which is no part of a bank: use an empty directory")


def _is_made(out: Path, name: str, chunk: Sequence[Caption], settings: dict[str, Any]) -> bool:
    """Whether a whole shard is the one wanted. Raises BankError if it was made otherwise."""
    info = read_info(out / name)
    if other := first_difference(comparable(info.settings), comparable(settings)):
        raise BankError(
            f"{out}: was begun with other settings ({other}): use the same again, or another directory"
        )
    if info.digest == runner.digest(chunk):
        return True
    if info.captions < len(chunk) and info.digest == runner.digest(chunk[: info.captions]):
        return False  # the last shard of a run with a smaller limit: made again, longer
    if info.captions > len(chunk):
        raise _holds_more(out, name)
    raise BankError(f"{out}: {name} was made from other captions: use another directory")


def _holds_more(out: Path, shard: str) -> BankError:
    return BankError(
        f"{out}: {shard} holds more than the captions asked for: use the same again, or another directory"
    )


def comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """A shard's settings as far as they must agree: a later commit of the same model is no obstacle.

    What did not exist yet when it was made is filled in: options at their defaults, one dtype for all models.
    """
    out = {"drawing_dtype": settings.get("dtype"), **settings}
    if isinstance(models := settings.get("models"), dict):
        out["models"] = without_commits(models)
    if isinstance(options := settings.get("options"), dict):
        filled = _filled(options, to_dict(CollectOptions()))
        out["options"] = {name: value for name, value in filled.items() if name not in PACE}
    return out


def _filled(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    out = {**defaults, **given}
    for name, value in defaults.items():
        if isinstance(value, dict) and isinstance(out[name], dict):
            out[name] = _filled(out[name], value)
    return out
