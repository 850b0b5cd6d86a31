"""A bank of millions of pairs: opened, searched exactly and approximately, and against one file a row.

    python benchmarks/bank.py --json build/bank.json            # 2,166,945 pairs: 10 GB of disk
    python benchmarks/bank.py --rows 60000 --quick

Keys are synthetic. "clustered": a unit vector is the sum of four parts, each with a spectrum falling as
1/sqrt(i): what all nouns share (half of the squared length), one of 300 topics (0.15), one of 20,000 nouns
(0.2) drawn by Zipf's law, and the caption around it (0.15), so that keys of a noun have cosine 0.85, of a
topic 0.65, any two 0.5. Class names are 171 of the nouns, evenly over the logarithm of their frequency, each
with a context of 0.05. "random": no structure at all, the worst an index can meet.

Every step runs in a process of its own, so that its peak of resident memory is its own. Shards hold all but
the two vectors, which stand in the arrays: they would only double the disk, and nothing timed reads them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import CLASSES, forget, layout, make, resident, timed

RELEASED = 2_166_945


def main() -> None:
    if sys.argv[1:2] == ["--step"]:  # before anything is imported that would count as this step's memory
        given = argparse.Namespace(**json.loads(sys.argv[3]))
        given.folder = Path(given.folder)
        print(json.dumps(STEPS[sys.argv[2]](given)))
        return
    from common import arguments, begin, report

    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rows", type=int, default=RELEASED)
    parser.add_argument("--sample", type=int, default=100_000, help="rows laid out as released")
    parser.add_argument("--keys", choices=("clustered", "random"), default="clustered")
    parser.add_argument("--folder", type=Path, help="keep the bank there, and take up one that is there")
    given = begin(parser)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = given.folder or Path(place)
        there = [name for name, mark in MARKS.items() if (folder / mark).exists()]
        for step in (s for s in STEPS if s not in there):
            rows += _run(step, folder, given)
    report("bank", given, rows)


def _run(step: str, folder: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    told = {"folder": str(folder)} | {k: getattr(given, k) for k in ("rows", "sample", "keys", "repeats")}
    environment = {**os.environ, "FREEDA_CACHE": str(folder / "cache")}
    if given.threads:
        environment["OMP_NUM_THREADS"] = str(given.threads)
    command = [sys.executable, __file__, "--step", step, json.dumps(told)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    rows: list[dict[str, Any]] = json.loads(out.splitlines()[-1])
    for row in rows:
        print(row, file=sys.stderr, flush=True)
    return rows


def _open(given: argparse.Namespace) -> list[dict[str, Any]]:
    from freeda.bank import Bank

    before = resident("VmRSS")
    for file in given.folder.glob("shards/*"):
        forget(file)
    _, cold = timed(lambda: len(Bank.open(given.folder).keys))
    bank, warm = timed(lambda: Bank.open(given.folder))
    _, arrays = timed(lambda: (bank.keys, bank.prototypes))
    row = {"what": "open", "s": warm + arrays, "first time s": cold, "peak MB": resident("VmHWM")}
    _, nouns = timed(lambda: bank.nouns)
    return [row | {"imports MB": before, "all nouns s": nouns, "with nouns MB": resident("VmHWM")}]


def _exact(given: argparse.Namespace) -> list[dict[str, Any]]:
    return [_search(given, "exact")]


def _build(given: argparse.Namespace) -> list[dict[str, Any]]:
    from freeda.bank import Bank
    from freeda.bank.index import ApproximateIndex

    bank = Bank.open(given.folder)
    built, seconds = timed(lambda: ApproximateIndex.build(bank.keys, bank.path, bank.identity))
    told = {k: v for k, v in asdict(built.about).items() if type(v) in (int, float) and k != "version"}
    return [{"what": "approximate index made", "s": seconds, "peak MB": resident("VmHWM"), **told}]


def _approximate(given: argparse.Namespace) -> list[dict[str, Any]]:
    return [_search(given, "approximate")]


def _search(given: argparse.Namespace, kind: Any) -> dict[str, Any]:
    """171 new class names: keys searched and prototypes averaged; then the same names from the cache."""
    from freeda.bank import Bank
    from freeda.options import SegmentOptions
    from freeda.segment.prototypes import class_prototypes

    text, words = np.load(given.folder / "text.npy", allow_pickle=False), [str(i) for i in range(CLASSES)]
    bank, options = Bank.open(given.folder, index=kind), SegmentOptions()

    class NoCache:
        search, prototypes, nouns = bank.search, bank.prototypes, bank.nouns

        def __len__(self) -> int:
            return len(bank)

    def once() -> Any:
        return class_prototypes(NoCache(), text, words, options)[0]

    for file in given.folder.glob("*.npy" if kind == "exact" else "*.*"):
        forget(file)
    found, first = timed(once)
    times, cpu = [], []
    for _ in range(given.repeats):
        begun = time.process_time()
        times.append(timed(once)[1])
        cpu.append(time.process_time() - begun)
    row = {"what": kind, "s": statistics.median(times), "best s": min(times), "cpu s": statistics.median(cpu)}
    row |= {"nothing in the system's cache s": first, "peak MB": resident("VmHWM")}
    _, row["search alone s"] = timed(lambda: bank.search(text, options.k))
    class_prototypes(bank, text, words, options)  # kept
    again, row["same names again ms"] = timed(lambda: class_prototypes(bank, text, words, options)[0])
    row["same names again ms"] *= 1000
    assert np.allclose(again, found)
    rows = bank.search(text, options.k)[1]
    if kind == "exact":
        np.savez(given.folder / "exact.npz", rows=rows, prototypes=found)
        return row
    with np.load(given.folder / "exact.npz", allow_pickle=False) as true:
        shared = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(true["rows"], rows, strict=True)]
        cosine = (true["prototypes"] * found).sum(1) / np.linalg.norm(true["prototypes"], axis=1)
        cosine /= np.linalg.norm(found, axis=1)
    row |= {"recall@350": statistics.mean(shared), "worst name's recall": min(shared)}
    return row | {"prototypes' cosine": float(cosine.mean()), "worst": float(cosine.min())}


STEPS: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "make": make,
    "open": _open,
    "exact": _exact,
    "build": _build,
    "approximate": _approximate,
    "layout": layout,
}
MARKS = {"make": "bank.json", "build": "approximate.json"}
"""What a step leaves behind in a folder that is kept: there, it is not run again."""

if __name__ == "__main__":
    main()
