"""Run by test_job.py: measures in child processes, and kills them at random moments.

    killing.py FOLDER SEED KILLS

Children make FOLDER/0, FOLDER/1, ..., each begun again after every SIGKILL until it is done, until there were
KILLS kills. After every kill all parts that are there must be whole. The last line of output is JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluate.sets import Noise, Oracle
from freeda.evaluate.folder import digest_of
from freeda.evaluate.job import PART, evaluate
from freeda.evaluate.part import read_part

IMAGES = 60


class Slow(Oracle):
    def __call__(self, image: Any) -> Any:
        time.sleep(0.002)
        return super().__call__(image)


def child(out: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            data = Noise(IMAGES)
            evaluate(data, out=out, labeller=Slow(data), device="cpu", report=False)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int, seconds: float) -> int | None:
    """The exit status of a child that ended within so many seconds; else None."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    return None


def left_whole(out: Path) -> int:
    """Check that every part under its final name is whole; how many there are."""
    parts = sorted((out / "parts").glob("*.npz"))
    if parts:
        digest = digest_of(json.loads((out / "run.json").read_text())["settings"])
        for path in parts:
            number = int(path.stem)
            images = range(IMAGES)[number * PART : (number + 1) * PART]
            assert read_part(path, digest, images) is not None, path
    return len(parts)


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    start = time.monotonic()
    os.waitpid(child(folder / "timed"), 0)
    usual = time.monotonic() - start
    chance, killed, rounds, at = random.Random(seed), 0, 0, []
    while killed < kills:
        out, rounds, left, patience = folder / str(rounds), rounds + 1, 0, 0.5
        while True:
            assert time.monotonic() - start < 200, f"{killed} kills, {rounds} rounds: no end in sight"
            pid = child(out)
            status = ended(pid, chance.uniform(0, usual * patience))
            if status is None:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
            if status == 0:
                break
            assert status == signal.SIGKILL, status
            killed += 1
            before, left = left, left_whole(out)
            patience = 0.5 if left > before else patience * 1.25
            at.append(left)
    print(json.dumps({"kills": killed, "rounds": rounds, "parts_at_kill": at}))


if __name__ == "__main__":
    main()
