"""Making one shard after another in this process: the same in a worker and without workers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..bank.format import caption_digest, shard_name, write_shard
from ..options import CollectOptions
from .captions import Caption
from .shard import CollectModels, Picture, Tally, broken, make_shard


@dataclass(frozen=True)
class Job:
    """What all shards of a run have in common; plain values, so that it can be sent to another process."""

    out: str
    """The bank's directory."""
    options: CollectOptions
    seed: int
    tagger: str
    settings: dict[str, Any]
    """All that the rows depend on; written into every shard."""


class Runner:
    """Makes the shards of a job with loaded models and writes them into the bank's directory."""

    def __init__(
        self, job: Job, models: CollectModels, on_picture: Picture | None = None, works: bool = False
    ) -> None:
        """`works`: the models have drawn for this bank before, so a shard that fails is no reason to stop."""
        self._job = job
        self._models = models
        self._on_picture = on_picture
        self._works = works

    def make(
        self,
        index: int,
        captions: Sequence[Caption],
        on_batch: Callable[[Tally], None],
        own: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make and write one shard; returns its line of the log. `own` are settings of this shard alone.

        Raises `shard.broken` where not one caption of the first shard could be drawn, or none of the first of
        a later one (see `make_shard`); InputError where the shard cannot be written.
        """
        job, start = self._job, time.perf_counter()
        name = shard_name(index)
        made = make_shard(
            captions,
            self._models,
            job.options,
            seed=job.seed,
            tagger=job.tagger,
            on_picture=self._on_picture,
            on_batch=on_batch,
        )
        if made.error is not None and not made.pictures and not self._works:
            raise broken(made.error) from made.error
        self._works = self._works or made.pictures > 0
        told_of = {
            "captions": len(captions),
            "pictures": made.pictures,
            "rejected": made.rejected,
            "failed": [asdict(failure) for failure in made.failed],
        }
        about = {"settings": {**job.settings, **(own or {})}, "digest": digest(captions), **told_of}
        write_shard(Path(job.out) / name, made.pairs, about)
        seconds = time.perf_counter() - start
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "shard": name,
            **told_of,
            "pairs": len(made.pairs),
            "batches_retried": made.retried,
            "batches_out_of_memory": made.crowded,
            "seconds": round(seconds, 3),
            "pictures_per_second": round(made.pictures / seconds, 4) if seconds > 0 else None,
            "device": str(self._models.encoders.device),
            "process": os.getpid(),
            "host": socket.gethostname(),
        }


def digest(captions: Sequence[Caption]) -> str:
    """A digest of captions in order: ids, texts and the words wanted of them."""
    return caption_digest(_named(captions))


def _named(captions: Sequence[Caption]) -> list[tuple[str, str]]:
    # A wanted word cannot stand in a caption's text, which holds no line break.
    return [(c.id, c.text if c.word is None else f"{c.text}\n{c.word}") for c in captions]
