"""Run by test_grow_kill.py: grows words with cheap models in child processes, killed at random moments.

    killing_growth.py FOLDER SEED KILLS

One child grows FOLDER/whole undisturbed; the others grow FOLDER/0, FOLDER/1, ... as collect/killing.py does.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset  # noqa: F401 - imported before the forks rather than in each
import torch

from collect.fakes import OPTIONS, PRESET, fake_models
from collect.killing import ended, left_whole
from freeda.grow import grow

WORDS = [f"thing {i}" for i in range(12)]


def child(out: Path) -> int:
    """A process that grows half of the words, then all; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            models = fake_models(lambda _: time.sleep(0.02))  # or all kills come between shards
            models.encoders.dtype = torch.float32
            for words in (WORDS[:6], WORDS):
                options = replace(OPTIONS, prompts_per_word=3)
                grow(words, out, PRESET, "cpu", options=options, models=models)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)  # nothing may run in threads that a fork does not take along
    start = time.monotonic()
    assert ended(child(folder / "whole"), 60) == 0
    usual = time.monotonic() - start
    chance, killed, rounds, at = random.Random(seed), 0, 0, []
    while killed < kills:
        out, rounds, left, patience = folder / str(rounds), rounds + 1, 0, 0.5
        while True:
            assert time.monotonic() - start < 120, f"{killed} kills, {rounds} rounds: no end in sight"
            pid = child(out)
            status = ended(pid, chance.uniform(0, usual * patience))
            if status is None:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
            if status == 0:
                break
            assert status == signal.SIGKILL, status
            killed += 1
            before, left = left, (left_growth(out) if out.exists() else 0)
            patience = 0.5 if left > before else patience * 1.25
            at.append(left)
    print(json.dumps({"rounds": rounds, "shards_at_kill": at}))


def left_growth(out: Path) -> int:
    """Check what a kill left; shards behind the end of a layer are not listed yet, which is no damage."""
    from freeda.bank.verify import find_damage, shard_damage
    from freeda.grow import open_layer

    shards = list((out / "shards").glob("*.parquet"))
    assert all(shard_damage(shard) is None for shard in shards)
    if open_layer(out) is None:
        return left_whole(out)
    wrong = [(f, why) for f, why in find_damage(out) if not why.startswith("is not listed")]
    # The arrays are a copy: those of the longer layer may be there before it is listed.
    assert all(f.endswith(".npy") for f, _ in wrong), wrong
    return len(shards)


if __name__ == "__main__":
    main()
