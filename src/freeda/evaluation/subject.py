"""What is measured: FreeDA by a data set's protocol, here or in a worker, or any other labeller."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..bank import Bank
from ..encoders import load_encoders, model_identity
from ..engines import Engine, Make, Note, Order, Work
from ..errors import InputError
from ..images import RGB
from ..model import FreeDA, load
from ..options import SegmentOptions, from_dict, to_dict
from ..presets import Preset, find_preset
from ..region_models import RegionModel, load_regions, regions_name
from ..segment.prototypes import ReferenceBank
from ..segment.stream import ahead
from ..segment.support import identity_of, resolve, values_of
from ..segment.vocabulary import Vocabulary
from ..show.caveats import NONE, Caveats
from .dataset import DataSet, Origin, contents
from .part import WORDS, Labeller, ManyLabeller, Piece, RunFolder, label_names, score_part
from .result import flat


def protocol_options(preset: Preset, dataset: DataSet) -> SegmentOptions:
    """The preset's options with what the data set's protocol sets."""
    return preset.segment.with_changes(**dataset.changes)


def protocol_changes(preset: Preset, dataset: DataSet, options: SegmentOptions) -> dict[str, list[Any]]:
    """Option -> [by the protocol, as used] where the two differ; JSON values, nested options with a dot."""
    usual, used = (dict(flat(to_dict(of))) for of in (protocol_options(preset, dataset), options))
    return {name: [value, used[name]] for name, value in usual.items() if value != used[name]}


def check_options(dataset: DataSet, options: SegmentOptions) -> None:
    """Raise InputError for labels that the data set's truth does not have."""
    given = (("background", options.background, "none"), ("others", options.others, None))
    extra = [f"{name}={value!r}" for name, value, usual in given if value != usual]
    if extra and not dataset.background:
        raise InputError(
            f"data set {dataset.name!r} has no background, so {extra[0]} could only be wrong: leave it out"
        )


class FreedaLabeller:
    """FreeDA as a labeller."""

    def __init__(self, model: FreeDA, vocabulary: Vocabulary, options: SegmentOptions, n_labels: int) -> None:
        """`vocabulary` is of the data set's classes, `n_labels` counts its background too."""
        usual = replace(model.preset, segment=options)
        self._model = FreeDA(usual, model.encoders, model.bank, model.clock, model.regions, model.score)
        self._vocabulary, self._last = vocabulary, n_labels - 1

    def __call__(self, image: RGB) -> NDArray[np.int32]:
        """(H, W) int32 labels of a picture, uint8 (H, W, 3)."""
        return next(self.many([image]))

    def many(self, images: Iterable[RGB]) -> Iterator[NDArray[np.int32]]:
        """The same for many, whose windows share batches."""
        for scene in self._model.encode_many(images):
            # "others" and the background come last, and are one in the truth.
            yield np.minimum(self._model.segment(scene, self._vocabulary).labels, self._last)


class Subject:
    """What a job needs to know of what it measures: here of a labeller of the user's own."""

    settings: dict[str, Any]
    """What its labels depend on, as JSON values."""
    about: dict[str, Any]
    """What else a report should say."""

    def __init__(self, labeller: Labeller) -> None:
        self._own = labeller
        self.name = str(getattr(labeller, "name", None) or getattr(labeller, "__name__", "labeller"))
        self.settings, self.about = {"labeller": self.name}, {}

    def work(self, origin: Origin | None, folder: RunFolder) -> Work:
        """What workers are told of it and of the data set.

        Raises InputError where one of the two is only an object of this process.
        """
        raise InputError("labeller belongs to this process: leave it out, or use one worker")

    def prepare(self, folder: RunFolder) -> None:
        """Make ready what all processes share; nothing has been labelled yet."""

    def caveats(self, folder: RunFolder) -> Caveats:
        """Why its labels may not mean what they say, once it is prepared."""
        return NONE

    def labeller(self, folder: RunFolder) -> ManyLabeller:
        """It, in this process, once it is prepared. Raises ModelError, BankError or InputError."""
        many: ManyLabeller | None = getattr(self._own, "many", None)
        return many or (lambda images: map(self._own, ahead(images)))


class FreedaSubject(Subject):
    """FreeDA with the options of a measurement."""

    def __init__(
        self,
        model: str | Path | Preset | FreeDA,
        bank: str | Path | ReferenceBank | None,
        options: SegmentOptions | None,
        dataset: DataSet,
        engine: Engine,
        dtype: str | torch.dtype,
    ) -> None:
        """Nothing is loaded yet. Raises InputError or BankError for what cannot work."""
        self._given = model if isinstance(model, FreeDA) else None
        usual = model.preset if isinstance(model, FreeDA) else find_preset(model)
        options = protocol_options(usual, dataset) if options is None else options
        check_options(dataset, options)
        self.name = usual.name
        self._dataset, self._device = dataset, engine.device
        place = usual.bank if bank is None else bank
        if bank is None and isinstance(model, FreeDA):
            place = model.bank
        self._bank: Any = place if place is None or hasattr(place, "search") else Bank.open(place)
        values = values_of(self._bank)
        prototypes = self._bank is not None or usual.detector is not None
        resolved = resolve(options, prototypes, values is not None)
        self._preset = replace(usual, segment=resolved)
        banks: Any = getattr(self._bank, "banks", (self._bank,) if self._bank is not None else ())
        if self._given is None:
            identity, kind = model_identity(usual), engine.dtype(dtype)
            if usual.regions is not None:
                identity["regions"] = regions_name(usual)
        else:
            identity, kind = self._given.identity, self._given.encoders.dtype
            if str(dtype).removeprefix("torch.") not in ("float32", str(kind).removeprefix("torch.")):
                raise InputError(f"dtype is {dtype}: the model is loaded already, with {kind}; load it so")
        self._dtype = str(kind).removeprefix("torch.")
        self.settings = {
            "preset": usual.name,
            "models": identity,
            "bank": [
                {"pairs": len(one), "identity": getattr(one, "identity", type(one).__name__)} for one in banks
            ],
            "options": to_dict(options),
            "method": resolved.method,
            "values": identity_of(values) if self._supported else None,
            "dtype": self._dtype,
        }
        self.about = {"protocol_changes": protocol_changes(usual, dataset, options)}
        given = self._given
        if usual.regions is not None if given is None else isinstance(given.regions, RegionModel):
            self.about["trained_on_masks"] = identity["regions"]
        if usual.detector is not None:
            self.about["trained_on_masks"] = identity["clip"]["id"]

    @property
    def _supported(self) -> bool:
        return self._preset.segment.weights.support > 0

    @cached_property
    def _model(self) -> FreeDA:
        if self._given is None:
            return load(self._preset, self._bank, self._device, self._dtype)
        given = self._given
        own = (given.clock, given.regions, given.score)
        return FreeDA(self._preset, given.encoders, self._bank, *own)

    def work(self, origin: Origin | None, folder: RunFolder) -> Work:
        """The preset with all options, the vocabulary's file, and how the data set is opened."""
        if self._given is not None:
            raise InputError("model belongs to this process: name its preset, or use one worker")
        if origin is None:
            raise InputError("dataset belongs to this process: name it, or use one worker")
        bank = getattr(self._bank, "path", None) if self._supported else None
        if self._supported and bank is None:
            raise InputError("several workers read region values from one bank directory: name it")
        first = {
            "bank": None if bank is None else str(bank),
            "dtype": self._dtype,
            "preset": to_dict(self._preset),
            "origin": asdict(origin),
            "digest": folder.digest,
            "names": self._dataset.digest(),
        }
        return Work(__name__, first, folder.path, "images counted so far", (WORDS,), "part {number}")

    def prepare(self, folder: RunFolder) -> None:
        """Make the vocabulary, unless an earlier run has: all processes read the same one."""
        if folder.vocabulary() is None:
            self._model.vocabulary(list(self._dataset.classes)).save(folder.words)

    def caveats(self, folder: RunFolder) -> Caveats:
        """Images of another kind than the models know, classes that the bank does not know."""
        world, words = self._preset.world, folder.vocabulary()
        outside = world if world and getattr(self._dataset, "world", "") != world else ""
        return Caveats(outside, (words.answered if words is not None else None) or {})

    def labeller(self, folder: RunFolder) -> ManyLabeller:
        """With the vocabulary that the folder keeps."""
        words, n_labels = Vocabulary.load(folder.words), len(label_names(self._dataset))
        return FreedaLabeller(self._model, words, self._preset.segment, n_labels).many


def begin(first: Order) -> Make:
    """A worker (see `engines`): open the data set, load models and vocabulary; the result makes a part."""
    folder = RunFolder(Path(first["out"]), first["digest"])
    preset, origin = from_dict(Preset, first["preset"]), Origin(**first["origin"])
    dataset = origin.open()
    # Another machine may hold other files under the same path.
    other = InputError(f"data set {dataset.name!r} holds other images here: {origin.arguments.get('data')}")
    if dataset.digest() != first["names"]:
        raise other
    on = (preset, first["device"], first["dtype"])
    bank = None if first["bank"] is None else Bank.open(first["bank"])
    model = FreeDA(preset, load_encoders(*on), bank, regions=load_regions(*on))
    words, n_labels = Vocabulary.load(folder.words), len(label_names(dataset))
    labeller = FreedaLabeller(model, words, preset.segment, n_labels).many

    def make(order: Order, note: Note) -> int:
        piece = Piece(**order)
        if contents(dataset, piece.images) != piece.files:
            raise other
        folder.write(piece, score_part(labeller, dataset, piece.images, note))
        return piece.number

    return make
