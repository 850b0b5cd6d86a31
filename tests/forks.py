"""Work in child processes that are killed at random moments: for `killing*.py` scripts and their tests.

The children are forks, so that a kill costs no second of imports. A script is run in a process of its own,
which has no threads that a fork would not take along.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_script(script: Path, folder: Path, seed: int, kills: int) -> dict[str, Any]:
    """Run `script FOLDER SEED KILLS`; what it told as the last line of its output, of JSON."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(seed), str(kills)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] >= kills
    return told


def arguments() -> tuple[Path, int, int]:
    """FOLDER, SEED and KILLS of the script."""
    return Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def child(work: Callable[[], object]) -> int:
    """A process that does the work, and ends with 0 or, where it failed, with 1; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid: int, seconds: float) -> int | None:
    """The exit status of a child that ended within so many seconds; else None."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if time.monotonic() >= until:
            return None
        time.sleep(0.001)


def kill_often(
    folder: Path,
    seed: int,
    kills: int,
    work: Callable[[Path], object],
    look: Callable[[Path], int],
    *,
    begin: Callable[[Path], object] = lambda out: None,
    patience: float,
    limit: float,
    places: int = 4,
) -> dict[str, Any]:
    """Do `work(FOLDER/whole)` undisturbed; then kill it in FOLDER/0, FOLDER/1, ..., each until it is done.

    Ends when there were so many kills, and at `places` different points of the work: kills at one and the
    same point prove little. `begin` prepares a folder; `look` checks what a kill left and returns how far the
    work had come. A child lives at most `patience` times as long as the undisturbed one, and
    longer whenever the one before came no further: a busy machine is slow. Fails after `limit` seconds.
    """
    start = time.monotonic()
    begin(folder / "whole")
    assert ended(child(lambda: work(folder / "whole")), limit) == 0
    usual = time.monotonic() - start
    chance, killed, rounds, at = random.Random(seed), 0, 0, list[int]()
    while killed < kills or len(set(at)) < places:
        out, rounds, left, share = folder / str(rounds), rounds + 1, 0, patience
        begin(out)
        while True:
            assert time.monotonic() - start < limit, f"{killed} kills, {rounds} rounds: no end in sight"
            pid = child(lambda: work(out))  # noqa: B023 - forked at once
            status = ended(pid, chance.uniform(0, usual * share))
            if status is None:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
            if status == 0:
                break
            assert status == signal.SIGKILL, status
            killed += 1
            before, left = left, look(out)
            share = patience if left > before else share * 1.25
            at.append(left)
    return {"kills": killed, "rounds": rounds, "seconds": usual, "shards_at_kill": at}
