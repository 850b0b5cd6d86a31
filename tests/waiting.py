"""Waiting for a state, and never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(what: Callable[[], Any], seconds: float = 600) -> None:
    """Until it is so. The limit is for a test that fails: a sound one comes to an end on any machine."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def alive(pid: int | str) -> bool:
    """Whether a process runs: one that ended and that nobody asked after does not."""
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
