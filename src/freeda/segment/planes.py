"""Photographs labelled by a detector that finds words by itself (SAM 3): planes of words as features.

A place is one of the detector's mask pixels. Once words are known its feature is its row of planes, one a
word, and the prototype of a word is the unit vector of its plane: from there on a result is one like any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional as F

from ..bank.inspect import kept_picture
from ..encoders import Encoders
from ..errors import BankError, InputError, out_of_memory
from ..options import SegmentOptions
from ..options.detector import check_detecting
from ..profile import OFF, Clock
from ..sam3 import Sam3
from .mosaic import Mosaic
from .prototypes import ReferenceBank, nouns_of
from .scene import Photograph, Scene
from .vocabulary import Names, Vocabulary, WordEmbedder, build_vocabulary, embed_rows
from .window_encoding import Floats

PROMPTS = ("{}", "a {}", "a photo of a {}", "a picture of a {}")
"""What a word may be asked for as, where kept pictures choose; of equal ones the first. [ours]"""
PICTURES = 8
"""Kept pictures that a word's prompts are tried on, at most, evenly spread over its rows. [ours]"""
_TRIED = 16


def see_scenes(
    encoders: Encoders, photographs: Iterable[Photograph], batch_size: int | None = None, clock: Clock = OFF
) -> Iterator[tuple[Photograph, Scene | Exception]]:
    """As `encode_scenes`, one photograph at a time; what the vision encoder made is kept in `Scene.seen`."""
    for photograph in photographs:
        found = photograph.error or _seen(encoders, photograph, clock)
        if photograph.on_done is not None:
            photograph.on_done(1, 1)
        yield photograph, found


def _seen(encoders: Encoders, photograph: Photograph, clock: Clock) -> Scene | Exception:
    detector: Any = encoders.clip
    image, options = photograph.image, photograph.options
    assert image is not None
    try:
        check_detecting(options)
        if photograph.regions is not None:
            raise InputError("regions mean nothing to SAM 3, which makes its masks by words: leave them out")
        with clock("vision"):
            seen = detector.look(image)
    except (InputError, MemoryError, RuntimeError) as failed:
        if not (isinstance(failed, InputError) or out_of_memory(failed)):
            raise
        return failed
    height, width = seen[0].shape[-2:]
    mosaic = _mosaic(np.zeros((height, width, 0), np.float32), detector.dim)
    about = (photograph.file, dict(encoders.identity), photograph.outside)
    return Scene(image, mosaic, options, *about, seen=seen)


def with_planes(scene: Scene, vocabulary: Vocabulary, encoders: Encoders, clock: Clock = OFF) -> Scene:
    """The scene with the planes of these words as its features, which `segment_scene` takes.

    What was seen is not kept in it: a scene that has lost it is looked at anew.
    """
    detector: Any = encoders.clip
    with clock("detector"):
        seen = detector.look(scene.image) if scene.seen is None else scene.seen
        planes = [detector.plane(seen, prompt).cpu().numpy() for prompt in vocabulary.prompts]
    mosaic = _mosaic(np.stack(planes, axis=-1), detector.dim)
    return replace(scene, mosaic=mosaic, seen=None, prompts=vocabulary.prompts)


def _mosaic(planes: Floats, dim: int) -> Mosaic:
    """Planes (h, w, T): every pixel a place of its own, in one window that says nothing as a whole."""
    height, width, _ = planes.shape
    n = height * width
    atoms = np.arange(n, dtype=np.int32).reshape(height, width)
    one = sparse.csr_matrix(np.ones((n, 1), np.float32))
    own = sparse.identity(n, np.float32, format="csr")
    return Mosaic(atoms, own, one, planes.reshape(n, -1), np.zeros((1, dim), np.float32))


def prompts_of(
    embed: WordEmbedder,
    names: Names,
    options: SegmentOptions,
    encoders: Encoders,
    bank: ReferenceBank | None = None,
    clock: Clock = OFF,
) -> Vocabulary:
    """Class names as a vocabulary whose rows are prompts: the words themselves or, with a bank of kept
    pictures, for every word that has some the prompt that finds it best there (`tried`).

    Raises InputError as `build_vocabulary`, and for an option that means nothing here.
    """
    check_detecting(options)
    detector: Any = encoders.clip
    found = build_vocabulary(embed, detector.dim, names, options, encoders.identity, clock)
    classes = found.words if options.others is None else found.words[:-1]  # the rest nobody named
    with clock("prompts"):
        asked = tuple(tuple(best_prompt(detector, bank, word) for word in row) for row in classes)
    words = (*asked, *found.words[len(asked) :])
    text = embed_rows(embed, [(prompt,) for row in words for prompt in row], options.templates)
    return replace(found, words=words, text_embeddings=text, prototypes=np.eye(len(text), dtype=np.float32))


@dataclass(frozen=True)
class Tried:
    """How well a prompt finds a word in kept pictures."""

    prompt: str
    iou: float
    """Mean over the pictures of sum(min(plane, mask)) / sum(max(plane, mask)), 0 to 1."""


def best_prompt(detector: Sam3, bank: Any, word: str) -> str:
    """The prompt of highest IoU, of equal ones the first; the word itself where the bank has no pictures."""
    found = tried(detector, bank, word)
    return max(found, key=lambda one: one.iou).prompt if found else word


def tried(detector: Sam3, bank: Any, word: str) -> list[Tried]:
    """Every prompt on the kept pictures whose noun is this word; none where there are no such pictures.

    The text's states stay what the model was trained on: nothing is added to them, one of several is taken.
    """
    prompts = [template.replace("{}", word) for template in PROMPTS]
    found: list[list[float]] = []
    for picture, inside in _pictures(bank, word):
        seen, mask = detector.look(picture), torch.from_numpy(inside).float()
        planes = torch.stack([detector.plane(seen, prompt) for prompt in prompts])[:, None]
        sized = F.interpolate(planes, mask.shape, mode="bilinear", align_corners=False)[:, 0].cpu()
        both, either = (join(sized, mask).sum(dim=(1, 2)) for join in (torch.minimum, torch.maximum))
        found.append((both / either).tolist())
    means = np.mean(found, axis=0) if found else ()
    return [Tried(prompt, float(iou)) for prompt, iou in zip(prompts, means, strict=False)]


def _pictures(bank: Any, word: str) -> Iterator[tuple[Any, Any]]:
    """At most `PICTURES` kept pictures (h, w, 3) uint8 of a word with its masks (h, w) bool."""
    nouns: Any = None if bank is None else nouns_of(bank)
    if nouns is None:
        return
    rows = nouns.rows_of([noun for noun in nouns.different if noun.casefold() == word.casefold()])
    for at in _spread(len(rows), PICTURES):
        pair = bank.row(int(rows[at]))
        if pair["image"] is not None and pair["mask"] is not None:
            yield kept_picture(pair, Path(getattr(bank, "path", "bank")), int(rows[at]))


def check_pictures(bank: Any) -> None:
    """Raise BankError for a bank that keeps no pictures, as far as some of its rows tell."""
    rows = [bank.row(at) for at in _spread(len(bank), _TRIED)] if hasattr(bank, "row") else []
    if bank is not None and not any(row["image"] is not None and row["mask"] is not None for row in rows):
        raise BankError(
            f"{getattr(bank, 'path', 'bank')}: keeps no pictures, and SAM 3 takes nothing else of a bank: "
            "collect one with --keep-images, or leave it out"
        )


def _spread(n: int, most: int) -> Sequence[int]:
    """At most so many of 0 to n - 1, evenly spread."""
    return sorted({int(at) for at in np.linspace(0, n - 1, min(n, most))}) if n else ()
