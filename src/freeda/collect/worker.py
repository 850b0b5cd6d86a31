"""One worker process: reads orders as JSON lines from its standard input, answers on its standard output.

The first order describes the run (`begin`), every further one is a shard (`make`). Answers are
{"ready"}, {"batch": tally}, {"made": log line} and, at the end of it all, {"error": {"kind", "text"}}.
The end of the input means that nobody waits for an answer any more, be it that the work is done or that the
process that gave it is dead: the worker then ends at once. Shards are written whole or not at all, so nothing
is lost but the shard at hand.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any

from .. import errors
from ..errors import FreedaError

Order = dict[str, Any]


def main() -> None:
    """Work until the input ends. Never returns."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever libraries print must not come between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of the process that gives orders
    orders: queue.Queue[Order] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()

    def answer(**said: Any) -> None:
        answers.write((json.dumps(said) + "\n").encode())

    try:
        _work(orders, answer)
    except BrokenPipeError:
        os._exit(1)
    except BaseException as error:
        kind = type(error).__name__ if isinstance(error, FreedaError) else None
        answer(error={"kind": kind, "text": str(error) if kind else f"{type(error).__name__}: {error}"})
        os._exit(1)


def _listen(orders: queue.Queue[Order]) -> None:
    with os.fdopen(0, "rb") as lines:
        for line in lines:
            orders.put(json.loads(line))
    os._exit(0)


def _work(orders: queue.Queue[Order], answer: Callable[..., None]) -> None:
    begin = orders.get()["begin"]
    import torch

    from ..options import CollectOptions, from_dict
    from ..presets import Preset
    from .captions import Caption
    from .runner import Job, Runner
    from .shard import load_models

    torch.set_num_threads(begin["threads"])
    options = from_dict(CollectOptions, begin["job"]["options"])
    job = Job(**{**begin["job"], "options": options})
    models = load_models(from_dict(Preset, begin["preset"]), options, begin["device"], begin["dtype"])
    runner = Runner(job, models)
    answer(ready=True)
    while True:
        make = orders.get()["make"]
        captions = [Caption(**caption) for caption in make["captions"]]
        # Not asdict, which makes a Counter anew from its items, and so counts those.
        answer(made=runner.make(make["index"], captions, lambda tally: answer(batch=vars(tally))))


def error_of(told: dict[str, Any], worker: str) -> FreedaError:
    """The error that a worker told of, as this process raises it."""
    kind = getattr(errors, told["kind"] or "", None)
    if isinstance(kind, type) and issubclass(kind, FreedaError):
        return kind(told["text"])
    return errors.WorkerError(f"{worker} failed: {told['text']}")
