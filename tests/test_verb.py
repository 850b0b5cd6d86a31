"""Rooms that share their name with a verb can be called, however they were imported."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("verb", ["collect", "evaluate"])
def test_a_room_that_is_a_verb(verb: str) -> None:
    script = (
        f"import sys, freeda, freeda.{verb}; room = freeda.{verb}; loaded = 'torch' in sys.modules; "
        f"import freeda.{verb}.job as job; assert room is freeda.{verb} and callable(room); "
        f"from freeda.{verb} import {verb} as f; assert f is job.{verb}; assert not hasattr(room, 'no'); "
        "print(loaded)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
