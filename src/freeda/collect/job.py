"""`freeda.collect`: captions or words in, a bank directory out, resumable by shard."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ..bank import Bank
from ..bank.format import MANIFEST, SHARDS
from ..bank.manifest import finish_bank
from ..encoders import model_identity
from ..errors import InputError
from ..files import make_folder
from ..options import CollectOptions
from ..precision import choose_dtype
from ..presets import DEFAULT, Preset, find_preset
from ..weights import identity_id
from .captions import Caption, Captions, to_captions
from .lock import only_writer
from .log import append_line, cut_broken_line
from .plan import Chunks, State, deal_devices, look, reopen, settings_of, sweep
from .progress import CaptionProgress, note
from .prompts import word_captions
from .runner import Job, Runner
from .shard import CollectModels, Picture, load_models
from .tagging import choose_tagger
from .workers import make_in_workers


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
    dtype: str | torch.dtype = "float32",
    tagger: str = "auto",
    retry_failed: bool = False,
    models: CollectModels | None = None,
    on_picture: Picture | None = None,
) -> Bank:
    """Make a bank from captions or words, or finish one.

    Shards that are there and whole are kept, if they were made from the same captions with the same models,
    options and seed; damaged and missing ones are made, and the result is the same as that of an unbroken
    run. A larger `limit` extends a bank. Stopped at any moment, it leaves nothing but whole shards.

    Args:
        captions: a file (see `captions.read_captions`), or the captions themselves; None where `words` are
            given.
        out: the bank directory; made if need be.
        model: a preset, its name, or a preset JSON file.
        device: "auto", "cpu", "cuda", "mps"; several ("cuda:0,cuda:1") are dealt to the workers in turn.
        limit: take only the first so many captions.
        seed: other pictures for the same captions.
        options: None takes the preset's.
        progress: show a bar where stderr is a terminal, else now and then a line on stdout.
        words: a file with one word a line, or the words: captions are made of them (see
            `prompts.word_captions`).
        column, id_column: of a caption file that has columns.
        workers: processes, each with models of its own; None takes one for every device named, and one works
            in this process.
        dtype: what the models compute in, see `precision.choose_dtype`.
        tagger: how nouns are found, see `tagging.choose_tagger`.
        retry_failed: make shards again that hold captions on which a model failed.
        models: already loaded ones of that preset; None loads them, and only if something is missing.
        on_picture: called for each newly drawn caption with picture, maps and masks (see `shard.Picture`).

    Raises:
        InputError: captions, options, device or the output folder cannot be used.
        ModelError: weights cannot be had, or the models fail on every caption.
        BankError: `out` holds something else, was made with other captions, models, options or seed, or is
            being written by another run.
        WorkerError: a worker process died.
    """
    if out is None or not str(out):
        raise InputError("out is missing: name the bank's directory")
    preset = find_preset(model)
    options = preset.collect if options is None else options
    found = _captions(captions, words, options, limit, column, id_column)
    if progress and found.repeated:
        note(f"left out {found.repeated:,} whose text was there before")
    chunks = [found[i : i + options.shard_size] for i in range(0, len(found), options.shard_size)]
    devices = deal_devices(device, workers)
    if len(devices) > 1 and (models is not None or on_picture is not None):
        name = "models" if models is not None else "on_picture"
        raise InputError(f"{name} belongs to this process: leave it out, or use one worker")
    kind, out = choose_dtype(dtype, torch.device(devices[0])), Path(out)
    tagger = choose_tagger(tagger)
    settings = settings_of(preset.name, models_of(preset, models), options, seed, kind, tagger)
    job = Job(str(out), options, seed, tagger, settings)

    state = look(out, chunks, settings, retry_failed)
    if not state.finished:
        make_folder(out)
        with only_writer(out):
            if (out / MANIFEST).exists():  # it may have been finished meanwhile
                state = look(out, chunks, settings, retry_failed)
            if not state.finished:
                make_folder(out / SHARDS)
                sweep(out)
                cut_broken_line(out)
                # From here on the bank is half-written until bank.json is there again.
                reopen(out)
                _make(job, preset, kind, devices, chunks, state, progress, models, on_picture)
                finish_bank(out, len(chunks), settings)
    return Bank.open(out)


def _make(
    job: Job,
    preset: Preset,
    dtype: torch.dtype,
    devices: list[str],
    chunks: Chunks,
    state: State,
    progress: bool,
    models: CollectModels | None,
    on_picture: Picture | None,
) -> None:
    """Make what is missing, here or in workers, and write a line of the log for every shard."""
    missing = [(i, chunks[i]) for i in state.missing]
    out, total = Path(job.out), sum(map(len, chunks))
    if not missing:
        return
    if len(devices) == 1 and models is None:
        models = load_models(preset, job.options, devices[0], dtype)
    with CaptionProgress(total, total - sum(len(chunk) for _, chunk in missing), progress) as bar:
        if len(devices) == 1:
            assert models is not None
            runner = Runner(job, models, on_picture)
            for index, chunk in missing:
                append_line(out, runner.make(index, chunk, bar.count))
            return
        try:
            name = str(dtype).removeprefix("torch.")
            make_in_workers(
                job, preset, name, devices, missing, bar.count, lambda line: append_line(out, line)
            )
        finally:
            sweep(out)  # a worker that was stopped while writing


def _captions(
    captions: str | Path | Iterable[str | Caption] | None,
    words: str | Path | Iterable[str] | None,
    options: CollectOptions,
    limit: int | None,
    column: str | None,
    id_column: str | None,
) -> Captions:
    if (captions is None) == (words is None):
        raise InputError("give captions or words, one of the two")
    if words is None:
        assert captions is not None
        return to_captions(captions, limit, column=column, id_column=id_column, duplicates=options.duplicates)
    if column is not None or id_column is not None:
        raise InputError("a list of words has no columns: leave out column and id_column")
    return word_captions(words, options, limit)


def models_of(preset: Preset, models: CollectModels | None = None) -> dict[str, Any]:
    """Which models make the rows, without loading them."""
    identity = dict(models.encoders.identity if models is not None else {}) or model_identity(preset)
    generator = {"id": identity_id(preset.generator, preset.name), "revision": preset.generator.revision}
    if preset.lora is not None:
        generator["lora"] = f"{identity_id(preset.lora, preset.name)}@{preset.lora.revision or 'main'}"
    return {**identity, "generator": generator}
