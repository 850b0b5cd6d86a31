"""A kind of work that takes no time and needs no model: for tests of the engines."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from freeda.engines import WAITING, Make, Note, Order
from freeda.errors import InputError


def begin(first: Order) -> Make:
    """A piece squares its "number" into a file, and does before whatever else its order says."""
    out, times = Path(first["out"]), 0
    words = (out / "words.txt").read_text() if first.get("reads") else ""
    if first.get("fails"):
        raise InputError(f"{first['fails']}: not there")

    if first.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if first.get("loads"):  # as long as it takes
        while not Path(first["loads"]).exists():
            time.sleep(0.01)

    def make(order: Order, note: Note) -> Any:
        nonlocal times
        times += 1
        number = order["number"]
        for part in range(3):
            note([number, part])
        if "wait" in order:  # "started" tells that this piece is at work; it goes on once "wait" is there
            Path(order["started"]).write_text(str(os.getpid()))
            while not Path(order["wait"]).exists():
                time.sleep(0.01)
        if "once" in order and not Path(order["once"]).exists():
            Path(order["once"]).write_text(f"{os.getpid()} {out}")
            os.kill(os.getpid(), signal.SIGKILL)
        if order.get("always") == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if order.get("always") == "gone":
            os.write(2, b"no\nsuch\nluck\n")
            os._exit(3)
        if "raise" in order:
            raise InputError(order["raise"])
        if "stumble" in order:
            raise KeyError(order["stumble"])
        (out / "deep").mkdir(exist_ok=True)
        (out / "deep" / f"{number}.txt").write_text(f"{number * number}{words}")
        return {
            "number": number,
            "times": times,
            "process": os.getpid(),
            "threads": os.environ["OMP_NUM_THREADS"],
            "waiting": {name: os.environ[name] for name in WAITING if name in os.environ},
        }

    return make
