"""A reference of a class in a picture: its pixels pooled as regions of photographs are online."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..bank import Pair
from ..collection.keys import Key, NounKeys
from ..collection.pairs import small_jpeg, small_png
from ..encoders import Encoders
from ..errors import InputError
from ..images import read_image
from ..options import CollectOptions, SegmentOptions
from ..pooling import pool_regions
from ..segment.windows import crops, resize_image, sliding_boxes, working_size
from .annotated import AnnotatedFolder, Mask
from .selection import Chosen, reference_id

Vector = npt.NDArray[np.float32]


class Taker:
    """Takes the references of an annotated folder's pictures with loaded models.

    A picture goes through the dense encoder as a photograph does online: resized, in the sliding windows of
    `view`. A class's prototype is the mean of the patch features over its mask in all windows, each patch
    weighing what the mask is worth at it (`pooling.pool_regions`); for a picture of one window that is how
    prototypes of generated pictures are made. Its key is that of its name under the prompt templates.
    """

    def __init__(
        self, folder: AnnotatedFolder, encoders: Encoders, options: CollectOptions, view: SegmentOptions
    ) -> None:
        self._folder, self._encoders, self._options, self._view = folder, encoders, options, view
        self._keys = NounKeys(encoders.clip, options)

    def key(self, word: str) -> Key:
        """The class's textual key (dk,) float32. Raises InputError for a name that CLIP cannot read."""
        key = self._keys.noun(word)
        if key is None:
            raise InputError(
                f"class name {word[:60]!r} cannot be read by CLIP: give it a shorter, plain name"
            )
        return key

    def rows(self, chosen: Chosen, rejected: Counter[str]) -> list[Pair]:
        """The rows of one picture; what gives none is counted."""
        masks, image = self._folder.masks(chosen.picture), read_image(chosen.picture.image)
        height, width = working_size(image.shape[0], image.shape[1], self._view)
        working = resize_image(image, (height, width))
        boxes = sliding_boxes(height, width, self._view.window, self._view.stride)
        encoders, size = self._encoders, self._options.batch_size
        whole = next(crops(working, sliding_boxes(height, width, None, 1), 1))
        seen = encoders.clip.encode_image(whole.to(encoders.device))[0].cpu().numpy()
        dense = torch.cat([encoders.dense.encode(b.to(encoders.device)) for b in crops(working, boxes, size)])
        picture = small_jpeg(image) if self._options.keep_images else None
        out = []
        for word in chosen.words:
            mask = masks[word]
            regions = np.where(_resized(mask, (height, width)), 0, -1)
            pooled = [
                pool_regions(features, regions[b.y1 : b.y2, b.x1 : b.x2], 1)
                for features, b in zip(dense, boxes, strict=True)
            ]
            made = self._row(chosen, word, mask, _mean(pooled), seen, picture)
            if isinstance(made, str):
                rejected[made] += 1
            else:
                out.append(made)
        return out

    def _row(
        self,
        chosen: Chosen,
        word: str,
        mask: Mask,
        pooled: Vector | None,
        seen: Vector,
        picture: bytes | None,
    ) -> Pair | str:
        """The row of one class, or the reason (of `pairs.REASONS`) why there is none."""
        if pooled is None:
            return "off grid"
        key = self.key(word)
        with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and is told below
            prototype = pooled.astype(np.float16)
        if not np.isfinite(prototype).all():
            return "not finite"
        agreement = float(seen @ key)
        if self._options.min_agreement is not None and agreement < self._options.min_agreement:
            return "low agreement"
        return Pair(
            caption_id=reference_id(chosen.picture, chosen.digest, word),
            caption=chosen.picture.name,
            noun=word,
            spans=(),
            seed=0,
            key=key.astype(np.float16),
            prototype=prototype,
            area=float(mask.mean()),
            contrast=0.0 if mask.all() else 1.0,
            agreement=agreement,
            image=picture,
            mask=small_png(mask) if self._options.keep_images else None,
        )


def _mean(parts: Sequence[tuple[Vector, Vector]]) -> Vector | None:
    """(D,) mean over the windows, each by the weight of the mask in it; None where no patch was touched."""
    rows, weights = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    if weights.sum() == 0:
        return None
    mean: Vector = ((weights @ rows) / weights.sum()).astype(np.float32)
    return mean


def _resized(mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask at another size: each new pixel takes the one that its centre falls into."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(mask.shape, size, strict=True)
    )
    return mask[np.ix_(rows, columns)]
