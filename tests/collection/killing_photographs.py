"""Run by test_references_kill.py: adds photographs' regions in children, killed at random moments.

    killing_photographs.py FOLDER SEED KILLS

See `forks.kill_often`. After every kill the region values are the whole ones, or there is no bank yet. The
last line of output is JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from collection.fakes import OPTIONS, PRESET, fake_models
from collection.test_photographs import photos
from forks import arguments, kill_often
from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.references.photographs import add_regions

VIEW = replace(PRESET, segment=PRESET.segment.with_changes(short_side=16, window=16, stride=8))


def left_whole(out: Path) -> int:
    """Check what a kill left: nothing under a final name that is not whole. Returns the number of shards."""
    shards = list((out / "regions" / "shards").glob("*.parquet"))
    if (out / "bank.json").exists():
        whole = Bank.open(out.parent / "whole").regions
        found = Bank.open(out).regions
        assert whole is not None and found is not None and found.identity == whole.identity
        assert not list(find_damage(out))
    return len(shards)


def main() -> None:
    folder, seed, kills = arguments()
    torch.set_num_threads(1)  # nothing may run in threads that a fork does not take along
    encoders, given = fake_models().encoders, photos(folder / "photographs", 24)

    def work(out: Path) -> None:
        add_regions(given, out, VIEW, encoders=encoders, options=replace(OPTIONS, shard_size=2))

    limits = {"patience": 0.4, "limit": 800, "places": 3}
    print(json.dumps(kill_often(folder, seed, kills, work, left_whole, **limits)))


if __name__ == "__main__":
    main()
