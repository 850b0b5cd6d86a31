"""What the tests of bad input share; every case goes through Python and, where it can, the command line."""

from __future__ import annotations

import numpy as np

from freeda.errors import printable

WORDS = ["cat", "wooden table", "sky"]
NOISE = np.random.default_rng(0).integers(0, 256, (30, 44, 3), dtype=np.uint8)
SIZE = NOISE.shape[:2]


def one_line(error: BaseException, *says: str) -> None:
    """The message is one printable line that holds every word of `says`."""
    text = str(error)
    assert text and text == printable(text) and len(text) <= 600
    for word in says:
        assert word in text, text
