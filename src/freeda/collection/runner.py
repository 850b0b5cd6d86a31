"""Making one shard after another, in this process or in workers, and what is shown of it.

In a worker an order is a shard, a note a batch.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ..bank.format import REGIONS, caption_digest, shard_name, write_shard
from ..engines import Make, Note, Order
from ..options import CollectOptions, from_dict
from ..presets import Preset
from ..progress import RunProgress, duration
from .captions import Caption
from .shard import CollectModels, OnPicture, Tally, broken, load_models, make_shard

_REASONS = 4  # reasons named; the others are one number
_CROWDED = (
    "memory was too small for a batch, which is drawn one by one instead: a smaller batch_size, or "
    "vae_slicing=true, would be faster"
)


@dataclass
class Runner:
    """Makes shards with loaded models and writes them into a bank's directory."""

    out: Path
    options: CollectOptions
    settings: dict[str, Any]
    """All that the rows depend on (`job.settings_of`); written into every shard."""
    models: CollectModels
    on_picture: OnPicture | None = None
    regions: dict[str, Any] | None = None
    """The same of rows of regions (`job.region_settings`); None: there are none."""
    works: bool = False
    """Whether the models have drawn for this bank: a shard that fails is then no reason to stop."""

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
        name, start = shard_name(index), time.perf_counter()
        made = make_shard(
            captions,
            self.models,
            self.options,
            seed=self.settings["seed"],
            tagger=self.settings["tagger"],
            on_picture=self.on_picture,
            on_batch=on_batch,
        )
        tally = made.tally
        if made.error is not None and not tally.pictures and not self.works:
            raise broken(made.error) from made.error
        self.works = self.works or tally.pictures > 0
        told_of = {
            "captions": len(captions),
            "pictures": tally.pictures,
            "rejected": dict(tally.rejected),
            "failed": [{"caption_id": name, "error": error} for name, error in made.failed.items()],
        }
        about = {"settings": {**self.settings, **(own or {})}, "digest": digest(captions), **told_of}
        told_more = {}
        if self.regions is not None:  # before the pairs, so that a shard of pairs never lacks its regions
            left_out = dict(tally.left_out)
            theirs = {**about, "settings": self.regions, "rejected": left_out}
            write_shard(self.out / REGIONS / name, made.regions, theirs)
            told_more = {"regions": len(made.regions), "regions_left_out": left_out}
        write_shard(self.out / name, made.pairs, about)
        seconds = time.perf_counter() - start
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "shard": name,
            **told_of,
            "pairs": len(made.pairs),
            **told_more,
            "batches_retried": tally.retried,
            "batches_out_of_memory": tally.crowded,
            "seconds": round(seconds, 3),
            "pictures_per_second": round(tally.pictures / seconds, 4) if seconds > 0 else None,
            "device": str(self.models.encoders.device),
            "process": os.getpid(),
            "host": socket.gethostname(),
        }


def digest(captions: Sequence[Caption]) -> str:
    """A digest of captions in order: ids, texts and the words wanted of them."""
    # A wanted word cannot stand in a caption's text, which holds no line break.
    return caption_digest((c.id, c.text if c.word is None else f"{c.text}\n{c.word}") for c in captions)


def begin(first: Order) -> Make:
    """Load the models, in a worker; what it returns makes a shard."""
    options, settings = from_dict(CollectOptions, first["options"]), first["settings"]
    kinds = first["device"], settings["dtype"], settings["drawing_dtype"]
    models = load_models(from_dict(Preset, first["preset"]), options, *kinds)
    runner = Runner(Path(first["out"]), options, settings, models, regions=first.get("regions"))

    def make(order: Order, note: Note) -> Order:
        captions = [Caption(**caption) for caption in order["captions"]]
        # Not asdict, which makes a Counter anew from its items, and so counts those.
        return runner.make(order["index"], captions, lambda tally: note(vars(tally)))

    return make


class CaptionProgress(RunProgress):
    """Shows captions done, and of this run the pace, the time left, pairs kept and nouns rejected."""

    def __init__(
        self,
        total: int,
        done: int,
        show: bool,
        console: Console | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__("collecting", "captions", show, console, clock)
        self.tally = Tally()
        """What became of the captions of this run."""
        self._total, self._done = total, done
        self._began: float | None = None
        self._task = self._bar.add_task("collecting", total=total, completed=done)

    def count(self, tally: Tally) -> None:
        """Count one more batch."""
        if self._began is None:  # models are loaded by now
            self._began = self._clock()
        self.tally.add(tally)
        self._bar.update(self._task, completed=self._done + self.tally.captions)
        if self._show and tally.crowded and self.tally.crowded == tally.crowded:  # the first time
            self._console.print(Text(f"{self._verb}: {_CROWDED}"), soft_wrap=True)
        self._line_if_due()

    def said(self) -> str:
        """Images a second and the time left, as far as they can be told yet; then the counts."""
        passed = self._clock() - self._began if self._began is not None else 0.0
        if passed <= 0 or not self.tally.captions:
            return counts_line(self.tally)
        left = duration((self._total - self._done - self.tally.captions) * passed / self.tally.captions)
        return f"{self.tally.pictures / passed:.3g} images/s, {left} left, {counts_line(self.tally)}"

    def _done_of(self) -> str:
        done = self._done + self.tally.captions
        return "" if self._began is None else f"{done:,} of {self._total:,} captions"


def note(text: str) -> None:
    """A line of its own, before there is anything to count."""
    Console().print(Text(f"collecting: {text}"), soft_wrap=True)


def counts_line(tally: Tally) -> str:
    """ "1,234 pairs, 45 nouns rejected (30 too small, 15 cut off), 2 captions failed"."""
    told, named = f"{tally.pairs:,} pairs", tally.rejected.most_common(_REASONS)
    if tally.regions:
        told += f", {tally.regions:,} regions"
        if tally.left_out:
            listed = ", ".join(f"{n:,} {reason}" for reason, n in tally.left_out.most_common())
            told += f" (left out: {listed})"
    if named:
        others = tally.rejected.total() - sum(n for _, n in named)
        reasons = [f"{n:,} {reason}" for reason, n in (*named, *([("other", others)] if others else []))]
        told += f", {tally.rejected.total():,} nouns rejected ({', '.join(reasons)})"
    return told + (f", {tally.failed:,} captions failed" if tally.failed else "")
