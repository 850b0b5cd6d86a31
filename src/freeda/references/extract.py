"""Which references an annotated folder gives, chosen by its masks, and how each is taken.

A class's pixels are pooled as regions of photographs are online.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..bank import Pair
from ..collection.pairs import Key, NounKeys, finished_pair, small_jpeg
from ..encoders import Encoders
from ..errors import InputError
from ..options import CollectOptions, SegmentOptions
from ..pooling import pool_regions
from ..segment.windows import crops, resize_image, sliding_boxes, working_size
from .annotated import AnnotatedFolder, AnnotatedPicture
from .shapes import Mask

EMPTY = "empty mask"
"""The reason for a class whose mask file has nothing inside; the others are those of `pairs.REASONS`."""

ID_PREFIX = "image:"
"""What the `caption_id` of a reference from a picture begins with."""


@dataclass(frozen=True)
class Chosen:
    """A picture and the classes that a reference is to be taken of."""

    picture: AnnotatedPicture
    words: tuple[str, ...]


@dataclass
class Choice:
    """What an annotated folder gives."""

    chosen: list[Chosen] = field(default_factory=list)
    """In the order of the pictures' names."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Reason -> masks that give no reference."""
    there: int = 0
    """References that the bank holds already."""


def reference_id(picture: AnnotatedPicture, word: str) -> str:
    """`caption_id` of the row of a class in a picture; the same picture has the same one in any folder."""
    return f"{ID_PREFIX}{picture.name}@{picture.digest[:12]}#{word}"


def choose(
    folder: AnnotatedFolder,
    options: CollectOptions,
    *,
    shots: int | None = None,
    seed: int = 0,
    there: Container[str] = (),
    held: Mapping[str, int] | None = None,
    on_picture: Callable[[], None] | None = None,
) -> Choice:
    """Read every mask once and choose the references: a class of a picture is one, all its parts together.

    Masks outside `options.min_area` to `options.max_area` give none, nor does what is `there` already (by
    `reference_id`). With `shots`, no more than so many are taken of a class, those that the bank holds
    (`held`) counted in; which ones, `seed` decides. `on_picture` is called after each picture.

    Raises InputError for shots < 1, and as `AnnotatedFolder.masks` does.
    """
    if shots is not None and shots < 1:
        raise InputError(f"shots is {shots}: at least 1 reference a class must be taken")
    out, taken = Choice(), Counter(held or {})
    pictures = folder.pairs.pictures
    order = np.arange(len(pictures))
    if shots is not None:
        order = np.random.default_rng(seed).permutation(order)
    found: dict[int, Chosen] = {}
    for i in order.tolist():
        picture, words = pictures[i], []
        for word, mask in folder.masks(picture).items():
            reason = why_not(mask, options)
            if reason is not None:
                out.rejected[reason] += 1
            elif reference_id(picture, word) in there:
                out.there += 1
            elif shots is None or taken[word] < shots:
                taken[word] += 1
                words.append(word)
        if words:
            found[i] = Chosen(picture, tuple(words))
        if on_picture is not None:
            on_picture()
    out.chosen = [found[i] for i in sorted(found)]
    return out


def why_not(mask: Mask, options: CollectOptions) -> str | None:
    """Why a mask gives no reference, or None."""
    area = float(mask.mean())
    if area == 0:
        return EMPTY
    if area < options.min_area:
        return "too small"
    return "too large" if area > options.max_area else None


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
        masks, image = self._folder.masks(chosen.picture), chosen.picture.pixels()
        height, width = working_size(image.shape[0], image.shape[1], self._view)
        working = resize_image(image, (height, width))
        boxes = sliding_boxes(height, width, self._view.window, self._view.stride)
        encoders, size = self._encoders, self._options.batch_size
        whole = next(crops(working, sliding_boxes(height, width, None, 1), 1))
        seen = encoders.embed(whole.to(encoders.device))[0].cpu().numpy()
        dense = torch.cat([encoders.patches(b.to(encoders.device)) for b in crops(working, boxes, size)])
        picture = small_jpeg(image) if self._options.keep_images else None
        out = []
        for word in chosen.words:
            mask = masks[word]
            regions = np.where(_resized(mask, (height, width)), 0, -1)
            pooled = [
                pool_regions(features, regions[b.y1 : b.y2, b.x1 : b.x2], 1)
                for features, b in zip(dense, boxes, strict=True)
            ]
            # The mean over the windows, each by the weight of the mask in it.
            rows, weights = (np.concatenate(p).astype(np.float64) for p in zip(*pooled, strict=True))
            if weights.sum() == 0:
                rejected["off grid"] += 1
                continue
            key = self.key(word)
            made = finished_pair(
                ((weights @ rows) / weights.sum()).astype(np.float32),
                key,
                key,
                seen,
                mask,
                self._options,
                caption_id=reference_id(chosen.picture, word),
                caption=chosen.picture.name,
                noun=word,
                spans=(),
                seed=0,
                area=float(mask.mean()),
                contrast=0.0 if mask.all() else 1.0,
                image=picture,
            )
            if isinstance(made, str):
                rejected[made] += 1
            else:
                out.append(made)
        return out


def _resized(mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask at another size: each new pixel takes the one that its centre falls into."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(mask.shape, size, strict=True)
    )
    return mask[np.ix_(rows, columns)]
