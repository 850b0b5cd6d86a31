"""Several workers share out the shards of a run (see `engines`): an order is a shard, a note a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..engines import Engine, Make, Note, Order, Work
from ..options import CollectOptions, from_dict, to_dict
from ..presets import Preset
from .captions import Caption
from .runner import Job, Runner
from .shard import Tally, load_models


def make_in_workers(
    job: Job,
    preset: Preset,
    dtypes: dict[str, str],
    engine: Engine,
    shards: Sequence[tuple[int, Sequence[Caption]]],
    on_batch: Callable[[Tally], None],
    on_shard: Callable[[dict[str, Any]], None],
) -> None:
    """Make `shards`, each an index and its captions; `dtypes` are those that `plan.settings_of` names.

    `on_shard` gets every shard's line of the log, in the order in which they are done. Errors as
    `Engine.share_out` raises them.
    """
    told_of = {"preset": to_dict(preset), "job": {**asdict(job), "options": to_dict(job.options)}}
    engine.share_out(
        Work(__name__, {**dtypes, **told_of}, Path(job.out), "shards made so far", piece="shard {index}"),
        [{"index": index, "captions": [asdict(c) for c in captions]} for index, captions in shards],
        on_shard,
        lambda tally: on_batch(Tally(**tally)),
    )


def begin(first: Order) -> Make:
    """Load the models, in a worker; what it returns makes a shard."""
    options = from_dict(CollectOptions, first["job"]["options"])
    job = Job(**{**first["job"], "options": options, "out": first["out"]})
    kinds = first["device"], first["dtype"], first["drawing_dtype"]
    runner = Runner(job, load_models(from_dict(Preset, first["preset"]), options, *kinds))

    def make(order: Order, note: Note) -> Order:
        captions = [Caption(**caption) for caption in order["captions"]]
        # Not asdict, which makes a Counter anew from its items, and so counts those.
        return runner.make(order["index"], captions, lambda tally: note(vars(tally)))

    return make
