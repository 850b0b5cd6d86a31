"""`freeda bank add-images`: references from annotated pictures, in a bank of their own or added to one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..bank import Bank
from ..bank.format import MANIFEST, SHARDS, caption_digest, read_column, read_info, shard_name, write_shard
from ..bank.manifest import finish_bank, made_with
from ..bank.verify import shard_damage
from ..collection.job import refuse_foreign, sweep
from ..encoders import Encoders, load_encoders, model_identity
from ..errors import BankError, InputError
from ..files import make_folder
from ..lock import only_writer
from ..options import CollectOptions, to_dict
from ..precision import choose_device
from ..presets import DEFAULT, Preset, find_preset
from .extract import ID_PREFIX, Choice, Taker, choose
from .formats import open_annotated

OPTIONS = ("templates", "min_area", "max_area", "min_agreement", "keep_images", "batch_size", "shard_size")
"""Fields of CollectOptions that act on references from pictures; a key is always the "template" one."""
_ROWS = ("templates", "min_area", "max_area", "min_agreement", "keep_images")  # what the rows depend on
_VIEW = ("short_side", "long_side", "window", "stride")


@dataclass(frozen=True)
class Added:
    """What became of an annotated folder."""

    bank: Bank
    """The bank, references included."""
    taken: dict[str, int]
    """Class -> references taken in this run."""
    pictures: int
    """Pictures that gave them."""
    there: int
    """References left out because the bank held them already."""
    rejected: dict[str, int]
    """Reason -> masks that gave none."""
    without_mask: int
    """Pictures without any mask."""
    without_image: int
    """Masks without a picture."""
    left: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """What else was left out of other tools' files -> how often, and where first."""


def reference_options(options: CollectOptions) -> CollectOptions:
    """The options of references: a true mask may fill its picture, and there is no caption for a key."""
    return replace(options, max_area=1.0, key="template", min_contrast=None)


def add_images(
    folder: str | Path,
    out: str | Path,
    model: str | Path | Preset = DEFAULT,
    device: str | torch.device = "auto",
    *,
    names: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    ignore: Iterable[int] = (),
    format: str | None = None,
    shots: int | None = None,
    seed: int = 0,
    options: CollectOptions | None = None,
    dtype: str | torch.dtype = "float32",
    encoders: Encoders | None = None,
    on_start: Callable[[str, int], None] | None = None,
    on_done: Callable[[], None] | None = None,
    on_names: Callable[[str], None] | None = None,
) -> Added:
    """Take a reference of every class in every picture of an annotated folder.

    All masks are looked at before a model is loaded. A run that was stopped goes on where it was; the same
    picture and class is never added twice, wherever the picture lies.

    Args:
        folder, names, images, masks, ignore, format: see `formats.open_annotated`.
        out: the bank directory. A new one is made; one made with the same models gets the references added
            behind its own rows, which stay as they are.
        model: a preset, its name, or a preset JSON file; its generator is not needed.
        shots: references a class, at most; those that the bank holds already are counted in.
        seed: which pictures, where `shots` leaves some out.
        options: `OPTIONS` act; None takes the preset's as `reference_options` has them.
        dtype: what the encoders compute in, see `precision.choose_dtype`.
        encoders: already loaded ones of that preset.
        on_start, on_done: called with "reading masks" or "taking references" and the number of pictures to
            come, then after each.
        on_names: called with what was read, or what the names file says, in a line, before all else.

    Raises:
        InputError: folder, masks, names or options cannot be used, or nothing can be taken of them.
        ModelError: weights cannot be had.
        BankError: `out` holds something else, was made with other models or is being written by another run.
    """
    preset, out = find_preset(model), Path(out)
    options = reference_options(preset.collect) if options is None else options
    found = open_annotated(folder, names, images, masks, ignore, format)
    if on_names is not None and found.told:
        on_names(found.told)
    on_start, on_done = on_start or (lambda _, __: None), on_done or (lambda: None)
    bank = _open_bank(out)
    preset.check_draws()
    identity = encoders.identity if encoders is not None else model_identity(preset)
    there, held = set[str](), Counter[str]()  # ids of the bank's references from pictures; how many a class
    if bank is not None:
        bank.check_models(identity)
        for entry in bank.meta["shards"]:
            ids, nouns = (read_column(bank.path / entry["file"], name) for name in ("caption_id", "noun"))
            for i, noun in zip(ids.to_pylist(), nouns.to_pylist(), strict=True):
                if i.startswith(ID_PREFIX):
                    there.add(i)
                    held[noun] += 1
    on_start("reading masks", len(found.pairs.pictures))
    choice = choose(found, options, shots=shots, seed=seed, there=there, held=held, on_picture=on_done)
    left = len(found.pairs.without_mask), len(found.pairs.without_image), found.left
    if not choice.chosen and bank is not None and held:
        return Added(bank, {}, 0, choice.there, dict(choice.rejected), *left)
    if not choice.chosen:
        raise InputError(f"{folder}: gives no reference{_counts(choice.rejected)}")
    if encoders is None:
        encoders = load_encoders(preset, choose_device(device), dtype)
    settings = {
        "preset": preset.name,
        "models": identity,
        "source": "images",
        "options": {name: value for name, value in to_dict(options).items() if name in _ROWS},
        "view": {name: getattr(preset.segment, name) for name in _VIEW},
        "dtype": str(encoders.dtype).removeprefix("torch."),
    }
    make_folder(out)
    with only_writer(out):
        now = _open_bank(out)  # another run may have added to it meanwhile
        if (len(now) if now else 0) != (len(bank) if bank else 0):
            raise BankError(f"{out}: another run has just added to this bank: run the same again")
        sweep(out)
        make_folder(out / SHARDS)
        on_start("taking references", len(choice.chosen))
        taker = Taker(found, encoders, options, preset.segment)
        taken, rejected = _add(taker, choice, out, bank, settings, options.shard_size, on_done)
    rejected += choice.rejected
    if not taken and bank is None:
        raise InputError(f"{folder}: gives no reference{_counts(rejected)}")
    pictures = len(choice.chosen) if taken else 0
    return Added(Bank.open(out), dict(taken), pictures, choice.there, dict(rejected), *left)


def _add(
    taker: Taker,
    choice: Choice,
    out: Path,
    bank: Bank | None,
    settings: dict[str, Any],
    size: int,
    on_done: Callable[[], None],
) -> tuple[Counter[str], Counter[str]]:
    """Make the missing shards behind those of the bank, and finish it; what was taken and what was not."""
    first = len(bank.meta["shards"]) if bank is not None else 0
    taken, rejected = Counter[str](), Counter[str]()
    chunks = [choice.chosen[i : i + size] for i in range(0, len(choice.chosen), size)]
    for word in dict.fromkeys(word for chosen in choice.chosen for word in chosen.words):
        taker.key(word)  # a name that cannot be read should be told before anything is written
    for index, chunk in enumerate(chunks, first):
        file = out / shard_name(index)
        # Of pictures, their masks and the classes taken of them.
        digest = caption_digest(
            (c.picture.name, "\n".join([c.picture.digest_of_all(), *c.words])) for c in chunk
        )
        info = read_info(file) if shard_damage(file) is None else None
        made = info is not None and info.settings == settings and info.digest == digest
        told, pairs = Counter[str](), []
        for chosen in chunk:
            pairs += [] if made else taker.rows(chosen, told)
            on_done()
        if not made:
            about = {"settings": settings, "digest": digest, "captions": len(chunk), "pictures": len(chunk)}
            write_shard(file, pairs, {**about, "rejected": dict(told), "failed": []})
        rejected.update(read_info(file).rejected)
        taken.update(read_column(file, "noun").to_pylist())
    n_shards = first + (len(chunks) if taken else 0)
    wanted = {out / shard_name(i) for i in range(n_shards)}
    for file in {*(out / SHARDS).glob("*.parquet")} - wanted:  # such as a stopped run with more left
        file.unlink()
    if taken:  # bank.json says how many references from pictures the bank holds, those of before too
        about = dict(settings) if bank is None else made_with(bank.meta)
        before = about.get("references")
        held = before if isinstance(before, dict) else {}
        new = {"pictures": len(choice.chosen), "pairs": taken.total()}
        about["references"] = {name: int(held.get(name, 0)) + n for name, n in new.items()}
        finish_bank(out, n_shards, about)
    return taken, rejected


def _open_bank(out: Path) -> Bank | None:
    """The bank there; None for a new directory, or one that a stopped run left.

    Raises BankError for anything else.
    """
    if (out / MANIFEST).exists() or (out.exists() and not out.is_dir()):
        return Bank.open(out)
    refuse_foreign(out)
    for file in sorted((out / SHARDS).glob("*.parquet")):
        if read_info(file).settings.get("source") != "images":
            raise BankError(
                f"{out}: half-written bank: run its `freeda collect` again first, or use another directory"
            )
    return None


def _counts(rejected: Counter[str]) -> str:
    told = ", ".join(f"{n:,} {reason}" for reason, n in rejected.most_common())
    return f": of its masks {told}" if told else ": its masks hold no class"
