"""Textual keys of nouns in CLIP's joint space."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from ..errors import InputError
from ..image_text import ClipEncoder, ImageTextEncoder
from ..options import CollectOptions
from .nouns import Noun
from .tokens import span_columns, token_offsets, whole

Key = npt.NDArray[np.float32]
"""(dk,) L2-normalised."""

_REMEMBERED = 16384
"""Embedded nouns kept, 4 * dk bytes each: captions keep naming the same few thousand things."""


class NounKeys:
    """The keys of nouns, made as `CollectOptions.key` says ("template", "caption" or "token")."""

    def __init__(self, clip: ImageTextEncoder, options: CollectOptions) -> None:
        if options.key != "template" and not isinstance(clip, ClipEncoder):
            raise InputError(f"key is {options.key!r}: only a CLIP reads it from a caption, use 'template'")
        self._clip, self._options = clip, options
        self.noun = lru_cache(_REMEMBERED)(self._noun)
        """Lemma -> its key under the prompt templates, which is also what agreement is measured with; None
        for a lemma that CLIP cannot read (too long for its text length, or one of its special tokens)."""
        self._read = lru_cache(1)(self._read_caption)  # the nouns of a caption come one after the other

    def under(self, options: CollectOptions) -> NounKeys:
        """These, or new ones where `options` ask for other keys."""
        asked = [(o.key, o.key_weight, o.templates) for o in (self._options, options)]
        return self if asked[0] == asked[1] else NounKeys(self._clip, options)

    def __call__(self, noun: Noun, caption: str) -> Key | None:
        """The key of a noun of that caption, or None where there is none.

        "template": the embeddings of the filled templates, averaged un-normalised (FreeDA's way of class
        names), then normalised. "caption": (1 - w) * that + w * the caption's normalised embedding, w =
        `key_weight`, normalised. "token": the final-layer states of the noun's tokens in the caption, after
        CLIP's final layer norm, through its text projection, averaged over the tokens of all its
        occurrences, normalised.

        A caption beyond CLIP's text length is cut there, its end token kept, as CLIP's tokenizer cuts: the
        caption's embedding is that of its beginning, and a noun cut off or cut in two has no "token" key.
        """
        template = self.noun(noun.lemma)
        if template is None or self._options.key == "template":
            return template
        read = self._read(caption)
        if read is None:
            return None
        embedding, states, offsets = read
        if self._options.key == "caption":
            w = self._options.key_weight
            return _normal((1 - w) * torch.from_numpy(template) + w * F.normalize(embedding, dim=0))
        columns = span_columns(offsets, [s for s in noun.spans if whole(offsets, s)])
        return _normal(states[columns].mean(0)) if columns else None

    def _noun(self, lemma: str) -> Key | None:
        # A noun has a batch of its own: its key must not depend, by rounding, on what was asked before.
        try:
            embedded = self._clip.encode_text([t.replace("{}", lemma) for t in self._options.templates])
        except InputError:
            return None
        return _normal(embedded.float().mean(0))

    def _read_caption(self, caption: str) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]] | None:
        """The caption's embedding (dk,), its tokens' projected states (n, dk) and their characters; CPU."""
        try:
            assert isinstance(self._clip, ClipEncoder)
            embedding, states = self._clip.encode_tokens(caption)
        except InputError:
            return None
        offsets = token_offsets(self._clip.tokenizer, caption, self._clip.max_tokens)
        return embedding.cpu(), states.cpu(), offsets[: len(states)]


def _normal(vector: torch.Tensor) -> Key:
    normal: Key = F.normalize(vector.float(), dim=0).cpu().numpy()
    return normal
