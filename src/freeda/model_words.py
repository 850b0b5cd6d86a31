"""What a loaded model makes of words: vocabularies, names that are found, how well its bank knows them."""

from __future__ import annotations

from typing import Any, Unpack

from .bank.taught import Taught
from .encoders import Encoders
from .errors import InputError
from .identity import difference
from .options import Changes, SegmentOptions
from .presets import Preset
from .profile import Clock
from .segment.background import label_names
from .segment.coverage import Coverage, coverage
from .segment.lessons import with_lessons
from .segment.naming import Namer
from .segment.planes import prompts_of
from .segment.prototypes import ReferenceBank
from .segment.scene import refuse_late
from .segment.support import resolve, values_of
from .segment.vocabulary import (
    Names,
    Vocabulary,
    WordEmbedder,
    build_vocabulary,
    embed_rows,
    parse_names,
)


class ModelWords:
    """The half of `FreeDA` that has to do with words; needs no photograph."""

    preset: Preset
    encoders: Encoders
    bank: ReferenceBank | None
    clock: Clock
    taught: Taught
    _embed: WordEmbedder
    _namer: Namer | None = None

    @property
    def options(self) -> SegmentOptions:
        """The preset's options of the online stage."""
        return self.preset.segment

    def vocabulary(self, names: Names, **changes: Unpack[Changes]) -> Vocabulary:
        """Make class names ready; `changes` are fields of SegmentOptions.

        "cat, sofa=couch", ["cat", "sofa=couch"], or {"cat": [], "sofa": ["couch", "settee"]}: a class's words
        are averaged (docs/words.md). Raises InputError for unusable names, and a method without its bank.
        """
        return self._make_vocabulary(names, self.options.with_changes(**changes))

    def coverage(self, names: Names, **changes: Unpack[Changes]) -> list[Coverage]:
        """How well the bank knows each class (see `Coverage`); of the words behind `others` nobody typed any.

        Raises InputError for unusable names, and where there is no bank or one whose rows have no nouns.
        """
        options = self.options.with_changes(**changes)
        bank: Any = self.bank
        if not hasattr(bank, "nouns") or self.preset.detector is not None:
            raise InputError("coverage needs a bank whose rows have nouns, and a preset that looks words up")
        classes = parse_names(names)
        text = embed_rows(self._embed, list(classes.values()), options.templates)
        return coverage(bank, text, list(classes), options)

    def namer(self, **changes: Unpack[Changes]) -> Namer:
        """What finds names in the bank, in the place of a vocabulary (see `Namer`)."""
        self.preset.check_draws()
        options = self.options.with_changes(**changes).naming
        if self._namer is None or self._namer.options != options:
            self._namer = Namer(self.bank, options, self.preset.name)
        return self._namer

    def _resolved(self, options: SegmentOptions, classes: Vocabulary | Namer | None = None) -> SegmentOptions:
        """What the options mean with this bank, or with the prototypes of a vocabulary. As `resolve`."""
        known = len(classes.prototypes) > 0 if isinstance(classes, Vocabulary) else self.bank is not None
        return resolve(options, known, values_of(self.bank) is not None)

    def ready(self, classes: Vocabulary | Names, **changes: Unpack[Changes]) -> Vocabulary:
        """`classes` as a vocabulary of this model: class names are made ready, a vocabulary is checked.

        Raises InputError for unusable names, for a vocabulary that other models made, and for options that
        shape a vocabulary where one is given: it would not heed them.
        """
        options = self.options.with_changes(**changes)
        if isinstance(classes, Vocabulary):
            refuse_late(changes)
            if classes.models and (told := difference(classes.models, self.encoders.identity)):
                raise InputError(f"this vocabulary was made with {told}: make it again with these models")
        else:
            classes = self._make_vocabulary(classes, options)
        self._resolved(options, classes)
        label_names(classes.names, options)
        return with_lessons(classes, self.taught)

    def _make_vocabulary(self, names: Names, options: SegmentOptions) -> Vocabulary:
        if self.preset.detector is not None:
            return prompts_of(self._embed, names, options, self.encoders, self.bank, self.clock)
        freeda = self._resolved(options).weights.freeda
        known = self.bank if self.bank is not None and freeda else self.encoders.dense.dim
        return build_vocabulary(self._embed, known, names, options, self.encoders.identity, self.clock)
