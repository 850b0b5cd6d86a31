"""Which references an annotated folder gives: checked and chosen by its masks, before any model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..options import CollectOptions
from .annotated import AnnotatedFolder, Mask, Picture

EMPTY = "empty mask"
"""The reason for a class whose mask file has nothing inside; the others are those of `pairs.REASONS`."""

ID_PREFIX = "image:"
"""What the `caption_id` of a reference from a picture begins with."""


@dataclass(frozen=True)
class Chosen:
    """A picture and the classes that a reference is to be taken of."""

    picture: Picture
    digest: str
    """Of the picture's file (`Picture.digest`)."""
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


def reference_id(picture: Picture, digest: str, word: str) -> str:
    """`caption_id` of the row of a class in a picture; the same picture has the same one in any folder."""
    return f"{ID_PREFIX}{picture.name}@{digest[:12]}#{word}"


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
    order = np.arange(len(folder.pictures))
    if shots is not None:
        order = np.random.default_rng(seed).permutation(order)
    found: list[tuple[int, Chosen]] = []
    for i in order.tolist():
        picture = folder.pictures[i]
        digest = picture.digest()
        words = []
        for word, mask in folder.masks(picture).items():
            reason = why_not(mask, options)
            if reason is not None:
                out.rejected[reason] += 1
            elif reference_id(picture, digest, word) in there:
                out.there += 1
            elif shots is None or taken[word] < shots:
                taken[word] += 1
                words.append(word)
        if words:
            found.append((i, Chosen(picture, digest, tuple(words))))
        if on_picture is not None:
            on_picture()
    out.chosen = [one for _, one in sorted(found, key=lambda pair: pair[0])]
    return out


def why_not(mask: Mask, options: CollectOptions) -> str | None:
    """Why a mask gives no reference, or None."""
    area = float(mask.mean())
    if area == 0:
        return EMPTY
    if area < options.min_area:
        return "too small"
    return "too large" if area > options.max_area else None
