"""The loaded models and a bank: the object that people hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .bank import Bank
from .encoders import Encoders, load_encoders
from .errors import InputError
from .images import to_image
from .options import SegmentOptions
from .presets import DEFAULT, ModelSource, Preset, find_preset
from .segment.scene import Scene, encode_scene
from .segment.vocabulary import Names, ReferenceBank, Vocabulary, WordEmbedder, build_vocabulary

if TYPE_CHECKING:
    from .segment.result import Segmentation


class FreeDA:
    """Open-vocabulary segmentation with a preset's encoders and a reference bank.

    `encode` an image once and label the `Scene` as often as you like, or let `segment` do both.
    """

    def __init__(self, preset: Preset, encoders: Encoders, bank: ReferenceBank | None = None):
        check = getattr(bank, "check_models", None)
        if check is not None:
            check(encoders.identity)
        self.preset, self.encoders, self.bank = preset, encoders, bank
        self._embed = WordEmbedder(encoders.clip)

    @property
    def options(self) -> SegmentOptions:
        """The preset's options of the online stage."""
        return self.preset.segment

    def vocabulary(self, names: Names, **changes: Any) -> Vocabulary:
        """Make class names ready: a list, or a mapping to synonyms; `changes` are fields of SegmentOptions.

        Raises InputError for unusable names or when there is no bank.
        """
        return self._make_vocabulary(names, self.options.with_changes(**changes))

    def encode(
        self,
        image: Any,
        batch_size: int = 8,
        on_done: Callable[[int, int], None] | None = None,
        **changes: Any,
    ) -> Scene:
        """Encode an image: a path, a PIL image, or an array (uint8, or float in [0, 1]; (H, W[, 3 or 4])).

        `batch_size` windows go through the encoders together; `on_done(done, in_all)` is called after each
        batch; `changes` are fields of SegmentOptions. Raises InputError.
        """
        source = str(image) if isinstance(image, (str, Path)) else None
        return encode_scene(
            self.encoders,
            to_image(image),
            self.options.with_changes(**changes),
            source,
            self._make_vocabulary,
            batch_size,
            on_done,
        )

    def segment(self, image: Any, classes: Vocabulary | Names, **changes: Any) -> Segmentation:
        """Label an image with class names or a vocabulary; `changes` are fields of SegmentOptions."""
        options = self.options.with_changes(**changes)
        # Class names are looked at first: a wrong list should not cost an encoded image.
        known = classes if isinstance(classes, Vocabulary) else self._make_vocabulary(classes, options)
        return self.encode(image, **changes).segment(known)

    def _make_vocabulary(self, names: Names, options: SegmentOptions) -> Vocabulary:
        if self.bank is None:
            raise InputError(
                f"preset '{self.preset.name}' has no bank of its own: give one (bank=DIR or --bank DIR), "
                "made by `freeda collect`"
            )
        return build_vocabulary(self._embed, self.bank, names, options)


def load(
    preset: str | Path | Preset = DEFAULT,
    bank: str | Path | Bank | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "float32",
    clip: str | Path | None = None,
    dense: str | Path | None = None,
    generator: str | Path | None = None,
) -> FreeDA:
    """Load a preset's encoders and a bank.

    Args:
        preset: "miniature" (bundled, offline), "vit-b", "vit-l", a preset JSON file, or a `Preset`.
        bank: a bank directory or an open `Bank`; None takes the preset's own, if it has one.
        device: "auto", "cpu", "cuda" or "mps".
        dtype: "float32", "bfloat16" or "float16", of the encoders' weights and arithmetic.
        clip, dense, generator: hub ids or local folders instead of the preset's.

    Raises InputError, ModelError or BankError, each one line.
    """
    chosen = find_preset(preset)
    chosen = replace(
        chosen,
        clip=_instead(clip, chosen.clip),
        dense=_instead(dense, chosen.dense),
        generator=_instead(generator, chosen.generator),
    )
    place = chosen.bank if bank is None else bank
    # Opened before the weights are: a wrong path should be told at once.
    opened = Bank.open(place) if isinstance(place, (str, Path)) else place
    return FreeDA(chosen, load_encoders(chosen, device, dtype), opened)


def _instead(given: str | Path | None, usual: ModelSource) -> ModelSource:
    return usual if given is None else ModelSource(str(given))
