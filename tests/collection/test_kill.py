"""A process killed without warning leaves nothing that the next run trips over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from forks import run_script
from freeda.bank import Bank

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

CAPTIONS, SHARDS = 60, 20  # as in killing.py


def bank_files(path: Path) -> dict[str, bytes]:
    found = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name != "log.jsonl"]
    return {str(p.relative_to(path)): p.read_bytes() for p in found}


def check(folder: Path, seed: int, kills: int) -> None:
    """Every bank that was killed into being is the one that was not."""
    told = run_script(Path(__file__).with_name("killing.py"), folder, seed, kills)
    shards_at_kill = told["shards_at_kill"]
    assert len(set(shards_at_kill)) > 3  # kills at one place would prove little
    expected = bank_files(folder / "whole")
    whole = Bank.open(folder / "whole")
    assert len(whole) > CAPTIONS and len(whole.meta["shards"]) == SHARDS
    for i in range(told["rounds"]):
        assert bank_files(folder / str(i)) == expected  # no temporary file is left either
        bank = Bank.open(folder / str(i))
        rows = [(bank.row(r)["caption_id"], bank.row(r)["noun"]) for r in range(len(bank))]
        assert len(set(rows)) == len(rows) == len(whole)
        lines = [json.loads(line) for line in (folder / str(i) / "log.jsonl").read_text().splitlines()]
        made = [line["shard"] for line in lines]
        # A kill between a shard and its line costs the line, one between line and bank.json nothing.
        assert len(set(made)) >= SHARDS - len(shards_at_kill) and set(made) <= set(expected)


def test_kills_at_random_moments(tmp_path: Path) -> None:
    check(tmp_path, seed=0, kills=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_more_kills(tmp_path: Path, seed: int) -> None:
    check(tmp_path, seed, kills=100)
