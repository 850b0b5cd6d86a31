"""Rows of a picture's regions: what each looks like, its value in the space of words, and its noun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..bank import Pair
from ..pooling import pool_regions
from ..segment.regions import RegionMap
from .pairs import NounKeys, small_jpeg, small_png

Floats = npt.NDArray[np.float32]
REASONS = ("off grid", "not finite")
"""Why a region gives no row: no patch is sampled inside it; a feature has no direction that float16 holds."""


def pool_both(features: torch.Tensor, joint: torch.Tensor, regions: RegionMap) -> tuple[Floats, Floats]:
    """Dense features (gh, gw, D) and image-text features (gh, gw, K) of a picture, each averaged over its
    regions (`pool_regions`): (R, D) and (R, K), rows of zeros where no patch is sampled."""
    both = torch.cat([features.float(), joint.to(features.device)], dim=-1)
    pooled, _ = pool_regions(both, regions, int(regions.max()) + 1)
    return pooled[:, : features.shape[-1]], pooled[:, features.shape[-1] :]


def region_rows(
    seen: Floats,
    values: Floats,
    regions: RegionMap,
    nouns: Sequence[tuple[str, npt.NDArray[np.bool_]]] = (),
    keys: NounKeys | None = None,
    image: npt.NDArray[np.uint8] | None = None,
    **about: Any,
) -> list[Pair | str]:
    """The row of each region of a picture, or the reason (of REASONS) why there is none.

    `seen` (R, D) and `values` (R, K) are what `pool_both` gives, `regions` the map (H, W), `nouns` the lemmas
    that were located, with their masks (H, W), `image` the picture to keep, `about` the rows' other fields.

    A row's prototype is the direction of `seen`, its key that of the value, both of length 1. Its noun is the
    one whose mask covers most of the region, if at least half; its contrast is that share, its agreement the
    cosine of value and noun under `keys`; both 0 without a noun.
    """
    count = len(seen)
    sizes = np.bincount(regions[regions >= 0], minlength=count)
    shares = np.zeros((len(nouns) + 1, count))  # the last line is of no noun
    for share, (_, mask) in zip(shares, nouns, strict=False):
        share[:] = np.bincount(regions[mask & (regions >= 0)], minlength=count) / np.maximum(sizes, 1)
    best = shares.argmax(axis=0)
    rows: list[Pair | str] = []
    kept = None if image is None else small_jpeg(image)
    for i in range(count):
        if not seen[i].any():
            rows.append("off grid")
            continue
        prototype, key = _unit(seen[i]), _unit(values[i])
        if prototype is None or key is None:
            rows.append("not finite")
            continue
        noun, covered, agreement = "", float(shares[best[i], i]), 0.0
        if covered < 0.5:
            covered = 0.0
        else:
            noun = nouns[best[i]][0]
            plain = None if keys is None else keys.noun(noun)
            agreement = 0.0 if plain is None else float(key.astype(np.float32) @ plain)
        rows.append(
            Pair(
                noun=noun,
                spans=(),
                key=key,
                prototype=prototype,
                area=float(sizes[i] / regions.size),
                contrast=covered,
                agreement=agreement,
                image=kept,
                mask=None if image is None else small_png(regions == i),
                **about,
            )
        )
        kept = None  # stored once a picture
    return rows


def _unit(vector: Floats) -> npt.NDArray[np.float16] | None:
    """The direction of a vector (D,), or None where it has none."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    return (vector / np.float32(length)).astype(np.float16) if 0 < length < np.inf else None
