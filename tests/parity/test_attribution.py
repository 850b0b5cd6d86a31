"""Attribution maps equal DAAM's own on the small pipeline of the parity folder (FREEDA_PARITY)."""

from __future__ import annotations

import pytest

import golden

SET = golden.Attribution(golden.FOLDER / "attribution")
pytestmark = pytest.mark.skipif(not SET.cases, reason=f"no parity cases in {SET.folder} (set FREEDA_PARITY)")


@pytest.mark.parametrize("index", range(len(SET.cases)))
def test_maps_equal_daam(index: int) -> None:
    found = SET.compare(index)
    assert len(found) == 3 and not golden.missed(found)


def test_maps_equal_daam_in_a_batch_too() -> None:
    assert not golden.missed(SET.compare(0, beside="a small boat"))
