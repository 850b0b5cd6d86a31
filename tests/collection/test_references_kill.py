"""A process killed while it adds references leaves the bank as it was, or as it should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forks import run_script
from freeda.bank.verify import find_damage

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def files(place: Path) -> dict[str, bytes]:
    return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("script", ["killing_references.py", "killing_photographs.py"])
def test_kills_at_random_moments(tmp_path: Path, script: str) -> None:
    told = run_script(Path(__file__).with_name(script), tmp_path, seed=0, kills=6)
    assert len(set(told["shards_at_kill"])) > 1, "all kills came at the same place: they prove little"
    expected = files(tmp_path / "whole")
    for i in range(told["rounds"]):
        assert files(tmp_path / str(i)) == expected  # no temporary file is left either
    assert not list(find_damage(tmp_path / "whole"))
