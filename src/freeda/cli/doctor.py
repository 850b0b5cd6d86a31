"""`freeda doctor`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import printable
from ..presets import PRESETS, find_preset
from .base import Device, say


def doctor(
    model: Annotated[
        str | None,
        typer.Option("--model", help="Preset, or preset .json file, that must be able to run here."),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Say what this machine has for the models: device, memory, disk, network, what is fetched, which banks.

    Exit code: 0; 1 the model that was named cannot label photographs here, for the reason told; 2 it stopped
    for the reason told.
    """
    from ..doctor import examine, verdict

    chosen = [*PRESETS.values()]
    named = None if model is None else find_preset(model)
    if named is not None and named not in chosen:
        chosen.append(named)
    told = examine(device, chosen)
    reasons = verdict(told, named.name) if named is not None else []
    if as_json:
        print(json.dumps({**told, "cannot run": reasons}, indent=1))
    else:
        _print(told)
        for reason in reasons:
            say(f"{named.name if named else ''} cannot run here: {reason}", "red")
        if named is not None and not reasons:
            say(f"{named.name} can run here", "green")
    if reasons:
        raise typer.Exit(1)


def _print(told: dict[str, Any]) -> None:
    from ..hub import in_bytes

    def size(n: int | None) -> str:
        return "?" if n is None else in_bytes(n)

    device, network = told["device"], told["network"]
    memory, main = device["memory"], device["main memory"]
    table = Table(show_header=False, box=None, pad_edge=False)

    def row(name: str, text: str) -> None:
        table.add_row(name, Text(printable(text)))

    row("versions", ", ".join(f"{name} {v or 'missing'}" for name, v in told["versions"].items()))
    row("device", f"{device['device']} ({device['name']}), {device['threads']} threads")
    row("memory", f"{size(memory['free'])} of {size(memory['total'])} free on the device")
    if memory != main:
        row("", f"{size(main['free'])} of {size(main['total'])} of main memory free")
    encoders = device["encoders"]
    row(
        "dtype",
        f"encoders {encoders['default']} (--dtype auto: {encoders['auto']}), drawing {device['drawing']}",
    )
    for name, disk in told["disk"].items():
        row(name, f"{disk['folder']}, {size(disk['free'])} free")
    said = "reachable" if network["reachable"] else network["said"]
    row("hub", f"{network['hub']}: {said}; token: {network['token']}")
    for bank in told["banks"]:
        about = bank["problem"] or f"{bank['pairs']:,} pairs of {bank['words']:,} words, {bank['preset']}"
        row("bank", f"{_short(bank['path'])}: {about}")
    Console().print(table)
    models = Table("preset", box=None, pad_edge=False)
    models.add_column("model", overflow="fold")
    for name in ("for", "here", "to fetch", "memory in all"):
        models.add_column(name, no_wrap=True)
    for name, preset in told["presets"].items():
        shown: set[str] = set()
        for part, model in preset["models"].items():
            use = model["for"]
            memory_told = "" if use in shown else size(preset["memory"][use])
            about = f"{part}: {_short(model['id'])}" + (f" ({model['problem']})" if model["problem"] else "")
            models.add_row(
                "" if shown else name,
                Text(printable(about)),
                use,
                size(model["here"]) if model["here"] else "-",
                size(model["to fetch"]) if model["to fetch"] != 0 else "-",
                memory_told,
            )
            shown.add(use)
    Console().print(models)


def _short(name: str) -> str:
    """A path by its last two parts, a hub id as it is."""
    path = Path(name)
    return f".../{path.parent.name}/{path.name}" if path.is_absolute() else name
