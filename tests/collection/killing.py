"""Run by test_kill.py: collects with cheap models in child processes, and kills them at random moments.

    killing.py FOLDER SEED KILLS

See `forks.kill_often`. What is left after every kill is looked at; the last line of output is JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.dataset  # noqa: F401 - imported before the forks rather than in each
import torch

from collection.fakes import OPTIONS, PRESET, captions, fake_models
from forks import arguments, kill_often
from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.collection.job import collect
from freeda.collection.nouns import find_nouns

CAPTIONS = 60


def work(out: Path) -> None:
    options = replace(OPTIONS, region_values=True)
    collect(captions(CAPTIONS), out, PRESET, "cpu", models=fake_models(), options=options)


def left_whole(out: Path) -> int:
    """Check what a kill left: nothing under a final name that is not whole. Returns the number of shards."""
    shards = list((out / "shards").glob("*.parquet"))
    if shards:
        found = list(find_damage(out))
        assert not found, found
        regions = {p.name for p in (out / "regions" / "shards").glob("*.parquet")}
        assert {p.name for p in shards} <= regions  # a shard of pairs never lacks its regions
    if (out / "bank.json").exists():
        assert Bank.open(out).regions is not None
    return len(shards)


if __name__ == "__main__":
    torch.set_num_threads(1)  # nothing may run in threads that a fork does not take along
    find_nouns("a cat")  # the tagger's lexicon takes longer to load than a child lives
    print(json.dumps(kill_often(*arguments(), work, left_whole, patience=0.3, limit=800)))
