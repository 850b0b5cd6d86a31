"""`freeda app`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..app.limits import HOST, PORT
from ..presets import DEFAULT, ENCODERS, find_preset
from .base import Device, Model, Yes, say
from .fetching import fetch_first


def web_page(
    model: Model = DEFAULT,
    bank: Annotated[Path | None, typer.Option(help="Bank directory; default: the preset's own.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets others in.")] = HOST,
    port: Annotated[int, typer.Option(help="Port to listen at.")] = PORT,
    share: Annotated[
        bool, typer.Option("--share", help="Also ask Gradio's tunnel for a public address.")
    ] = False,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, or auto.")] = "float32",
    yes: Yes = False,
) -> None:
    """The web page: type words, see them on your photograph, click to see why."""
    from ..app.server import LOOPBACK, refuse_no_bank, serve
    from ..bank import Bank
    from ..model import load

    preset = find_preset(model)
    refuse_no_bank(preset, preset.bank if bank is None else bank)
    opened = None if bank is None else Bank.open(bank)  # a wrong path is told before gigabytes are fetched
    fetch_first(preset, ENCODERS, yes)
    served = serve(load(preset, opened, device, dtype), host, port, share)
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # also then, what visitors sent is removed
        say(f"freeda is at {served.url} (Ctrl-C ends it)")
        if served.public:
            say(f"and for everyone at {served.public}", "yellow")
        elif host not in LOOPBACK:
            say("everyone who can reach this machine can use it", "yellow")
        served.wait()
    finally:
        served.close()
