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
from .dataset import contents
from .folder import RunFolder
from .origin import Origin
from .part import Piece, score_part
from .protocol import Method, label_names


def begin(first: Order) -> Make:
    """Open the data set and load models and vocabulary; what it returns makes a part."""
    folder = RunFolder(Path(first["out"]), first["digest"])
    preset, origin = from_dict(Preset, first["preset"]), Origin(**first["origin"])
    dataset = origin.open()
    # Another machine may hold other files under the same path.
    other = InputError(f"data set {dataset.name!r} holds other images here: {origin.arguments.get('data')}")
    if dataset.digest() != first["names"]:
        raise other
    model = FreeDA(preset, load_encoders(preset, first["device"], first["dtype"]))
    method = Method(model, Vocabulary.load(folder.words), preset.segment, len(label_names(dataset)))

    def make(order: Order, note: Note) -> int:
        piece = Piece(**order)
        if contents(dataset, piece.images) != piece.files:
            raise other
        folder.write(piece, score_part(method, dataset, piece.images, lambda row: note(row.seconds)))
        return piece.number

    return make
