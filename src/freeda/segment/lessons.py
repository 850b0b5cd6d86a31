"""What people taught (`bank.taught`): lessons are made of regions, and count in whatever looks like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bank.taught import Lesson, Taught
from ..errors import InputError
from .regions import nearest
from .scene import Scene
from .upsample import enlarged
from .vocabulary import Vocabulary, WordEmbedder, embed_rows, tidy
from .window_encoding import unit_rows

Where = int | Sequence[int] | npt.NDArray[Any]
"""A region's number in `Scene.regions()`; a point (x, y) or a box (x0, y0, x1, y1), end excluded, in pixels
of the photograph; or a mask (H, W) of it."""


def place(scene: Scene, where: Where) -> npt.NDArray[np.bool_]:
    """(H, W) bool: the pixels that are meant.

    A point means the region that it lies in (where it is in none, what is scored as one with it); a box the
    regions of which at least half lies in it, or itself where there is none. Raises InputError for what lies
    outside the photograph or is none of these.
    """
    height, width = scene.size
    try:
        given = np.asarray(where)
    except ValueError:  # lists of different lengths
        given = np.asarray(None)
    if given.shape == (height, width) and given.dtype == bool:
        found = given
    elif given.dtype.kind not in "iu" or given.shape not in ((), (2,), (4,)):
        raise InputError(
            f"a place is a region's number, a point (x, y), a box (x0, y0, x1, y1) or a mask "
            f"({height}, {width}) of bool, not {given.dtype} of shape {given.shape}"
        )
    else:
        found = _region_of(scene, [int(v) for v in np.atleast_1d(given)])
    if not found.any():
        raise InputError("this place is empty: no pixel of the photograph lies in it")
    return found


def _region_of(scene: Scene, numbers: list[int]) -> npt.NDArray[np.bool_]:
    (height, width), regions = scene.size, scene.regions()
    if len(numbers) == 1:
        return enlarged((regions == numbers[0]) & (regions >= 0), scene.size)
    if len(numbers) == 2:
        x, y = numbers
        if not (0 <= x < width and 0 <= y < height):
            raise InputError(f"{x}, {y} is no pixel of this photograph of {width} x {height}")
        h, w = regions.shape
        at = nearest(h, height)[y], nearest(w, width)[x]
        alike = regions if regions[at] >= 0 else np.where(regions < 0, scene.mosaic.atoms, -1)
        return enlarged(alike == alike[at], scene.size)
    x0, y0, x1, y1 = numbers
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(f"box {x0}, {y0}, {x1}, {y1} is none of this photograph of {width} x {height}")
    box = np.zeros(scene.size, bool)
    box[y0:y1, x0:x1] = True
    return regions_in(box, enlarged(regions, scene.size))


def regions_in(box: npt.NDArray[np.bool_], regions: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """The regions (H, W; -1 none) that lie at least half in a box (H, W); the box itself where none does."""
    inside = regions >= 0
    n = int(regions.max(initial=-1)) + 1
    whole = np.bincount(regions[inside], minlength=n)
    part = np.bincount(regions[inside & box], minlength=n)
    chosen = np.append((2 * part >= whole) & (part > 0), False)  # of -1
    found = np.asarray(chosen[regions])
    return found if found.any() else box


def teach(taught: Taught, scene: Scene, where: Where, word: str, embed: WordEmbedder) -> Lesson:
    """Make a lesson of a place in a scene and add it. Raises InputError for such a place or word."""
    if scene.prompts is not None or scene.seen is not None:
        raise InputError("a detector's scenes have no features to learn from: use another preset")
    word, mask = tidy(word), place(scene, where)
    atoms = enlarged(scene.mosaic.atoms, scene.size)
    share = np.bincount(atoms[mask], minlength=scene.mosaic.local.shape[0]) / np.count_nonzero(mask)
    weights = scene.mosaic.local.T @ share
    key = embed_rows(embed, [(word,)], scene.options.templates)[0]
    joint = scene.mosaic.joint
    return taught.add(
        {name: one for name, one in scene.models.items() if name not in ("regions", "score", "values")},
        word,
        scene.file.name if scene.file else "image",
        float(mask.mean()),
        key=key,
        prototype=weights @ scene.mosaic.features,
        value=None if joint is None else unit_rows((weights @ joint)[None])[0],
    )


def with_lessons(vocabulary: Vocabulary, taught: Taught) -> Vocabulary:
    """The vocabulary with the lessons of its words, by any of them, case aside; the others' count nowhere.

    Where nothing was ever taught it is left as it is, with the lessons that it was kept with.
    """
    if not taught.version:
        return vocabulary
    rows: dict[str, int] = {}
    for label, name in enumerate(vocabulary.names):
        own = np.flatnonzero(vocabulary.row_labels == label).tolist()
        words = vocabulary.words[label] if vocabulary.words else (name,)
        for i, word in enumerate(words):  # a row each, or one for all
            rows.setdefault(word.casefold(), own[i] if len(own) == len(words) else own[0])
        rows[name.casefold()] = rows.get(name.casefold(), own[0])
    known = [(rows[w], one) for one in taught.lessons if (w := one.word.casefold()) in rows]
    if not known:
        return (
            vocabulary
            if vocabulary.lessons is None
            else replace(vocabulary, lessons=None, lesson_rows=None, lesson_pictures=())
        )
    return replace(
        vocabulary,
        lessons=unit_rows(np.stack([one.prototype for _, one in known]).astype(np.float32)),
        lesson_rows=np.array([row for row, _ in known]),
        lesson_pictures=tuple(one.picture for _, one in known),
    )
