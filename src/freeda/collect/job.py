"""`freeda.collect`: captions in, a bank directory out, resumable by shard."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..bank import Bank
from ..bank.arrays import remove_arrays
from ..bank.format import MANIFEST, SHARDS, caption_digest, read_info, shard_name, write_shard
from ..bank.manifest import finish_bank
from ..encoders import model_identity
from ..errors import BankError
from ..files import make_folder
from ..options import CollectOptions, to_dict
from ..precision import choose_device, choose_dtype
from ..presets import DEFAULT, Preset, find_preset
from ..weights import identity_id
from .captions import Caption, to_captions
from .progress import CaptionProgress
from .shard import CollectModels, Picture, load_models, make_shard
from .tagging import choose_tagger


def collect(
    captions: str | Path | Iterable[str | Caption],
    out: str | Path,
    model: str | Path | Preset = DEFAULT,
    device: str | torch.device = "auto",
    limit: int | None = None,
    seed: int = 0,
    options: CollectOptions | None = None,
    progress: bool = False,
    *,
    dtype: str | torch.dtype = "float32",
    tagger: str = "auto",
    models: CollectModels | None = None,
    on_picture: Picture | None = None,
) -> Bank:
    """Make a bank from captions, or finish one.

    Shards that are there and whole are kept, if they were made from the same captions with the same models,
    options and seed; only the missing ones are made, and the result is the same as that of an unbroken run.
    A larger `limit` extends a bank.

    Args:
        captions: a file (one caption a line, or COCO captions JSON), or the captions themselves.
        out: the bank directory; made if need be.
        model: a preset, its name, or a preset JSON file.
        limit: take only the first so many captions.
        seed: other pictures for the same captions.
        options: None takes the preset's.
        progress: show a progress bar.
        tagger: how nouns are found, see `tagging.choose_tagger`.
        models: already loaded ones of that preset; None loads them, and only if something is missing.
        on_picture: called for each newly drawn caption with picture, maps and masks (see `shard.Picture`).

    Raises:
        InputError: captions, options, device or the output folder cannot be used.
        ModelError: weights cannot be had.
        BankError: `out` holds something else, or was made with other captions, models, options or seed.
    """
    preset = find_preset(model)
    options = preset.collect if options is None else options
    found = to_captions(captions, limit)
    chunks = [found[i : i + options.shard_size] for i in range(0, len(found), options.shard_size)]
    out = Path(out)
    _check_folder(out)
    on = choose_device(device)
    kind = choose_dtype(dtype, on)
    settings = _settings(preset, options, seed, kind, choose_tagger(tagger), models)
    missing = [i for i, chunk in enumerate(chunks) if not _is_made(out, i, chunk, settings)]
    _check_extent(out, len(chunks))
    if missing:
        make_folder(out / SHARDS)
        _sweep(out)
        if models is None:
            models = load_models(preset, options, on, kind)
        # From here on the bank is half-written until bank.json is there again.
        with CaptionProgress(len(found), len(found) - sum(len(chunks[i]) for i in missing), progress) as bar:
            _reopen(out)
            for i in missing:
                made = make_shard(
                    chunks[i],
                    models,
                    options,
                    seed=seed,
                    tagger=settings["tagger"],
                    on_picture=on_picture,
                    on_progress=bar.advance,
                )
                write_shard(
                    out / shard_name(i),
                    made.pairs,
                    {
                        "settings": settings,
                        "digest": _digest(chunks[i]),
                        "captions": len(chunks[i]),
                        "pictures": made.pictures,
                        "rejected": made.rejected,
                    },
                )
                bar.found(len(made.pairs))
    if missing or not (out / MANIFEST).is_file():
        finish_bank(out, len(chunks), settings)
    return Bank.open(out)


def _settings(
    preset: Preset,
    options: CollectOptions,
    seed: int,
    dtype: torch.dtype,
    tagger: str,
    models: CollectModels | None,
) -> dict[str, Any]:
    """All that the rows depend on; the batch size and the device change them by rounding only."""
    chosen = to_dict(options)
    del chosen["batch_size"]
    identity = dict(models.encoders.identity if models is not None else {}) or model_identity(preset)
    generator = {"id": identity_id(preset.generator, preset.name), "revision": preset.generator.revision}
    return {
        "preset": preset.name,
        "models": {**identity, "generator": generator},
        "options": chosen,
        "seed": seed,
        "tagger": tagger,
        "dtype": str(dtype).removeprefix("torch."),
    }


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something else than (part of) this bank."""
    if not out.exists():
        return
    if not out.is_dir():
        raise BankError(f"{out}: is a file: the bank needs a directory")
    known = {MANIFEST, SHARDS, "keys.npy", "prototypes.npy"}
    foreign = sorted(p.name for p in out.iterdir() if p.name not in known and not p.name.startswith("."))
    if foreign:
        raise BankError(f"{out}: holds '{foreign[0]}', which is no part of a bank: use an empty directory")


def _check_extent(out: Path, n_shards: int) -> None:
    """Refuse to make a bank smaller than it already is."""
    expected = {Path(shard_name(i)).name for i in range(n_shards)}
    more = sorted(p.name for p in (out / SHARDS).glob("*.parquet") if p.name not in expected)
    if more:
        raise BankError(_more(out, f"{SHARDS}/{more[0]}"))


def _is_made(out: Path, index: int, chunk: list[Caption], settings: dict[str, Any]) -> bool:
    """Whether a shard is there and whole. Raises BankError if it was made otherwise."""
    path = out / shard_name(index)
    if not path.exists():
        return False
    try:
        info = read_info(path)
    except BankError:
        return False  # damaged: made again
    other = _difference(info.settings, settings)
    if other:
        raise BankError(
            f"{out}: was begun with other settings ({other}): use the same again, or another directory"
        )
    if info.digest == _digest(chunk):
        return True
    if info.captions < len(chunk) and info.digest == _digest(chunk[: info.captions]):
        return False  # the last shard of a run with a smaller limit: made again, longer
    if info.captions > len(chunk):
        raise BankError(_more(out, shard_name(index)))
    raise BankError(f"{out}: {shard_name(index)} was made from other captions: use another directory")


def _more(out: Path, shard: str) -> str:
    return f"{out}: {shard} holds more than the captions asked for: use the same again, or another directory"


def _difference(a: Any, b: Any, name: str = "") -> str:
    """The first setting in which two differ, in words; "" if they agree."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            found = _difference(a.get(key), b.get(key), f"{name}.{key}" if name else str(key))
            if found:
                return found
        return ""
    return "" if a == b else f"{name} was {a!r}, now {b!r}"


def _digest(chunk: list[Caption]) -> str:
    return caption_digest((c.id, c.text) for c in chunk)


def _reopen(out: Path) -> None:
    """Take away what says that the bank is whole."""
    try:
        (out / MANIFEST).unlink(missing_ok=True)
        remove_arrays(out)
    except OSError as error:
        raise BankError(f"{out}: this bank cannot be changed ({error.strerror})") from error


def _sweep(out: Path) -> None:
    """Remove what a killed run left half-written."""
    for folder in (out, out / SHARDS):
        for temp in folder.glob(".*.tmp"):
            with suppress(OSError):
                temp.unlink()
