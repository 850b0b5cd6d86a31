"""A list of class names, made ready once: text embeddings and the prototypes the bank gives for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..encoders import ClipEncoder
from ..errors import BankError, InputError
from ..options import SegmentOptions
from .pieces import Floats

Names = Sequence[str] | Mapping[str, Sequence[str]]


class ReferenceBank(Protocol):
    """What the online stage asks of a bank."""

    @property
    def prototypes(self) -> Any:
        """(N, D) array-like of raw prototypes."""

    def __len__(self) -> int: ...

    def search(self, queries: npt.NDArray[np.float32], k: int) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Inner products and row numbers, (Q, k') each, best first, k' = min(k, N)."""


@dataclass(frozen=True)
class Vocabulary:
    """Class names as the online stage needs them; made once, used on any number of scenes."""

    names: tuple[str, ...]
    """C class names, in the order of the labels."""
    text_embeddings: Floats
    """(C, K) float32, L2-normalised, in CLIP's joint space."""
    prototypes: Floats
    """(C, D) float32, un-normalised: the plain mean of the retrieved prototypes."""
    words: tuple[tuple[str, ...], ...] = ()
    """Per class, the words (name and synonyms) that were embedded."""

    def __len__(self) -> int:
        return len(self.names)


class WordEmbedder:
    """Text embeddings of words under prompt templates, remembered: a word is encoded once."""

    def __init__(self, clip: ClipEncoder):
        self._clip = clip
        self._known: dict[tuple[tuple[str, ...], str], torch.Tensor] = {}

    def __call__(self, words: Sequence[str], templates: tuple[str, ...]) -> torch.Tensor:
        """(N, K) float32 on the CPU: per word the mean over the templates of the un-normalised embeddings."""
        new = [w for w in dict.fromkeys(words) if (templates, w) not in self._known]
        prompts = [t.replace("{}", w) for w in new for t in templates]
        means = (
            self._clip.encode_text(prompts)
            .cpu()
            .reshape(len(new), len(templates), self._clip.dim)
            .mean(dim=1)
        )
        self._known.update({(templates, w): mean for w, mean in zip(new, means, strict=True)})
        return torch.stack([self._known[templates, w] for w in words])


def build_vocabulary(
    embed: WordEmbedder, bank: ReferenceBank, names: Names, options: SegmentOptions
) -> Vocabulary:
    """Embed class names and retrieve their prototypes (method.md, section 2, steps 1 to 3).

    `names` lists the classes, or maps each to synonyms averaged with it: {"sofa": ["couch", "settee"]}.
    Raises InputError for an empty list and blank, duplicate or over-long names; BankError when none of a
    class's retrieved prototypes is finite.
    """
    classes = parse_names(names)
    flat = [word for words in classes.values() for word in words]
    embedded = embed(flat, options.templates).split([len(words) for words in classes.values()])
    mean = torch.stack([rows.mean(dim=0) for rows in embedded])
    text = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return Vocabulary(
        tuple(classes), text, _prototypes(bank, text, tuple(classes), options.k), tuple(classes.values())
    )


def parse_names(names: Names) -> dict[str, tuple[str, ...]]:
    """Class name -> its words, the name first; white space is tidied, and InputError tells what is wrong."""
    if isinstance(names, str):
        raise InputError(f"class names must be a list of strings, not the one string {_short(names)}")
    given = names.items() if isinstance(names, Mapping) else [(name, ()) for name in names]
    out: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for name, synonyms in given:
        label = _tidy(name)
        # CLIP's tokenizer lowers case, so "Cat" and "cat" are one class.
        if label.casefold() in seen:
            raise InputError(f"class name {_short(label)} is given twice")
        seen[label.casefold()] = label
        if isinstance(synonyms, str):
            raise InputError(f"synonyms of class {_short(label)} must be a list of strings")
        out[label] = tuple(dict.fromkeys([label, *map(_tidy, synonyms)]))
    if not out:
        raise InputError("the list of class names is empty: name at least one class")
    return out


def _tidy(name: object) -> str:
    if not isinstance(name, str):
        raise InputError(f"class name {name!r} is not a string")
    tidy = " ".join(name.split())
    if not tidy:
        raise InputError("a class name is blank: remove it or fill it in")
    return tidy


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _prototypes(bank: ReferenceBank, text: Floats, names: tuple[str, ...], k: int) -> Floats:
    if len(bank) == 0:
        raise BankError("the bank holds no pairs: collect some captions first")
    _, found = bank.search(text, min(k, len(bank)))
    stored = bank.prototypes
    out = np.empty((len(text), stored.shape[1]), dtype=np.float32)
    for c, rows in enumerate(found):
        raw = np.asarray(stored[rows[rows >= 0]], dtype=np.float32)
        raw = raw[np.isfinite(raw).all(axis=1)]
        if len(raw) == 0:
            raise BankError(
                f"class {_short(names[c])}: none of the {len(rows)} retrieved prototypes is finite"
            )
        out[c] = raw.mean(axis=0, dtype=np.float64)
    return out
