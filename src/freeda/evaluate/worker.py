"""What a worker of `freeda evaluate` does (see `engines`): an order is a part, a note an image done."""

from __future__ import annotations

from pathlib import Path

from ..encoders import load_encoders
from ..engines import Make, Note, Order
from ..errors import InputError
from ..model import FreeDA
from ..options import from_dict
from ..presets import Preset
from ..segment.vocabulary import Vocabulary
from .folder import RunFolder
from .origin import Origin
from .part import score_part
from .protocol import Method, label_names


def begin(first: Order) -> Make:
    """Open the data set and load models and vocabulary; what it returns makes a part."""
    folder = RunFolder(Path(first["out"]), first["digest"])
    preset, origin = from_dict(Preset, first["preset"]), Origin(**first["origin"])
    dataset = origin.open()
    if dataset.digest() != first["names"]:  # another machine may hold other files under the same path
        raise InputError(f"data set {dataset.name!r} holds other images here: {origin.arguments.get('data')}")
    model = FreeDA(preset, load_encoders(preset, first["device"], first["dtype"]))
    method = Method(model, Vocabulary.load(folder.words), preset.segment, len(label_names(dataset)))

    def make(order: Order, note: Note) -> int:
        part = score_part(method, dataset, order["images"], lambda row: note(row.seconds))
        folder.write(order["number"], part)
        number: int = order["number"]
        return number

    return make
