"""When memory runs out at drawing, or the device is lost: one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import MachineError, device_lost, first_line, out_of_memory
from ..options import CollectOptions


@contextmanager
def told_if_short(
    doing: str, options: CollectOptions, device: torch.device, dtype: torch.dtype, loading: bool = False
) -> Iterator[None]:
    """Raises MachineError where `doing` something ("drawing a picture") fails for want of memory or of a
    device that works; any other error passes."""
    try:
        yield
    except Exception as error:
        if lost := device_lost(error):
            raise lost from error
        if not out_of_memory(error):
            raise
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        raise MachineError(
            f"memory ran out {doing} on {device} ({first_line(first)[:120]}): "
            f"{savings(options, device, dtype, loading)}"
        ) from error


def savings(options: CollectOptions, device: torch.device, dtype: torch.dtype, loading: bool) -> str:
    """What takes less memory than this, as the command line names it; what saves most comes first."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    ways = {"none": ["offload=model"], "model": ["offload=sequential"]}.get(options.offload, [])
    ways = [] if device.type == "cpu" else ways
    if not loading:
        ways += [] if options.vae_tiling else ["vae_tiling=true"]
        ways += [f"size={options.size * 3 // 4 // 8 * 8}"] if options.size >= 128 else []
    named = [f"--dtype {half}"] if dtype == torch.float32 else []
    if ways:
        named.append(f"{', '.join(ways)} (each by --set; by --draw with segment and evaluate)")
    return f"less is needed with {', or with '.join(named)}" if named else "it takes a device with more"
