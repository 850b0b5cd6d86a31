"""One path by which every model of a preset is read: hub id or local folder, cached or not."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from .errors import ModelError, first_line
from .presets import PRESETS, ModelSource, local_folder

T = TypeVar("T")
_HUB_ID = re.compile(r"([\w.-]+/)?[\w.-]{1,96}")  # roughly what the hub takes; all else is never asked for


def load_weights(source: ModelSource, what: str, load: Callable[..., T]) -> T:
    """Call `load(id_or_folder, **keywords)`, a `from_pretrained` of transformers or diffusers, on a source.

    The local cache is asked first, so that weights once fetched load without a network; the hub is asked only
    when it answers, so that its client's half minute of retries is never sat through offline.
    `what` names the model in messages ("CLIP"). Raises ModelError, one line, when the weights cannot be had.
    """
    folder = local_folder(source.id)
    with quiet():
        if folder is not None:
            return _attempt(source, what, load, str(folder))
        if _looks_local(source.id) or not _HUB_ID.fullmatch(source.id):
            raise ModelError(
                f"{what}: there is no folder {source.id}; give a local folder in the transformers "
                "format or a hub id"
            )
        keywords: dict[str, Any] = {} if source.revision is None else {"revision": source.revision}
        try:
            return load(source.id, local_files_only=True, **keywords)
        except ModelError as error:
            raise ModelError(f"{what}: {source.id}: {error}") from error
        except (OSError, ValueError):  # not in the cache, or not whole there
            _require_hub(source, what)
        return _attempt(source, what, load, source.id, **keywords)


def identity_id(source: ModelSource, preset_name: str) -> str:
    """The name a bank remembers a model by: its hub id, or PRESET/FOLDER, so that no path is kept.

    A bundled model keeps the name of its own preset in presets derived from that one.
    """
    if local_folder(source.id) is None and not _looks_local(source.id):
        return source.id
    own = [p.name for p in PRESETS.values() if source in (p.clip, p.dense, p.generator)]
    return f"{(own or [preset_name])[0]}/{Path(source.id).name}"


def is_offline() -> bool:
    """Whether the user forbids asking the hub (HF_HUB_OFFLINE); the hub's client looks only once."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def _looks_local(name: str) -> bool:
    return name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1


def _attempt(source: ModelSource, what: str, load: Callable[..., T], place: str, **keywords: Any) -> T:
    try:
        return load(place, **keywords)
    except ModelError as error:
        raise ModelError(f"{what}: {place}: {error}") from error
    except Exception as error:  # the loaders raise OSError, ValueError, KeyError, safetensors' and JSON's own
        raise ModelError(f"{what}: {place} cannot be loaded: {first_line(error)}; {_hint(source)}") from error


def _require_hub(source: ModelSource, what: str) -> None:
    """Raise ModelError at once when the hub cannot be asked or does not have the model."""
    from huggingface_hub import HfApi

    wanted = source.id if source.revision is None else f"{source.id} at revision {source.revision}"
    if is_offline():
        raise ModelError(
            f"{what}: {wanted} is not in the local cache and HF_HUB_OFFLINE is set; {_hint(source)}"
        )
    try:
        HfApi().model_info(source.id, revision=source.revision, timeout=10)
    except Exception as error:  # connection, authorisation and not-found errors share no base
        raise ModelError(
            f"{what}: {wanted} is not in the local cache and the hub did not give it "
            f"({first_line(error)}); {_hint(source)}"
        ) from error


def _hint(source: ModelSource) -> str:
    if local_folder(source.id) is not None:
        return "is the folder a whole save_pretrained() of the right model, with safetensors weights?"
    return f"get it with `hf download {source.id}`, or name a local folder in a preset file (--model X.json)"


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
