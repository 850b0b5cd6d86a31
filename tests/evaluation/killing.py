"""Run by test_job.py: measures in child processes that are killed at random moments: FOLDER SEED KILLS.

See `forks.kill_often`. After every kill all parts there must be whole; the last line of output is JSON.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from evaluation.sets import Noise, Oracle
from forks import arguments, kill_often
from freeda.evaluation.job import PART, evaluate
from freeda.evaluation.part import Piece, digest_of, read_part

IMAGES = 60


class Slow(Oracle):
    def __call__(self, image: Any) -> Any:
        time.sleep(0.002)
        return super().__call__(image)


def work(out: Path) -> None:
    data = Noise(IMAGES)
    evaluate(data, out=out, labeller=Slow(data), device="cpu", report=False)


def left_whole(out: Path) -> int:
    """Check that every part under its final name is whole; how many there are."""
    parts = sorted((out / "parts").glob("*.npz"))
    if parts:
        digest = digest_of(json.loads((out / "run.json").read_text())["settings"])
        for path in parts:
            number = int(path.stem.split("-")[0])
            images = range(IMAGES)[number * PART : (number + 1) * PART]
            piece = Piece(number, images, [""] * len(images))
            assert read_part(path, piece, digest) is not None, path
    return len(parts)


if __name__ == "__main__":
    print(json.dumps(kill_often(*arguments(), work, left_whole, patience=0.5, limit=800)))
