"""Running the command line in a test, and what its refusals must look like."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from freeda.cli import app
from freeda.options import to_dict
from freeda.presets import Preset

CAPTIONS = "a red stop sign beside a tree\ntwo people ride horses along the beach\na cat on a wooden table\n"


def run(*arguments: Any, width: int = 200) -> Result:
    return CliRunner(env={"COLUMNS": str(width), "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments])


def write_preset(folder: Path, preset: Preset) -> Path:
    """A preset as the JSON file that `--model` takes."""
    path = folder / "tiny.json"
    parts = {part: {"id": getattr(preset, part).id} for part in ("clip", "dense", "generator")}
    path.write_text(
        json.dumps(
            {
                "base": "vit-b",
                **parts,
                "clip_size": preset.clip_size,
                "dense_size": preset.dense_size,
                "segment": to_dict(preset.segment),
                "collect": to_dict(preset.collect),
            }
        )
    )
    return path


def refused(done: Result, *says: str) -> None:
    """Exit code 2 and one line on stderr that holds every word of `says`."""
    assert done.exit_code == 2, (done.exit_code, done.output, done.exception)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for word in says:
        assert word in lines[0]


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """From the call number `after` on, no file reaches the disk."""
    calls = iter(range(1000))
    real = os.fsync

    def fsync(handle: int) -> None:
        if next(calls) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
