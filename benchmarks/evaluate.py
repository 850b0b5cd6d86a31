"""An annotated folder of real photographs measured with models of the true shapes: seconds an image, memory.

    python benchmarks/evaluate.py --data DIR [--model vit-b] [--limit 8] [--quick]

Weights are random, so the mIoU means nothing; time and memory do not depend on what weights know.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, begin, random_encoders, random_vocabulary, report

from freeda.evaluation.counts import Counts
from freeda.evaluation.dataset import check_dataset, contents, open_dataset
from freeda.evaluation.job import evaluate
from freeda.evaluation.subject import FreedaLabeller, protocol_options
from freeda.model import FreeDA
from freeda.presets import PRESETS
from freeda.profile import Clock


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, required=True, help="a folder of images/, masks/ and names.json")
    parser.add_argument("--limit", type=int, help="images (default all, quick 1)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    given = begin(parser)
    data, rows = open_dataset("folder", given.data), []
    n = min(given.limit or (1 if given.quick else len(data)), len(data))
    start = time.process_time()
    check_dataset(data, indices=range(n))
    checked = time.process_time() - start
    start = time.process_time()
    contents(data, range(n))
    digested = time.process_time() - start
    for size in given.model:
        encoders, clock = random_encoders(size, given.dtype, given.device), Clock(True)
        words = random_vocabulary(len(data.classes), size)
        preset = PRESETS[size]
        model = FreeDA(preset, encoders, clock=clock)
        method = FreedaLabeller(model, words, protocol_options(preset, data), len(data.classes))
        method(data.read_image(0))  # warmed up
        with tempfile.TemporaryDirectory() as out:
            start, cpu = time.perf_counter(), time.process_time()
            result = evaluate(data, out=out, labeller=method, limit=n, device=given.device, report=False)
            whole, cpu = time.perf_counter() - start, time.process_time() - cpu
        seconds = [row.seconds for row in result.images]
        row: dict[str, Any] = {
            "model": size,
            "images": n,
            "megapixels an image": float(np.mean([r.pixels for r in result.images])) / 1e6,
            "labelling s/image": float(np.mean(seconds)),
            "median s/image": float(np.median(seconds)),
            "all s/image": whole / n,
            "all processor s/image": cpu / n,
            "counting processor s/image": _counting(data, n),
            "checking processor s/image": checked / n,
            "digesting processor s/image": digested / n,
            "peak MiB": result.peak_memory / 2**20,
        }
        if torch.device(given.device).type == "cuda":
            row["device peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
        rows.append(row)
        rows.append(
            {"model": size, "what": "stages, s/image"}
            | {stage.name: stage.seconds / (n + 1) for stage in clock.stages() if stage.calls}
        )
    report("evaluate", given, rows)


def _counting(data: Any, n: int) -> float:
    """Processor seconds that all metrics of an image take."""
    truths = [data.read_truth(i) for i in range(n)]
    counts, shifted = Counts(len(data.classes)), [np.roll(t, 5, 1) % len(data.classes) for t in truths]
    start = time.process_time()  # steadier than the clock where other work runs
    for pred, truth in zip(shifted, truths, strict=True):
        counts.update(pred, truth)
    return (time.process_time() - start) / n


if __name__ == "__main__":
    main()
