"""Run by test_references_kill.py: adds references to a bank in children, killed at random moments.

    killing_references.py FOLDER SEED KILLS

See `forks.kill_often`. After every kill the bank is read: it must be the one before or the one after. The
last line of output is JSON.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from forks import arguments, kill_often
from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.encoders import load_encoders
from freeda.miniature.scenes import HELD_OUT, render
from freeda.references.add import add_images, reference_options
from studies.references import write_folder
from studies.sweep import PRESET

OPTIONS = replace(reference_options(PRESET.collect), shard_size=2)


def left_readable(out: Path) -> int:
    """Check that the bank is the whole one already, or still the base. Returns the number of shards."""
    bank, whole, base = (Bank.open(path) for path in (out, out.parent / "whole", out.parent / "base"))
    expected = whole if len(bank) == len(whole) else base
    assert len(bank) == len(expected) and bank.nouns == expected.nouns
    assert np.array_equal(bank.keys, expected.keys) and np.array_equal(bank.prototypes, expected.prototypes)
    wrong = [text for _, text in find_damage(out)]
    assert all(text == "is not listed in bank.json" for text in wrong), wrong
    return len(list((out / "shards").glob("*.parquet")))


def main() -> None:
    folder, seed, kills = arguments()
    torch.set_num_threads(1)  # nothing may run in threads that a fork does not take along
    encoders = load_encoders(PRESET, "cpu")
    for name, first in (("few", 0), ("many", 100)):
        write_folder(folder / name, [render(HELD_OUT, first + i) for i in range(4 if first == 0 else 12)])
    add_images(folder / "few", folder / "base", PRESET, encoders=encoders, options=OPTIONS)

    def begin(out: Path) -> None:
        shutil.copytree(folder / "base", out)

    def work(out: Path) -> None:
        add_images(folder / "many", out, PRESET, encoders=encoders, options=OPTIONS)

    limits = {"patience": 0.6, "limit": 800, "places": 3}
    print(json.dumps(kill_often(folder, seed, kills, work, left_readable, begin=begin, **limits)))


if __name__ == "__main__":
    main()
