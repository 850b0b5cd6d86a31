"""Several workers, each with models of its own, sharing out the shards of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..engines import Engine, Work
from ..options import to_dict
from ..presets import Preset
from .captions import Caption
from .runner import Job
from .shard import Tally


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
    first = {
        **dtypes,
        "preset": to_dict(preset),
        "job": {**asdict(job), "options": to_dict(job.options)},
    }

    def count(told: dict[str, Any]) -> None:
        on_batch(Tally(**{**told, "rejected": Counter(told["rejected"])}))

    engine.share_out(
        Work("freeda.collect.worker", first, Path(job.out), "shards made so far"),
        [{"index": index, "captions": [asdict(c) for c in captions]} for index, captions in shards],
        on_shard,
        count,
    )
