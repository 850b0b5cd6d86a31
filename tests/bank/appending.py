"""Run by test_concurrent.py: `write FOLDER TIMES READERS` appends to a bank, `read FOLDER` looks meanwhile.

The writer waits every few times until each of so many readers has looked again: they all see many states,
however slow they are.

Row i of the bank is pair i of small_banks, whatever its length, so that a reader can tell a whole state.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from freeda.bank import Bank
from freeda.bank.format import caption_digest, shard_name, write_shard
from freeda.bank.manifest import finish_bank
from small_banks import MODELS, make_pair

ROWS = 3
"""Of a shard."""
PAUSE = 5
"""Appends between two waits for the readers."""


def looks(folder: Path) -> dict[str, int]:
    """How often each reader has looked."""
    return {path.name: path.stat().st_size for path in folder.parent.glob("looks.*")}


def wait_for_looks(folder: Path, readers: int) -> None:
    """Until there are so many readers and each began a look and ended it since."""
    before = looks(folder)
    while len(now := looks(folder)) < readers or any(n < before.get(name, 0) + 2 for name, n in now.items()):
        time.sleep(0.002)


def write(folder: Path, times: int, readers: int) -> None:
    for at in range(times):
        if at % PAUSE == 0:
            wait_for_looks(folder, readers)
        bank = Bank.open(folder)
        n = len(bank.meta["shards"])
        info = {"settings": {}, "digest": caption_digest([]), "captions": 9, "pictures": 9, "rejected": {}}
        pairs = [make_pair(i) for i in range(n * ROWS, n * ROWS + ROWS)]
        write_shard(folder / shard_name(n), pairs, {**info, "failed": []})
        finish_bank(folder, n + 1, {"models": MODELS, "preset": "vit-b"})


def read(folder: Path) -> None:
    """Open the bank again and again until it is told to stop; every look must find one whole state."""
    sizes: list[int] = []
    expected = [make_pair(i) for i in range(300)]
    keys = np.stack([p.key for p in expected])
    prototypes = np.stack([p.prototype for p in expected])
    while not (folder.parent / "stop").exists():
        bank = Bank.open(folder)
        n = len(bank)
        assert n % ROWS == 0 and n == bank.meta["pairs"], n
        if len(sizes) % 2:
            time.sleep(0.003)  # a writer may come between opening and reading
        assert bank.keys.shape == (n, keys.shape[1]) and np.array_equal(bank.keys, keys[:n]), n
        assert bank.prototypes.shape[0] == n and np.array_equal(bank.prototypes, prototypes[:n]), n
        assert bank.nouns == [p.noun for p in expected[:n]], n
        _, rows = bank.search(keys[[0, n - 1]].astype(np.float32), 1)
        assert rows[:, 0].tolist() == [0, n - 1], (n, rows)
        assert bank.row(n - 1)["seed"] == expected[n - 1].seed
        sizes.append(n)
        with open(folder.parent / f"looks.{os.getpid()}", "ab") as own:
            own.write(b".")
    assert sizes == sorted(sizes), "a reader saw the bank shrink"
    print(json.dumps({"looks": len(sizes), "states": len(set(sizes))}))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        read(Path(sys.argv[2]))
