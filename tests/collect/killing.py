"""Run by test_kill.py: collects with cheap models in child processes, and kills them at random moments.

    killing.py FOLDER SEED KILLS

One child makes FOLDER/whole undisturbed. Others make FOLDER/0, FOLDER/1, ..., each begun again after every
SIGKILL until it is done, until there were KILLS kills. The children are forks, so that a kill costs no second
of imports. What is left after every kill is looked at; the last line of output is JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pyarrow.dataset  # noqa: F401 - imported before the forks rather than in each
import torch
from fakes import OPTIONS, PRESET, captions, fake_models

from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.collect.job import collect
from freeda.collect.nouns import find_nouns

CAPTIONS = 60


def child(out: Path) -> int:
    """A process that collects; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            collect(captions(CAPTIONS), out, PRESET, "cpu", models=fake_models(), options=OPTIONS)
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


def left_whole(out: Path) -> int:
    """Check what a kill left: nothing under a final name that is not whole. Returns the number of shards."""
    shards = list((out / "shards").glob("*.parquet"))
    if shards:
        found = list(find_damage(out))
        assert not found, found
    if (out / "bank.json").exists():
        Bank.open(out)
    return len(shards)


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)  # nothing may run in threads that a fork does not take along
    find_nouns("a cat")  # the tagger's lexicon takes longer to load than a child lives
    start = time.monotonic()
    assert ended(child(folder / "whole"), 60) == 0
    usual = time.monotonic() - start
    chance, killed, rounds, at = random.Random(seed), 0, 0, []
    while killed < kills:
        out, rounds, left, patience = folder / str(rounds), rounds + 1, 0, 0.3
        while True:
            assert time.monotonic() - start < 250, f"{killed} kills, {rounds} rounds: no end in sight"
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
            # Lives are short, and longer whenever one was too short for a shard: a busy machine is slow.
            patience = 0.3 if left > before else patience * 1.25
            at.append(left)
    print(json.dumps({"kills": killed, "rounds": rounds, "seconds": usual, "shards_at_kill": at}))


if __name__ == "__main__":
    main()
