"""`freeda.collect`: captions or words in, a bank directory out, resumable by shard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..bank import Bank
from ..bank.arrays import FILES
from ..bank.format import MANIFEST, SHARDS
from ..bank.manifest import finish_bank
from ..encoders import model_identity
from ..engines import Work, find_engine
from ..errors import InputError
from ..files import make_folder
from ..lock import only_writer
from ..options import CollectOptions, to_dict
from ..presets import DEFAULT, Preset, find_preset
from ..remote import opened
from ..weights import fetch_models, identity_id, identity_of
from . import runner
from .captions import Caption, to_captions, word_captions
from .plan import LOG, append_line, cut_broken_line, look, refuse_names, reopen, settings_of, sweep
from .progress import CaptionProgress, note
from .shard import CollectModels, OnPicture, Tally, load_models
from .tagging import choose_tagger, prove_tagger


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
    with opened(out, partial(refuse_names, str(out))) as place:
        folder = place.folder
        missing, finished = look(folder, chunks, settings, retry_failed)
        if finished:
            return Bank.open(folder)
        make_folder(folder)
        with only_writer(folder):
            if (folder / MANIFEST).exists():  # it may have been finished meanwhile
                missing, finished = look(folder, chunks, settings, retry_failed)
                if finished:
                    return Bank.open(folder)
            make_folder(folder / SHARDS)
            sweep(folder)
            cut_broken_line(folder)
            if models is None and missing and engine == "local":
                fetch_models(preset)  # once, not by every worker
                settings["models"] = models_of(preset)
            # From here on the bank is half-written until bank.json is there again.
            place.reopen(MANIFEST, *FILES.values())
            reopen(folder)

            def keep(line: dict[str, Any]) -> None:
                append_line(folder, line)
                place.store(line["shard"])

            if pool.here and missing and models is None:
                models = load_models(preset, options, pool.device, kind, drawing)
            done = len(found) - sum(len(chunks[i]) for i in missing)
            try:
                with CaptionProgress(len(found), done, progress and bool(missing)) as bar:
                    if models is not None:
                        make = runner.Runner(folder, options, settings, models, on_picture).make
                        for i in missing:
                            keep(make(i, chunks[i], bar.count))
                    elif missing:
                        told = {"preset": to_dict(preset), "options": to_dict(options), "settings": settings}
                        pool.share_out(
                            Work(runner.__name__, told, folder, "shards made so far", piece="shard {index}"),
                            [{"index": i, "captions": [asdict(c) for c in chunks[i]]} for i in missing],
                            keep,
                            lambda tally: bar.count(Tally(**tally)),
                        )
            finally:
                sweep(folder)  # a worker that was stopped while writing
                if missing and (folder / LOG).exists():
                    place.store(LOG)  # once: it grows with every shard
            finish_bank(folder, len(chunks), settings)
            place.store(*FILES.values(), MANIFEST)
        return Bank.open(folder)


def models_of(preset: Preset, models: CollectModels | None = None) -> dict[str, Any]:
    """Which models make the rows, without loading them."""
    identity = dict(models.encoders.identity if models is not None else {}) or model_identity(preset)
    return {**identity, "generator": generator_of(preset)}


def generator_of(preset: Preset) -> dict[str, Any]:
    """What a bank remembers of what drew it."""
    found = identity_of(preset.generator, "generator", preset.name)
    if (lora := preset.lora) is not None:
        file = f"/{lora.weight_name}" if lora.weight_name else ""
        found["lora"] = f"{identity_id(lora, preset.name)}@{lora.revision or 'main'}{file}"
    return found
