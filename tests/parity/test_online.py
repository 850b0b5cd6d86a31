"""Agreement with the authors' inference code: every case of FREEDA_PARITY/online is run."""

from __future__ import annotations

import pytest

import golden

SET = golden.Online(golden.FOLDER / "online")
pytestmark = pytest.mark.skipif(
    not SET.cases, reason=f"no golden outputs in {SET.folder} (set FREEDA_PARITY)"
)


@pytest.mark.parametrize("index", range(len(SET.cases)))
def test_texts_prototypes_logits_and_labels(index: int) -> None:
    found = SET.compare(index)
    assert len(found) == 4 and not golden.missed(found)
