"""Which words stand in a caption: all the supervision that the encoders get."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from freeda.miniature.captions import UNSEEN, WORDS

FORMS: tuple[str, ...] = tuple(
    dict.fromkeys([form for forms in WORDS.values() for form in forms] + list(UNSEEN.values()))
)
"""Every noun form that occurs in training captions."""
# Longest first: "beach ball" must not also count as "beach".
_PATTERN = re.compile(r"\b(" + "|".join(sorted(FORMS, key=len, reverse=True)) + r")\b")


def present(captions: list[list[str]]) -> NDArray[np.bool_]:
    """(N, len(FORMS)): whether any caption of an image uses the form."""
    out = np.zeros((len(captions), len(FORMS)), bool)
    index = {form: i for i, form in enumerate(FORMS)}
    for row, texts in enumerate(captions):
        for text in texts:
            for match in _PATTERN.findall(text):
                out[row, index[match]] = True
    return out
