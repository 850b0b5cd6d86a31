"""One path by which every model of a preset is read: a local folder or the hub's cache, proved first."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from . import hub
from .errors import FreedaError, MachineError, ModelError, first_line, told_by
from .model_files import Part, damage, here, how_to_read, index_of, unfit, wanted
from .presets import PRESETS, ModelSource, Preset, local_folder

T = TypeVar("T")
_HUB_ID = re.compile(r"([\w.-]+/)?[\w.-]{1,96}")  # roughly what the hub takes; all else is never asked for


def load_weights(source: ModelSource, part: Part, what: str, load: Callable[..., T]) -> T:
    """Call `load(folder, **how)`, a `from_pretrained` of transformers or diffusers, on a model's folder.

    The library never asks the hub by itself: the folder is local, or that of the hub's cache, whole and
    looked at (`model_files`), fetched before if need be. `what` names the model in messages ("CLIP").
    Raises ModelError, one line, when the weights cannot be had or are not such a model's.
    """
    folder = model_folder(source, part, what)
    files = wanted(part, here(folder), index_of(folder), source.weight_name)[0]
    with quiet(), _loading(source, part, what, folder, files):
        return load(str(folder), **how_to_read(part, files))


PARTS = {
    **{"clip": "CLIP", "dense": "dense encoder", "regions": "region model", "detector": "SAM 3"},
    **{"generator": "generator", "lora": "LoRA"},
}
"""The models of a preset, and what messages call them."""


def fetch_models(preset: Preset) -> None:
    """Have all of a preset's models on this machine (see `model_folder`)."""
    for part, what in PARTS.items():
        source: ModelSource | None = getattr(preset, part)
        if source is not None:
            model_folder(source, part, what)


def missing_of(preset: Preset, parts: Iterable[Part] = tuple(PARTS)) -> list[hub.Missing]:
    """What has to be fetched before those of a preset's models can be loaded; the hub is asked for sizes."""
    found = []
    for part in parts:
        source: ModelSource | None = getattr(preset, part)
        if source is None or local_folder(source.id) is not None:
            continue
        refuse_no_folder(source, PARTS[part])
        if hub.find(source, part) is None:
            found.append(hub.ask(source, part, PARTS[part]))
    return found


def config_of(source: ModelSource, part: Part, what: str) -> Any:
    """A model's configuration; from the hub no more than config.json is fetched. Raises ModelError."""
    from transformers import AutoConfig

    folder = local_folder(source.id)
    if folder is None:
        refuse_no_folder(source, what)
        folder = hub.config_folder(source, part, what)
    with quiet(), _loading(source, part, what, folder, ["config.json"]):
        return AutoConfig.from_pretrained(folder)


def model_folder(source: ModelSource, part: Part, what: str) -> Path:
    """The folder that holds all of a model: a local one, or the hub's cache, into which it is fetched.

    The cache is asked first, so that a model once fetched needs no network. Raises ModelError, one line.
    """
    folder = local_folder(source.id)
    if folder is not None:
        if lacking := wanted(part, here(folder), index_of(folder), source.weight_name)[1]:
            usual = "; is it a whole save_pretrained() of the right model?" if part != "lora" else ""
            raise ModelError(f"{what}: {folder} cannot be loaded: it lacks {lacking}{usual}")
        return folder
    refuse_no_folder(source, what)
    if found := hub.find(source, part):
        return found
    missing = hub.ask(source, part, what)
    hub.tell([missing])
    return hub.fetch(missing)


def identity_of(source: ModelSource, part: Part, preset_name: str) -> dict[str, Any]:
    """What a bank remembers a model by: id, the revision asked for, and the commit, if it is the hub's."""
    named: dict[str, Any] = {"id": identity_id(source, preset_name), "revision": source.revision}
    folder = local_folder(source.id)
    if folder is None and not _looks_local(source.id):
        folder = hub.find(source, part) or next(hub.snapshots(source), None)
    commit = None if folder is None else hub.commit_of(folder)
    return named if commit is None else {**named, "commit": commit}


def identity_id(source: ModelSource, preset_name: str) -> str:
    """The name a bank remembers a model by: its hub id, or PRESET/FOLDER, so that no path is kept.

    A bundled model keeps the name of its own preset in presets derived from that one.
    """
    if local_folder(source.id) is None and not _looks_local(source.id):
        return source.id
    own = [p.name for p in PRESETS.values() if source in [getattr(p, part) for part in PARTS]]
    return f"{(own or [preset_name])[0]}/{Path(source.id).name}"


@contextmanager
def _loading(
    source: ModelSource, part: Part, what: str, folder: Path, files: Sequence[str]
) -> Iterator[None]:
    """Prove the files; whatever a loader raises becomes a ModelError of one line that says what to do."""
    try:
        if wrong := damage(folder, files) or unfit(part, folder):
            raise ModelError(wrong)
        yield
    except ModelError as error:
        raise ModelError(f"{what}: {source.id}: {error}") from error
    except FreedaError:
        raise
    except Exception as error:  # the loaders raise OSError, ValueError, KeyError, and errors of their own
        if told := told_by(error):  # the machine's fault: the files are as they should be
            raise MachineError(
                f"{what}: {source.id} cannot be loaded: {told}; a smaller model (vit-b) takes less, and "
                "--device cpu has main memory"
            ) from error
        todo = "is the folder a whole save_pretrained() of the right model?"
        if hub.commit_of(folder):
            todo = f"delete {folder} and run the same again"
        said = first_line(error)
        if type(error).__name__ == "UnpicklingError":  # its own text tells how to run what a stranger wrote
            said = "its .bin file holds something else than tensors, or is damaged"
        raise ModelError(f"{what}: {folder} cannot be loaded: {said}; {todo}") from error


def refuse_no_folder(source: ModelSource, what: str) -> None:
    """Raise ModelError for what is neither a folder that is there nor a hub id."""
    if _looks_local(source.id) or not _HUB_ID.fullmatch(source.id):
        raise ModelError(
            f"{what}: there is no folder {source.id}; give a local folder in the transformers format or a "
            "hub id"
        )


def _looks_local(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the libraries' loading bars and reports: what they tell comes as one line, or not at all."""
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in ("transformers", "diffusers")]
    levels = [logger.level for logger in loggers]
    bars.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()
