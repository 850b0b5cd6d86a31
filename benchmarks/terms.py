"""A photograph labelled with FreeDA's score and its regions' own: what takes time beside the encoders.

    python benchmarks/terms.py [--quick]

Encoders of true size with random weights; regions are squares of a map, so that no region model is timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import arguments, begin, feature_vocabulary, photograph, random_encoders, report

from freeda.options import Ensemble, SegmentOptions
from freeda.profile import Clock
from freeda.segment.result import segment_scene
from freeda.segment.scene import encode_scene

SIDE = 64  # of a region, in pixels


def measure(size: str, repeats: int) -> dict[str, Any]:
    """Median seconds of each stage, and what all but the encoders takes as a share of these."""
    encoders, options = random_encoders(size), SegmentOptions(method="all", ensemble=Ensemble(own=0.1))
    image, words = photograph(448, 672), feature_vocabulary(21, size, encoders)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    cut = y // SIDE * (1 + image.shape[1] // SIDE) + x // SIDE
    runs = []
    for _ in range(repeats + 1):  # the first warms up
        clock = Clock()
        scene = encode_scene(encoders, image, options, regions=cut, dense=True, clock=clock)
        segment_scene(scene, words, options, clock=clock)
        runs.append({stage.name: stage.seconds for stage in clock.stages()})
    taken = {name: float(np.median([run.get(name, 0.0) for run in runs[1:]])) for name in runs[0]}
    models = taken["clip"] + taken["dense"]
    return {"model": size, **taken, "beside the encoders": sum(taken.values()) / models - 1}


def main() -> None:
    given = begin(arguments(__doc__ or ""))
    report("terms", given, [measure(size, given.repeats) for size in given.model])


if __name__ == "__main__":
    main()
