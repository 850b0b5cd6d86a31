"""Textual keys of nouns in CLIP's joint space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch.nn import functional as F

from ..encoders import ClipEncoder
from ..errors import InputError


class NounKeys:
    """The key of a noun, made once each ("template": mean over the prompt templates filled with the noun)."""

    def __init__(self, clip: ClipEncoder, templates: tuple[str, ...]) -> None:
        self._clip, self._templates = clip, templates
        self._known: dict[str, npt.NDArray[np.float32] | None] = {}

    def __call__(self, noun: str) -> npt.NDArray[np.float32] | None:
        """(dk,) float32, L2-normalised; None for a noun too long for CLIP's text length.

        The embeddings of the filled templates are averaged un-normalised (FreeDA's way of class names).
        """
        if noun not in self._known:
            # A noun has a batch of its own: its key must not depend, by rounding, on what was asked before.
            try:
                embedded = self._clip.encode_text([t.replace("{}", noun) for t in self._templates])
                self._known[noun] = F.normalize(embedded.float().mean(0), dim=0).cpu().numpy()
            except InputError:
                self._known[noun] = None
        return self._known[noun]
