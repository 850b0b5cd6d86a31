"""A list of class names, made ready once: text embeddings and the prototypes the bank gives for them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..bank.cache import Answer
from ..errors import InputError, shortened
from ..image_text import ImageTextEncoder
from ..options import SegmentOptions, from_dict, to_dict
from ..options.word_list import split_words, without_kin, words_of
from ..profile import OFF, Clock
from .coverage import not_in_bank
from .npz import (
    LONGEST,
    WORDS,
    Arrays,
    check,
    check_header,
    checked,
    lists_of_words,
    read_npz,
    tuples,
    write_npz,
)
from .prototypes import ReferenceBank as ReferenceBank
from .prototypes import answers, stacked
from .window_encoding import Floats

Names = Sequence[str] | Mapping[str, Sequence[str]]
# Marks without ink or width that come along with pasted text: soft hyphen, zero-width space, direction marks.
_INKLESS = dict.fromkeys(
    (0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF)
)
REMEMBERED = 50_000
"""Words whose embeddings are kept, some 150 MB of a large CLIP's: a server may be asked for any number."""


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """Class names as the online stage needs them; made once, used on any number of scenes."""

    names: tuple[str, ...]
    """L names of labels: the classes, then the one for everything else where it was asked for."""
    text_embeddings: Floats
    """(T, K) float32, L2-normalised, in CLIP's joint space: a row a class, then a row a word of the
    others."""
    prototypes: Floats
    """(P, D) float32, un-normalised. As a rule one per text row (P = T): the mean of what was retrieved. None
    at all (P = 0) where it was made without a bank."""
    words: tuple[tuple[str, ...], ...] = ()
    """Per label, the words (name and synonyms, or the words of the others) that were embedded."""
    options: SegmentOptions | None = None
    """What it was made with; None for one put together by hand."""
    models: Mapping[str, Any] | None = None
    """Which models made it (`Encoders.identity`): scenes of other models refuse it. None: not known."""
    owner: npt.NDArray[np.int64] | None = None
    """(P,) ascending: the text row a prototype belongs to. None: one prototype a row, in order."""
    label: npt.NDArray[np.int64] | None = None
    """(T,) ascending: the label a text row speaks for. None: one row a label, in order."""
    answered: Mapping[str, tuple[str, ...]] | None = None
    """The classes that are in the bank by none of their words, each with the nouns of the references that
    answered for it, most frequent first. None: not known, as where the bank's rows have no nouns."""
    lessons: Floats | None = None
    """(n, D) float32, L2-normalised: what regions of its words look like that people taught; None: none."""
    lesson_rows: npt.NDArray[np.int64] | None = None
    """(n,) the text row that each speaks for."""
    lesson_pictures: tuple[str, ...] = ()
    """What the pictures are called that they were taught on."""

    def __post_init__(self) -> None:
        rows, labels = len(self.text_embeddings), len(self.names)
        for what, given, n, upper in (
            ("prototypes", self.owner, len(self.prototypes), rows),
            ("text embeddings", self.label, rows, labels),
        ):
            if what == "prototypes" and n == 0 and given is None:
                continue  # made without a bank
            index = np.arange(n) if given is None else np.asarray(given)
            every = index.shape == (n,) and np.array_equal(np.unique(index), np.arange(upper))
            if not every or n == 0 or (np.diff(index) < 0).any():
                raise InputError(
                    f"a vocabulary of {labels} names cannot own its {n} {what} so: see Vocabulary"
                )
        if len(self.words) not in (0, labels) or not all(isinstance(w, str) for ws in self.words for w in ws):
            raise InputError(f"a vocabulary of {labels} names has other words than theirs: see Vocabulary")
        given, n = self.lesson_rows, 0 if self.lessons is None else len(self.lessons)
        fits = given is not None and given.shape == (n,) and bool(((given >= 0) & (given < rows)).all())
        if n and not (fits and len(self.lesson_pictures) == n):
            raise InputError(
                f"a vocabulary of {rows} text rows cannot own its {n} lessons so: see Vocabulary"
            )

    @property
    def owners(self) -> npt.NDArray[np.int64]:
        """(P,) `owner`, written out where it is None."""
        return np.arange(len(self.prototypes)) if self.owner is None else self.owner

    @property
    def row_labels(self) -> npt.NDArray[np.int64]:
        """(T,) `label`, written out where it is None."""
        return np.arange(len(self.text_embeddings)) if self.label is None else self.label

    @property
    def prompts(self) -> tuple[str, ...]:
        """What each text row was embedded from, where rows are single words."""
        return tuple(word for words in self.words for word in words) or self.names

    def __repr__(self) -> str:
        rows, found = len(self.text_embeddings), len(self.prototypes)
        return f"<Vocabulary of {', '.join(self.names)}: {rows} text rows, {found} prototypes>"

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: str | Path) -> Path:
        """Write one .npz file that `load` reads back. Raises InputError where writing fails."""
        return write_npz(path, WORDS, *self.parts())

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what `save` wrote. Raises InputError for a file that is damaged or something else."""
        return read_npz(path, WORDS, cls.of_parts)

    def digest(self) -> str:
        """SHA-256 (hex) of what it holds: the same numbers and names give the same digest."""
        header, arrays = self.parts()
        total = sha256(json.dumps(header, sort_keys=True).encode())
        for name, array in sorted(arrays.items()):
            total.update(f"{name} {array.dtype.str} {array.shape}".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()

    def parts(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Its fields, whichever there are: everything else as JSON values, arrays apart."""
        header: dict[str, Any] = {}
        arrays: dict[str, npt.NDArray[Any]] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                arrays[f.name] = value
            else:
                header[f.name] = to_dict(value) if isinstance(value, SegmentOptions) else value
        return header, arrays

    @classmethod
    def of_parts(cls, header: Mapping[str, Any], arrays: Arrays) -> Vocabulary:
        """The vocabulary that has these `parts`. Raises ValueError (or TypeError) where they are damaged."""
        check_header(header, WORDS)
        values: dict[str, Any] = {**{name: tuples(value) for name, value in header.items()}, **arrays}
        if values.get("options") is not None:
            values["options"] = from_dict(SegmentOptions, header["options"])
        if values.get("answered") is not None:
            values["answered"] = lists_of_words(values["answered"])
        found = cls(**values)
        check(len(found.names) > 0, "it has no names")
        for array in (found.text_embeddings, found.prototypes, found.lessons):
            check(
                array is None or bool(np.isfinite(checked(array, 2, np.float32)).all()),
                "it holds NaN or infinity",
            )
        return found


class WordEmbedder:
    """Text embeddings of words under prompt templates, remembered: a word is encoded once.

    Of more than `REMEMBERED` words those that were new longest ago are forgotten.
    """

    def __init__(self, clip: ImageTextEncoder):
        self._clip = clip
        self._known: dict[tuple[tuple[str, ...], str], torch.Tensor] = {}

    def __call__(self, words: Sequence[str], templates: tuple[str, ...]) -> torch.Tensor:
        """(N, K) float32 on the CPU: per word the mean over the templates of the un-normalised embeddings."""
        new = [w for w in dict.fromkeys(words) if (templates, w) not in self._known]
        filled = [(w, t) for w in new for t in templates]
        embedded = self._clip.encode_text(
            [t.replace("{}", w) for w, t in filled],
            called=lambda i: f"word {shortened(filled[i][0])} in template {shortened(filled[i][1])}",
        )
        means = embedded.cpu().reshape(len(new), len(templates), self._clip.dim).mean(dim=1)
        self._known.update({(templates, w): mean for w, mean in zip(new, means, strict=True)})
        found = torch.stack([self._known[templates, w] for w in words])
        while len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return found


def build_vocabulary(
    embed: WordEmbedder,
    bank: ReferenceBank | int,
    names: Names,
    options: SegmentOptions,
    models: Mapping[str, Any] | None = None,
    clock: Clock = OFF,
) -> Vocabulary:
    """Embed class names and retrieve their prototypes (published; `prototypes.py` has the rest).

    `names` lists the classes, or maps each to synonyms averaged with it: {"sofa": ["couch", "settee"]};
    several classes may name one synonym. With `options.synonyms` "max" each word has a row of its own. With
    `options.others` a last label stands for all that is none of the classes: each of `options.other_words`
    competes by itself and gives its pixels to that label. Without a bank, `bank` is the width of the
    prototypes that there are none of.
    Raises InputError for an empty list and blank, duplicate or over-long names; BankError when none of a
    class's retrieved prototypes is finite. `models` (`Encoders.identity`) is remembered.
    """
    classes = parse_names(names)
    spare = other_words(classes, options)
    single = options.synonyms == "max"
    rows = [row for words in classes.values() for row in ([(word,) for word in words] if single else [words])]
    label = np.repeat(np.arange(len(classes)), [len(words) if single else 1 for words in classes.values()])
    rows += [(word,) for word in spare]
    label = np.concatenate([label, np.full(len(spare), len(classes))])
    with clock("text"):
        text = embed_rows(embed, rows, options.templates)
    prototypes, owner, answered = np.zeros((0, bank if isinstance(bank, int) else 0), np.float32), None, None
    if not isinstance(bank, int):
        with clock("retrieval"):
            found = answers(bank, text, [words[0] for words in rows], options)
            prototypes, owner = stacked(found)
            # Of the words behind the others nobody typed any.
            answered = not_in_bank(bank, classes, _by_class(found, label, len(classes)))
    labels, words = tuple(classes), tuple(classes.values())
    if spare:
        assert options.others is not None
        labels, words = (*labels, tidy(options.others)), (*words, spare)
    speaks = label if len(label) > len(labels) else None
    return Vocabulary(labels, text, prototypes, words, options, models, owner, speaks, answered)


def _by_class(found: Sequence[Answer], label: npt.NDArray[np.int64], classes: int) -> list[Any]:
    """Per class the nouns behind its rows; None for a bank whose rows have none."""
    nouns: list[Any] = [() for _ in range(classes)]
    for one, number in zip(found, label.tolist(), strict=True):
        if number < classes:
            nouns[number] = None if one.nouns is None else (*nouns[number], *one.nouns)
    return nouns


def embed_rows(embed: WordEmbedder, rows: Sequence[Sequence[str]], templates: tuple[str, ...]) -> Floats:
    """(T, K) float32, L2-normalised: the mean embedding of each row's words."""
    flat = [word for words in rows for word in words]
    embedded = embed(flat, templates).split([len(words) for words in rows])
    mean = torch.stack([found.mean(dim=0) for found in embedded])
    text: Floats = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return text


def other_words(classes: Mapping[str, Sequence[str]], options: SegmentOptions) -> tuple[str, ...]:
    """The words behind `options.others` for these classes; none where the option is off.

    Raises InputError where a class has that name already, and where no word is left.
    """
    if options.others is None:
        return ()
    name = tidy(options.others)
    if name.casefold() in map(str.casefold, classes):
        raise InputError(
            f"class name {shortened(name)} is taken by option others={shortened(name)}: drop one"
        )
    own = [word for words in classes.values() for word in words]
    left = without_kin([tidy(word) for word in options.other_words], own)
    if not left:
        raise InputError(
            "every word of other_words is part of a class name: name some that stand for something else"
        )
    return left


def parse_names(names: Names) -> dict[str, tuple[str, ...]]:
    """Class name -> its words, the name first: of one text (see `split_words`), a list of entries such as
    "sofa=couch", or a mapping to synonyms, whose names are taken as they are.

    White space and marks that do not show are tidied, and accents are composed (Unicode's NFC, as CLIP's
    tokenizer does). Raises InputError for no name, one that is blank, no text, or given twice (case aside).
    """
    if isinstance(names, str):
        names = split_words(names)
    if not isinstance(names, Iterable) or isinstance(names, (set, frozenset)):
        why = ", which has no order that labels could follow" if isinstance(names, Iterable) else ""
        raise InputError(f"class names must be a list of strings, not of type {type(names).__name__}{why}")
    given: Iterable[tuple[Any, Any]] = (
        names.items() if isinstance(names, Mapping) else map(_name_and_synonyms, names)
    )
    out: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for name, synonyms in given:
        label = tidy(name)
        # CLIP's tokenizer lowers case, so "Cat" and "cat" are one class.
        folded = unicodedata.normalize("NFC", label.casefold())
        if folded in seen:
            raise InputError(f"class name {shortened(label)} is given twice")
        seen[folded] = label
        if isinstance(synonyms, str) or not isinstance(synonyms, Iterable):
            raise InputError(f"synonyms of class {shortened(label)} must be a list of strings")
        out[label] = tuple(dict.fromkeys([label, *map(tidy, synonyms)]))
    if not out:
        raise InputError("the list of class names is empty: name at least one class")
    return out


def _name_and_synonyms(entry: Any) -> tuple[Any, list[str]]:
    name, *synonyms = words_of(entry) if isinstance(entry, str) else [entry]
    return name, synonyms


def tidy(name: object) -> str:
    """A class name as labels have it. Raises InputError for what is none."""
    if not isinstance(name, str):
        raise InputError(f"class name {shortened(name)} is not a string")
    if len(name) > LONGEST:
        raise InputError(f"class name {shortened(name)} has {len(name):,} characters: at most {LONGEST:,}")
    told = " ".join(unicodedata.normalize("NFC", name.translate(_INKLESS)).split())
    kinds = {unicodedata.category(c): c for c in told}
    for kind in ("Cc", "Cs"):  # control characters; halves of characters, as in wrongly decoded text
        if kind in kinds:
            raise InputError(
                f"class name {shortened(told)} holds the character U+{ord(kinds[kind]):04X}, "
                "which is no part of a word: remove it"
            )
    if not set(kinds) - {"Zs", "Cf"}:
        raise InputError("a class name is blank: remove it or fill it in")
    return told
