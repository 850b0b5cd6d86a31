"""Run by test_grow_kill.py: grows words with cheap models in child processes, killed at random moments.

    killing_growth.py FOLDER SEED KILLS

See `forks.kill_often`. What is left after every kill is looked at; the last line of output is JSON.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset  # noqa: F401 - imported before the forks rather than in each
import torch

from collection.fakes import OPTIONS, PRESET, fake_models
from collection.killing import left_whole
from forks import arguments, kill_often
from freeda.bank.verify import find_damage, shard_damage
from freeda.grow import grow, open_layer

WORDS = [f"thing {i}" for i in range(12)]


def work(out: Path) -> None:
    """Grow half of the words, then all."""
    models = fake_models(lambda _: time.sleep(0.02))  # or all kills come between shards
    for words in (WORDS[:6], WORDS):
        options = replace(OPTIONS, prompts_per_word=3)
        grow(words, out, PRESET, "cpu", options=options, models=models)


def left_growth(out: Path) -> int:
    """Check what a kill left; shards behind the end of a layer are not listed yet, which is no damage."""
    shards = list((out / "shards").glob("*.parquet"))
    assert all(shard_damage(shard) is None for shard in shards)
    if open_layer(out) is None:
        return left_whole(out)
    wrong = [(f, why) for f, why in find_damage(out) if not why.startswith("is not listed")]
    # The arrays are a copy: those of the longer layer may be there before it is listed.
    assert all(f.endswith(".npy") for f, _ in wrong), wrong
    return len(shards)


if __name__ == "__main__":
    torch.set_num_threads(1)  # nothing may run in threads that a fork does not take along
    print(json.dumps(kill_often(*arguments(), work, left_growth, patience=0.5, limit=800)))
