"""torch.compile of a pipeline in parts, so that its cross-attention can still be watched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..errors import InputError, first_line
from ..weights import quiet
from .attention_layers import watched_layers

_VARIANTS = 64  # shapes of one kind of block that are compiled before torch gives up on it; XL has over 20


def compile_parts(pipe: Any) -> None:
    """Compile, in place, every block of the UNet that holds no cross-attention, and the VAE's decoder.

    Compiled code ignores hooks that come later, so the layers watched and what surrounds them stay as they
    are; convolutions, self-attention and feed-forward, where nearly all the time goes, are compiled. That
    happens when they first run, and again for another batch size. Raises InputError, one line, where this
    machine cannot compile.
    """
    _check(pipe._execution_device)  # where weights are brought, if they are kept elsewhere
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # its older name
    setattr(config, limit, max(_VARIANTS, getattr(config, limit)))
    for part in uncaptured_parts(pipe.unet, set(watched_layers(pipe.unet, "all"))):
        part.compile()
    pipe.vae.decoder.compile()


def uncaptured_parts(module: torch.nn.Module, watched: set[Any]) -> Iterator[torch.nn.Module]:
    """The largest blocks inside a module that hold none of the watched ones and consist of several layers."""
    for child in module.children():
        if child in watched:
            continue
        lists = isinstance(child, (torch.nn.ModuleList, torch.nn.ModuleDict))  # never called themselves
        if lists or not watched.isdisjoint(child.modules()):
            yield from uncaptured_parts(child, watched)
        elif any(True for _ in child.children()):
            yield child


def _check(device: torch.device) -> None:
    """Compile something small: whether it works depends on compilers, drivers and the Python version."""
    try:
        with quiet():
            torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch's back ends raise all kinds
        raise InputError(
            f"torch.compile does not work here ({first_line(error)}): leave the option compile off"
        ) from error
