"""Run by test_references_kill.py: adds references to a bank in children, killed at random moments.

    killing_references.py FOLDER SEED KILLS

One child adds to FOLDER/whole undisturbed; others to FOLDER/0, FOLDER/1, ..., each begun again after every
SIGKILL until it is done, until there were KILLS kills. After every kill the bank is read: it must be the one
before or the one after. The last line of output is JSON.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from killing import ended

from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.collect.references import add_images, reference_options
from freeda.encoders import Encoders, load_encoders
from freeda.miniature.references import PRESET, write_folder
from freeda.miniature.scenes import HELD_OUT, render

OPTIONS = replace(reference_options(PRESET.collect), shard_size=2)


def child(source: Path, out: Path, encoders: Encoders) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            add_images(source, out, PRESET, encoders=encoders, options=OPTIONS)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def read(out: Path, base: Bank, whole: Bank) -> bool:
    """Whether the bank is the whole one already; it must be that or the base."""
    bank = Bank.open(out)
    done = len(bank) == len(whole)
    expected = whole if done else base
    assert len(bank) == len(expected) and bank.nouns == expected.nouns
    assert np.array_equal(bank.keys, expected.keys) and np.array_equal(bank.prototypes, expected.prototypes)
    wrong = [text for _, text in find_damage(out)]
    assert all(text == "is not listed in bank.json" for text in wrong), wrong
    return done


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)  # nothing may run in threads that a fork does not take along
    encoders = load_encoders(PRESET, "cpu")
    for name, first in (("few", 0), ("many", 100)):
        write_folder(folder / name, [render(HELD_OUT, first + i) for i in range(4 if first == 0 else 12)])
    base = add_images(folder / "few", folder / "base", PRESET, encoders=encoders, options=OPTIONS).bank
    shutil.copytree(folder / "base", folder / "whole")
    start = time.monotonic()
    assert ended(child(folder / "many", folder / "whole", encoders), 60) == 0
    usual, whole = time.monotonic() - start, Bank.open(folder / "whole")
    chance, killed, rounds, shards = random.Random(seed), 0, 0, []
    while killed < kills:
        out, rounds, patience = folder / str(rounds), rounds + 1, 0.6
        shutil.copytree(folder / "base", out)
        while True:
            assert time.monotonic() - start < 120, f"{killed} kills, {rounds} rounds: no end in sight"
            pid = child(folder / "many", out, encoders)
            status = ended(pid, chance.uniform(0, usual * patience))
            if status is None:
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
            if status == 0:
                break
            assert status == signal.SIGKILL, status
            killed += 1
            shards.append(len(list((out / "shards").glob("*.parquet"))))
            read(out, base, whole)
            patience *= 1.15
        assert read(out, base, whole)
    print(json.dumps({"kills": killed, "rounds": rounds, "shards_at_kill": shards}))


if __name__ == "__main__":
    main()
