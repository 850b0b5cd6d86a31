"""A LoRA merged into a pipeline's weights, and the proof that it is there."""

from __future__ import annotations

import logging
import zlib
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch

from ..errors import ModelError, device_lost, first_line, out_of_memory
from ..presets import ModelSource
from ..weights import load_weights, quiet

_PARTS = ("unet", "text_encoder", "text_encoder_2")


def merge_lora(pipe: Any, lora: ModelSource) -> None:
    """Add a LoRA to the weights of a pipeline in main memory.

    Raises ModelError, one line that names it, for a folder with several, for one of another family, and for
    one that changes nothing; where `peft` is not installed; and as `load_weights`.
    """
    if find_spec("peft") is None:
        raise ModelError(f"LoRA: {lora.id} needs the package peft: pip install peft")
    before = _digest(pipe)
    load_weights(lora, "lora", "LoRA", partial(_load, pipe))
    with quiet():
        pipe.fuse_lora()
        pipe.unload_lora_weights()  # what was merged stays
    if _digest(pipe) == before:
        raise ModelError(f"LoRA: {lora.id}: changes no weight of this generator: was it trained at all?")


def _load(pipe: Any, place: str, **given: Any) -> None:
    from peft.tuners.tuners_utils import BaseTunerLayer

    misfit = f"is no LoRA of this generator, a {type(pipe).__name__}"
    logging.getLogger("diffusers").setLevel(logging.CRITICAL)  # `load_weights` puts it back
    try:
        state, _ = pipe.lora_state_dict(place, unet_config=pipe.unet.config, **given)
        pipe.load_lora_weights(place, **given)
    except (RuntimeError, ValueError) as error:
        if out_of_memory(error) or device_lost(error):
            raise  # nothing about the LoRA
        sizes = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
        raise ModelError(f"{misfit} ({(sizes or [first_line(error)])[0][:200]})") from error
    wanted = {key[: key.rindex("lora")] for key in state if "lora" in key}
    found = sum(isinstance(module, BaseTunerLayer) for part in _parts(pipe) for module in part.modules())
    if found < len(wanted):  # what has no place is passed over in silence
        raise ModelError(f"{misfit} ({len(wanted) - found} of its {len(wanted)} layers have no place)")


def _parts(pipe: Any) -> list[Any]:
    return [part for name in _PARTS if (part := getattr(pipe, name, None)) is not None]


def _digest(pipe: Any) -> list[int]:
    """A checksum of every tensor that a LoRA may change."""
    return [
        zlib.crc32(tensor.detach().reshape(-1).view(torch.uint8).numpy())
        for part in _parts(pipe)
        for tensor in part.state_dict().values()
    ]
