"""What a worker of `freeda collect` does (see `engines`): an order is a shard, a note a batch's tally."""

from __future__ import annotations

from ..engines import Make, Note, Order
from ..options import CollectOptions, from_dict
from ..presets import Preset
from .captions import Caption
from .runner import Job, Runner
from .shard import load_models


def begin(first: Order) -> Make:
    """Load the models; what it returns makes a shard."""
    options = from_dict(CollectOptions, first["job"]["options"])
    job = Job(**{**first["job"], "options": options, "out": first["out"]})
    kinds = first["device"], first["dtype"], first["drawing_dtype"]
    models = load_models(from_dict(Preset, first["preset"]), options, *kinds)
    runner = Runner(job, models)

    def make(order: Order, note: Note) -> Order:
        captions = [Caption(**caption) for caption in order["captions"]]
        # Not asdict, which makes a Counter anew from its items, and so counts those.
        return runner.make(order["index"], captions, lambda tally: note(vars(tally)))

    return make
