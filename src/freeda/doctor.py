"""What a machine has for the models, and what each preset needs of it: the facts behind `freeda doctor`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import hub
from .errors import FreedaError, one_line
from .files import cache_folder
from .model_files import here, index_of, wanted
from .precision import choose_device, drawing_dtype, fast_dtype
from .presets import PRESETS, ModelSource, Preset, local_folder
from .weights import PARTS, refuse_no_folder

_PACKAGES = ("torch", "transformers", "diffusers", "huggingface-hub", "safetensors", "faiss-cpu", "numpy")
LIBRARIES = 0.6e9
"""Bytes of Python and the libraries."""
WORKING = {"label": (0.7e9, 518), "draw": (1.5e9, 512)}
"""An allowance in bytes for pixels, features and activations, in float32 with an input of so many pixels a
side: of labelling a photograph, and of drawing one picture; docs/gpu.md says what of it was measured."""


def examine(device: str = "auto", presets: Iterable[Preset] = tuple(PRESETS.values())) -> dict[str, Any]:
    """All of it, as JSON values; the hub is asked, if it may be, and answers within seconds or is away."""
    machine, network = _machine(device), _network()
    folders = {"hub cache": hub.cache(), "freeda cache": cache_folder()}
    return {
        "versions": {"python": platform.python_version(), **_versions()},
        "device": machine,
        "disk": {name: {"folder": str(f), "free": hub.free_bytes(f)} for name, f in folders.items()},
        "network": network,
        "presets": {p.name: _needs(p, machine, network["reachable"]) for p in presets},
        "banks": _banks(),
    }


def verdict(told: dict[str, Any], name: str) -> list[str]:
    """Why labelling with a preset cannot work on the machine that `examine` told of; empty where it can."""
    preset, device = told["presets"][name], told["device"]
    reasons = [m["problem"] for m in preset["models"].values() if m["problem"] and m["for"] == "label"]
    to_fetch = sum(m["to fetch"] or 0 for m in preset["models"].values() if m["for"] == "label")
    free = told["disk"]["hub cache"]["free"]
    if to_fetch > free:
        reasons.append(
            f"{hub.in_bytes(to_fetch)} are to be fetched and {hub.in_bytes(free)} are free on the disk"
        )
    need, there = preset["memory"]["label"], device["memory"]["total"]
    if need is not None and there is not None and need > there:
        reasons.append(
            f"labelling takes {hub.in_bytes(need)} of memory and {device['name']} has {hub.in_bytes(there)}"
        )
    return reasons


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(("freeda", *_PACKAGES))
    for name in found:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _machine(device: str) -> dict[str, Any]:
    import torch

    chosen = choose_device(device)
    main = _main_memory()
    told: dict[str, Any] = {
        "device": str(chosen),
        "name": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "encoders": {"default": "float32", "auto": _name(fast_dtype(chosen))},
        "drawing": _name(drawing_dtype(None, chosen)),
        "main memory": main,
        "memory": main,
    }
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        told |= {"name": torch.cuda.get_device_name(chosen), "memory": {"total": total, "free": free}}
    return told


def _main_memory() -> dict[str, int | None]:
    found: dict[str, int | None] = {"total": None, "free": None}
    with suppress(AttributeError, ValueError, OSError):  # not every system counts its pages
        page = os.sysconf("SC_PAGE_SIZE")
        found["total"] = page * os.sysconf("SC_PHYS_PAGES")
        found["free"] = page * os.sysconf("SC_AVPHYS_PAGES")
    with suppress(OSError, StopIteration):  # Linux: what caches would give back counts as free
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        found["free"] = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return found


def _network() -> dict[str, Any]:
    """Whether the hub answers, and what it says of the token."""
    from huggingface_hub import HfApi, get_token

    told: dict[str, Any] = {
        "hub": hub.endpoint(),
        "reachable": False,
        "token": "set" if get_token() else "none",
        "said": "HF_HUB_OFFLINE is set" if hub.is_offline() else "",
    }
    if hub.is_offline():
        return told
    known = ModelSource(PRESETS["vit-l"].clip.id)
    try:
        HfApi().model_info(known.id, timeout=hub.TIMEOUT)
        told["reachable"] = True
        if told["token"] == "set":
            HfApi().whoami()
            told["token"] = "accepted"
    except Exception as error:
        if told["reachable"]:
            told["token"] = "refused"
        told["said"] = hub.why(error, known)
    return told


def _needs(preset: Preset, machine: dict[str, Any], reachable: bool) -> dict[str, Any]:
    models = {}
    for part, what in PARTS.items():
        source = getattr(preset, part)
        if source is not None and (preset.detector is None or part in preset.labelling):
            use = "label" if part in preset.labelling else "draw"
            said = {"id": source.id, "licence": source.licence, "for": use}
            models[part] = {**said, **_model(source, part, what, reachable)}
    half = machine["drawing"] != "float32"
    looked_at = (preset.dense_size or 518) if preset.detector is None else 1008
    sides = {"label": looked_at, "draw": max(preset.collect.picture)}
    on_chip = machine["device"] != "cpu"
    memory = {use: _memory(models, use, side, half, on_chip) for use, side in sides.items()}
    return {"models": models, "memory": memory, "bank": preset.bank}


def _model(source: ModelSource, part: str, what: str, reachable: bool) -> dict[str, Any]:
    """Bytes of a model that are here, those that are to be fetched (None: nobody can tell), what is wrong."""
    told: dict[str, Any] = {"here": 0, "to fetch": 0, "problem": None}
    try:
        folder = local_folder(source.id)
        if folder is None:
            refuse_no_folder(source, what)
            folder = hub.find(source, part)
        if folder is not None:
            names, lacking = wanted(part, here(folder), index_of(folder), source.weight_name)
            told["here"] = sum((folder / name).stat().st_size for name in names)
            told["problem"] = f"{what}: {folder} lacks {lacking}" if lacking else None
        else:
            told["to fetch"] = None
            told["to fetch"] = hub.ask(source, part, what).size if reachable or hub.is_offline() else None
            if told["to fetch"] is None:
                told["problem"] = f"{what}: {source.id} is not here, and the hub cannot be asked"
    except FreedaError as error:
        told["problem"] = one_line(error)
    return told


def _memory(models: dict[str, Any], use: str, side: int, half: bool, accelerator: bool) -> int | None:
    """Bytes that labelling or drawing takes of the device's memory; None where a model's size is unknown.

    Arithmetic: files are float32, and half of that where drawing is in half precision; working memory is
    that of the CPU, halved with the weights, and an accelerator holds no libraries.
    """
    working, usual = WORKING[use]
    total = working * (side / usual) ** 2 / (2 if use == "draw" and half else 1)
    total += 0.0 if accelerator else LIBRARIES
    for model in models.values():
        size = model["here"] + (model["to fetch"] or 0)
        if model["for"] == "draw" and use == "label":
            continue
        if not size:
            return None
        total += size / 2 if model["for"] == "draw" and half else size
    return int(total)


def _banks() -> list[dict[str, Any]]:
    """The presets' own banks, and what was grown into the cache folder."""
    from .bank import Bank

    layers = sorted((cache_folder() / "grown").glob("*/bank.json"))
    places = [*(p.bank for p in PRESETS.values() if p.bank), *(str(file.parent) for file in layers)]
    found = []
    for place in places:
        told: dict[str, Any] = {"path": place, "pairs": None, "preset": None, "words": None, "problem": None}
        try:
            bank = Bank.open(place)
            told |= {"pairs": len(bank), "preset": bank.meta.get("preset"), "words": len(set(bank.nouns))}
        except FreedaError as error:
            told["problem"] = one_line(error)
        found.append(told)
    return found


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
