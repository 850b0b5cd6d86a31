"""Growing that is killed without warning goes on, and gives the layer that an unbroken run gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from forks import run_script
from freeda.bank import Bank

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

KILLS, WORDS = 6, 12


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path: Path) -> None:
    told = run_script(Path(__file__).with_name("killing_growth.py"), tmp_path, seed=0, kills=KILLS)
    assert len(set(told["shards_at_kill"])) > 2, "all kills came at the same place: they prove little"
    whole = Bank.open(tmp_path / "whole")
    assert len(whole) == 3 * WORDS
    for i in range(told["rounds"]):
        bank = Bank.open(tmp_path / str(i))
        assert bank.nouns == whole.nouns and bank.identity == whole.identity
        np.testing.assert_array_equal(bank.keys, whole.keys)
        np.testing.assert_array_equal(bank.prototypes, whole.prototypes)
