"""Which device and which precision the models run in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from .errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """ "auto" takes cuda, then mps, then cpu; a named device must exist here, else InputError."""
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"unknown device '{device}': use auto, cpu, cuda or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(chosen.type, False):
        raise InputError(f"device '{device}' is not available on this machine: use auto, cpu, cuda or mps")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device '{device}' does not exist: there are {torch.cuda.device_count()} cuda devices"
        )
    return chosen


def choose_dtype(dtype: str | torch.dtype = "float32", device: torch.device | None = None) -> torch.dtype:
    """The torch dtype of that name: float32, bfloat16 or float16; anything else raises InputError.

    "auto" takes the fastest that `device` (None: the CPU) multiplies natively, see `fast_dtype`.
    """
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        return fast_dtype(device or torch.device("cpu"))
    if name not in DTYPES:
        raise InputError(f"unknown dtype '{dtype}': use auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def drawing_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """What pictures are drawn in: as `choose_dtype` says, and where nobody names a dtype (None), in half of
    float32 on an accelerator, which takes half of the memory and time there; a CPU gains nothing from it."""
    if dtype is not None:
        return choose_dtype(dtype, device)
    return torch.float16 if device.type in ("cuda", "mps") else torch.float32


def fast_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which a device multiplies matrices fastest: half precision where that is a gain.

    cuda: bfloat16, float16 on chips without it; mps: float16. A CPU gains only from matrix units (AMX):
    the bfloat16 instructions of AVX-512 alone were measured slower than float32 (docs/speed.md).
    """
    if device.type == "cuda":
        # Asked of this very device, since torch.cuda.is_bf16_supported asks only the current one.
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    if device.type == "mps":
        return torch.float16
    asks = getattr(torch.cpu, "_is_amx_tile_supported", None)  # absent from older torch, false where unknown
    return torch.bfloat16 if asks is not None and asks() else torch.float32


def waits_for(device: torch.device) -> Callable[[], None] | None:
    """What waits until a device has done all that it was given; None where calls wait by themselves."""
    waits: dict[str, Callable[[], None]] = {
        "cuda": partial(torch.cuda.synchronize, device),
        "mps": torch.mps.synchronize,
    }
    return waits.get(device.type)


def lower_precision(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of matrix products in `dtype`; all else stays float32, for use under autocast.

    Norms, positions, layer scales and above all the running sum of the layers are then float32, which halves
    the rounding of a model that is in half precision throughout, at the same speed; weights that are already
    in half precision spare autocast converting them at every call.
    """
    if dtype != torch.float32:
        for part in model.modules():
            if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d)):
                part.to(dtype)


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Matrix products in `dtype`, sums and norms in float32; does nothing where `dtype` is float32."""
    # The cache holds converted weights only; the large ones are in `dtype` already. Where it does nothing it
    # is given float16, since bfloat16 is warned of on older Macs even then.
    off = dtype == torch.float32
    return torch.autocast(device.type, torch.float16 if off else dtype, not off, False)
