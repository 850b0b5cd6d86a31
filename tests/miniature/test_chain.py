"""The whole training, a few steps a stage: every stage runs from nothing and finds what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("data", "vae", "dense", "clip", "unet")


@pytest.mark.slow
def test_every_stage_runs_from_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studies.train", "--pace", "0.0005", "--scenes", "300"]
    command += ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--threads", "1"]
    for stage in STAGES:
        command += ["--stage", stage]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    how: dict[str, Any] = {
        "env": environment,
        "cwd": ROOT,
        "capture_output": True,
        "text": True,
        "timeout": 1200,
    }
    done = subprocess.run(command, **how)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stdout.splitlines() if line.endswith(": training")] == [
        f"{s}: training" for s in ("vae", "dense", "clip", "unet")
    ]
    found = {p.relative_to(tmp_path / "out").parts[0] for p in (tmp_path / "out").rglob("*.safetensors")}
    assert found == {"clip", "dense", "generator"}

    again = subprocess.run(command, **how)
    assert again.returncode == 0 and ": training" not in again.stdout
