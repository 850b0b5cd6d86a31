"""One row of the bank: a noun's key and prototype, or the reason why there is none."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ..bank import Pair
from ..options import CollectOptions
from ..pooling import pool_regions
from .captions import Caption
from .keys import NounKeys
from .masks import WordMask
from .nouns import Noun

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

_KEPT_SIDE = 256  # pixels; pictures are kept to explain a result, not to be worked on


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
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and is told below
        prototype = pooled[0].astype(np.float16)
    if not np.isfinite(prototype).all() or not np.isfinite(key).all():
        return "not finite"
    agreement = float(seen @ plain)  # always of the plain noun, so that it can be compared across keys
    if options.min_agreement is not None and agreement < options.min_agreement:
        return "low agreement"
    return Pair(
        caption_id=caption.id,
        caption=caption.text,
        noun=noun.lemma,
        spans=noun.spans,
        seed=seed,
        key=key.astype(np.float16),
        prototype=prototype,
        area=word.area,
        contrast=word.contrast,
        agreement=agreement,
        image=picture,
        mask=small_png(word.mask) if options.keep_images else None,
    )


def small_jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as JPEG, its longer side at most 256 pixels."""
    small = Image.fromarray(image)
    small.thumbnail((_KEPT_SIDE, _KEPT_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=90)
    return out.getvalue()


def small_png(mask: npt.NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as one-bit PNG of the size `small_jpeg` gives its picture."""
    small = Image.fromarray(mask.astype(np.uint8) * 255)
    small.thumbnail((_KEPT_SIDE, _KEPT_SIDE), Image.Resampling.NEAREST)
    out = io.BytesIO()
    small.convert("1").save(out, "PNG")
    return out.getvalue()
