"""Run by test_released.py: `freeda bank import` of FOLDER/root in child processes, killed at random moments.

    killing_import.py FOLDER SEED KILLS

See `forks.kill_often`. Every kill's shards must still be there at the next; the last line of output is JSON.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

import freeda.weights  # noqa: F401 - imported before the forks rather than in each
from forks import arguments, kill_often
from freeda.bank import released
from freeda.cli import app

made: dict[Path, dict[str, int]] = {}


class Slow(released.NpyReader):
    """Or all kills come before the first file and after the last."""

    def read(self, path: Path) -> Any:
        time.sleep(0.003)
        return super().read(path)


def work(out: Path) -> None:
    if not out.exists():
        given = ["bank", "import", str(out.parent / "root"), "--out", str(out), "--model", "vit-l"]
        assert command(given, standalone_mode=False) in (None, 0)


def left(out: Path) -> int:
    """How many shards a kill left, those that were there at the kill before among them."""
    folders = [out] if out.exists() else list(out.parent.glob(f".{out.name}.*.partial"))
    shards = {file.name: file.stat().st_ino for place in folders for file in place.glob("shards/*.parquet")}
    assert len(folders) < 2 and made.get(out, {}).items() <= shards.items(), (made, shards)
    made[out] = shards
    return len(shards) + out.exists()


if __name__ == "__main__":
    released._SHARD, released.NpyReader = 6, Slow  # type: ignore[misc]
    pa.array([""])  # takes a second the first time
    command = typer.main.get_command(app)
    print(json.dumps(kill_often(*arguments(), work, left, patience=0.7, limit=300)))
