"""What is measured: FreeDA, loaded when it is first needed, or any other labeller."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import torch

from ..bank import Bank
from ..encoders import model_identity
from ..engines import Engine, Work
from ..errors import InputError
from ..model import FreeDA, load
from ..options import SegmentOptions, to_dict
from ..presets import Preset, find_preset
from ..segment.prototypes import ReferenceBank
from ..show.caveats import NONE, Caveats
from .folder import WORDS
from .protocol import Labeller, Method, check_options, label_names, protocol_changes, protocol_options

if TYPE_CHECKING:
    from .dataset import DataSet
    from .folder import RunFolder
    from .origin import Origin


class Subject(Protocol):
    """What a job needs to know of it."""

    name: str
    settings: dict[str, Any]
    """What its labels depend on, as JSON values."""
    about: dict[str, Any]
    """What else a report should say."""

    def prepare(self, folder: RunFolder) -> None:
        """Make ready what all processes share; nothing has been labelled yet."""

    def caveats(self, folder: RunFolder) -> Caveats:
        """Why its labels may not mean what they say, once it is prepared."""

    @property
    def labeller(self) -> Labeller:
        """It, in this process."""

    def check_workers(self, origin: Origin | None) -> None:
        """Raise InputError where it, or the data set of that origin, is only an object of this process."""

    def work(self, origin: Origin | None) -> Work:
        """What workers are told of the subject and the data set."""


class Callables:
    """A labeller of the user's own."""

    def __init__(self, labeller: Labeller) -> None:
        self.labeller = labeller
        self.name = str(getattr(labeller, "name", None) or getattr(labeller, "__name__", "labeller"))
        self.settings: dict[str, Any] = {"labeller": self.name}
        self.about: dict[str, Any] = {}

    def prepare(self, folder: RunFolder) -> None:
        """Nothing is shared."""

    def caveats(self, folder: RunFolder) -> Caveats:
        """None are known."""
        return NONE

    def check_workers(self, origin: Origin | None) -> NoReturn:
        """Raises InputError: it cannot be sent anywhere."""
        raise InputError("labeller belongs to this process: leave it out, or use one worker")

    def work(self, origin: Origin | None) -> Work:
        """Raises as `check_workers`."""
        self.check_workers(origin)


class Preparation:
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
        self._preset = replace(usual, segment=options)
        self._dataset, self._device = dataset, engine.device
        self._folder: RunFolder | None = None
        place = usual.bank if bank is None else bank
        if bank is None and isinstance(model, FreeDA):
            place = model.bank
        if place is None:
            raise InputError(
                f"preset '{usual.name}' has no bank of its own: give one (bank=DIR or --bank DIR), made by "
                "`freeda collect`, or have it grown (--grow)"
            )
        self._bank: Any = place if hasattr(place, "search") else Bank.open(place)
        if self._given is None:
            identity, kind = model_identity(usual), engine.dtype(dtype)
        else:
            identity, kind = self._given.encoders.identity, self._given.encoders.dtype
        self._dtype = str(kind).removeprefix("torch.")
        self.settings: dict[str, Any] = {
            "preset": usual.name,
            "models": identity,
            "bank": _identity(self._bank),
            "options": to_dict(options),
            "dtype": self._dtype,
        }
        self.about: dict[str, Any] = {"protocol_changes": protocol_changes(usual, dataset, options)}

    @cached_property
    def _model(self) -> FreeDA:
        if self._given is None:
            return load(self._preset, self._bank, self._device, self._dtype)
        given = self._given
        return FreeDA(self._preset, given.encoders, self._bank, given.clock)

    def prepare(self, folder: RunFolder) -> None:
        """Make the vocabulary, unless an earlier run has: all processes read the same one."""
        self._folder = folder
        if folder.vocabulary() is None:
            self._model.vocabulary(list(self._dataset.classes)).save(folder.words)

    def caveats(self, folder: RunFolder) -> Caveats:
        """Images of another kind than the models know, classes that the bank does not know."""
        world, words = self._preset.world, folder.vocabulary()
        outside = world if world and getattr(self._dataset, "world", "") != world else ""
        return Caveats(outside, (words.answered if words is not None else None) or {})

    @cached_property
    def labeller(self) -> Labeller:
        """Raises ModelError, BankError or InputError where the models do not load."""
        words = self._folder.vocabulary() if self._folder is not None else None
        if words is None:
            words = self._model.vocabulary(list(self._dataset.classes))
        return Method(self._model, words, self._preset.segment, len(label_names(self._dataset)))

    def check_workers(self, origin: Origin | None) -> None:
        """Raises InputError where the model or the data set is only an object of this process."""
        if self._given is not None:
            raise InputError("model belongs to this process: name its preset, or use one worker")
        if origin is None:
            raise InputError("dataset belongs to this process: name it, or use one worker")

    def work(self, origin: Origin | None) -> Work:
        """The preset with all options, the vocabulary's file, and how the data set is opened."""
        assert self._folder is not None and origin is not None
        first = {
            "dtype": self._dtype,
            "preset": to_dict(self._preset),
            "origin": asdict(origin),
            "digest": self._folder.digest,
            "names": self._dataset.digest(),
        }
        kept, folder = "images counted so far", self._folder.path
        return Work("freeda.evaluation.worker", first, folder, kept, (WORDS,), "part {number}")


def _identity(bank: Any) -> list[dict[str, Any]]:
    """Which banks a vocabulary comes from: a bank's content, or all of a layered one's."""
    return [
        {"pairs": len(one), "identity": getattr(one, "identity", type(one).__name__)}
        for one in getattr(bank, "banks", (bank,))
    ]
