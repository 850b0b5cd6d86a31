"""One row of the bank: a noun's key and prototype, or the reason why there is none."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional as F

from ..bank import Pair
from ..errors import InputError
from ..image_text import ClipEncoder, ImageTextEncoder
from ..options import CollectOptions
from ..pooling import pool_regions
from .captions import Caption
from .masks import WordMask
from .nouns import Noun
from .tokens import span_columns, token_offsets, whole

Key = npt.NDArray[np.float32]
"""(dk,) L2-normalised, in CLIP's joint space."""

_REMEMBERED = 16384
"""Embedded nouns kept, 4 * dk bytes each: captions keep naming the same few thousand things."""
_KEPT_SIDE = 256  # pixels; pictures are kept to explain a result, not to be worked on

REASONS = (
    "cut off",  # the noun lies beyond the text encoder's last position; found before drawing
    "flat map",  # the attribution is the same everywhere, or not finite: it locates nothing
    "too small",
    "too large",
    "low contrast",
    "off grid",  # no patch of the dense encoder is sampled inside the mask
    "no key",  # CLIP cannot read the noun, or not inside this caption
    "not finite",  # a key or prototype that float16 cannot hold
    "low agreement",
)
"""Why a noun gives no row, in the order in which the reasons are looked for."""


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
        if (read := self._read(caption)) is None:
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


def make_pair(
    caption: Caption,
    seed: int,
    noun: Noun,
    word: WordMask,
    features: torch.Tensor,
    seen: npt.NDArray[np.float32],
    keys: NounKeys,
    options: CollectOptions,
    picture: bytes | None = None,
) -> Pair | str:
    """The row of one noun of a drawn caption, or the reason (of REASONS) why there is none.

    `features` is the picture's dense patch tokens (rows, columns, dv), `seen` its L2-normalised CLIP
    embedding (dk,), `picture` the JPEG to store in this row.
    """
    if word.flat:
        return "flat map"
    if not word.mask.any() or word.area < options.min_area:
        return "too small"
    if word.area > options.max_area:
        return "too large"
    if options.min_contrast is not None and word.contrast < options.min_contrast:
        return "low contrast"
    pooled, weight = pool_regions(features, np.where(word.mask, 0, -1), 1)
    if weight[0] == 0:
        return "off grid"
    plain, key = keys.noun(noun.lemma), keys(noun, caption.text)
    if plain is None or key is None:
        return "no key"
    about = {"caption_id": caption.id, "caption": caption.text, "noun": noun.lemma, "spans": noun.spans}
    measured = {"seed": seed, "area": word.area, "contrast": word.contrast, "image": picture}
    return finished_pair(pooled[0], key, plain, seen, word.mask, options, **about, **measured)


def finished_pair(
    pooled: npt.NDArray[np.float32],
    key: Key,
    plain: Key,
    seen: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    options: CollectOptions,
    **about: Any,
) -> Pair | str:
    """The row of a pooled prototype (dv,) and a key, or the reason (of REASONS) why there is none.

    `plain` is the noun's key under the templates, `seen` the picture's CLIP embedding, `about` the row's
    other fields.
    """
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite
        prototype = pooled.astype(np.float16)
    if not np.isfinite(prototype).all() or not np.isfinite(key).all():
        return "not finite"
    agreement = float(seen @ plain)  # always of the plain noun, so that it can be compared across keys
    if options.min_agreement is not None and agreement < options.min_agreement:
        return "low agreement"
    kept = small_png(mask) if options.keep_images else None
    return Pair(key=key.astype(np.float16), prototype=prototype, agreement=agreement, mask=kept, **about)


def small_jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as JPEG, its longer side at most 256 pixels."""
    return _small(image, Image.Resampling.LANCZOS, "RGB", format="JPEG", quality=90)


def small_png(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as one-bit PNG of the size `small_jpeg` gives its picture."""
    return _small(mask.astype(np.uint8) * 255, Image.Resampling.NEAREST, "1", format="PNG")


def _small(pixels: npt.NDArray[np.uint8], how: Image.Resampling, mode: str, **saving: Any) -> bytes:
    small, out = Image.fromarray(pixels), io.BytesIO()
    small.thumbnail((_KEPT_SIDE, _KEPT_SIDE), how)
    small.convert(mode).save(out, **saving)
    return out.getvalue()
