"""`freeda app`, `demo` and `doctor`: trying what there is, without files of one's own."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from ..app.limits import HOST, PORT
from ..errors import InputError, printable
from ..options.word_list import written
from ..presets import LABELLING, PRESETS, STUDIO, find_preset, with_models
from .base import say, tell_trained
from .options import (
    BankOrOwn,
    Classes,
    ClassesFile,
    Device,
    Model,
    Regions,
    Yes,
    fetch_first,
    read_names,
)


def web_page(
    folder: Annotated[
        Path | None, Argument(help="Photographs to label together; what is done is kept in FOLDER/.freeda/.")
    ] = None,
    model: Model = STUDIO,
    bank: BankOrOwn = None,
    regions: Regions = None,
    classes: Classes = None,
    classes_file: ClassesFile = None,
    host: Annotated[str, Option(help="Address to listen at; 0.0.0.0 lets others in.")] = HOST,
    port: Annotated[int, Option(help="Port to listen at.")] = PORT,
    token: Annotated[
        str | None, Option(help="What visitors have to bring; made where others are let in.")
    ] = None,
    device: Device = "auto",
    dtype: Annotated[str, Option(help="float32, bfloat16, float16, or auto.")] = "float32",
    yes: Yes = False,
) -> None:
    """The studio, a web page: label by words, correct by clicks, and let corrections teach."""
    from ..app.server import is_loopback, photographs, refuse_detectors, serve
    from ..bank import Bank
    from ..model import load

    preset = find_preset(model) if regions is None else with_models(find_preset(model), regions=regions)
    refuse_detectors(preset)
    words = None
    if classes is not None or classes_file is not None:
        if folder is None:
            raise InputError("--classes goes with a folder of photographs: freeda app photos/ --classes ...")
        words = written(read_names(classes, classes_file))
    # A wrong path is told before gigabytes are fetched.
    opened = None if bank is None else Bank.open(bank)
    if folder is not None:
        photographs(folder)
    fetch_first(preset, LABELLING, yes)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also then, what visitors sent is removed
    loaded = load(preset, opened, device, dtype)
    served = serve(loaded, host, port, folder=folder, words=words, token=token)
    try:
        entry = f"?token={served.token}" if served.token else ""
        say(f"freeda is at {served.url}{entry} (Ctrl-C ends it)")
        tell_trained(loaded.preset, loaded.identity)
        if not is_loopback(host):
            say("everyone who can reach this machine and has the token can use it", "yellow")
        served.wait()
    finally:
        served.close()


def demo(
    out: Annotated[Path, Option(help="Folder for pictures and report.json.")] = Path("demo"),
    seed: Annotated[int, Option(help="Other captions and other held-out scenes.")] = 0,
    captions: Annotated[int, Option(min=1, help="Captions drawn for the bank.")] = 400,
    scenes: Annotated[int, Option(min=1, help="Held-out scenes that are segmented.")] = 200,
) -> None:
    """The whole story on the bundled miniature models, with pictures; no download."""
    from ..demo import run_demo

    run_demo(out=out, seed=seed, captions=captions, scenes=scenes)


def doctor(
    model: Annotated[
        str | None, Option("--model", help="Preset, or preset .json file, that must be able to run here.")
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, Option("--json", help="Print all of it as JSON.")] = False,
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
