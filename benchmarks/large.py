"""A 6000 x 4000 photograph: peak memory against the stated bound, progress, and the time beside the encoders.

The encoders are stand-ins that cost nothing, so that what is measured is all that the package itself does.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from common import DENSE_SHAPES, NoModel, arguments, begin, peak_memory, photograph, random_vocabulary, report

from freeda.options import SegmentOptions
from freeda.segment.memory import memory_bound
from freeda.segment.result import segment_scene
from freeda.segment.scene import encode_scene


def main() -> None:
    given = begin(arguments(__doc__ or ""))
    height, width = (1000, 1500) if given.quick else (4000, 6000)
    image, rows = photograph(height, width), []
    for size in given.model:
        words = random_vocabulary(59, size)
        warm = encode_scene(NoModel(size), photograph(448, 448), SegmentOptions())  # type: ignore[arg-type]
        segment_scene(warm, words)
        for short_side in (448, None):
            options = SegmentOptions(short_side=short_side)
            spent: dict[str, float] = {}

            def work(options: SegmentOptions = options, spent: dict[str, float] = spent, **_: Any) -> None:
                start = time.perf_counter()
                scene = encode_scene(NoModel(size), image, options, batch_size=2, on_done=_progress)  # type: ignore[arg-type]  # noqa: B023
                spent["encode s"], start = time.perf_counter() - start, time.perf_counter()
                segment_scene(scene, words)  # noqa: B023
                spent["label s"], spent["windows"] = time.perf_counter() - start, len(scene.mosaic.embeddings)

            peak = peak_memory(work)
            bound = (
                memory_bound(height, width, options, DENSE_SHAPES[size][0], 37, len(words), 2) - image.nbytes
            )
            rows.append(
                {"model": size, "photograph": f"{width} x {height}", "short side": short_side}
                | spent
                | ({} if peak is None else {"peak MiB": peak / 2**20, "peak / bound": peak / bound})
                | {"bound MiB": bound / 2**20}
            )
    report("large", given, rows)


def _progress(done: int, of: int) -> None:
    print(f"\r{done} of {of} windows", end="" if done < of else "\r\n", file=sys.stderr)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
