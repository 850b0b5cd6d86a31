"""Encoders in float32, bfloat16 and float16: their time, and the share of pixels whose label stays."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from common import arguments, begin, feature_vocabulary, photograph, random_encoders, report, side_by_side
from online import bare

import freeda
from freeda.miniature.scenes import render
from freeda.options import SegmentOptions
from freeda.segment.result import segment_scene
from freeda.segment.scene import encode_scene

DTYPES = ("float32", "bfloat16", "float16")


def miniature(device: str, scenes: int) -> list[dict[str, Any]]:
    """Agreement on the bundled trained models, on rendered scenes with their own class names."""
    models = {dtype: freeda.load("miniature", device=device, dtype=dtype) for dtype in DTYPES}
    pictures = [render(7, index) for index in range(scenes)]
    labels = {
        dtype: [model.segment(p.image, sorted(set(model.bank.nouns))).labels for p in pictures]
        for dtype, model in models.items()
    }
    return [
        {"model": "miniature", "dtype": dtype, "labels equal": _agreement(labels["float32"], labels[dtype])}
        for dtype in DTYPES[1:]
    ]


def _agreement(one: list[Any], other: list[Any]) -> float:
    return float(np.mean([np.mean(a == b) for a, b in zip(one, other, strict=True)]))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--device", default="auto")
    given = begin(parser)
    rows, options = miniature(given.device, 3 if given.quick else 40), SegmentOptions()
    image = photograph(448, 448 if given.quick else 896)
    for size in given.model:
        models = {dtype: random_encoders(size, dtype, given.device) for dtype in DTYPES}
        batch = 2 if models["float32"].device.type == "cpu" else 8
        work = {dtype: partial(bare, model, image, options, batch) for dtype, model in models.items()}
        taken = side_by_side(work, given.repeats)
        words = feature_vocabulary(59, size, models["float32"])
        labels = {
            d: [segment_scene(encode_scene(m, image, options), words, options).labels]
            for d, m in models.items()
        }
        for dtype in DTYPES:
            rows.append(
                {"model": size, "device": str(models[dtype].device), "dtype": dtype}
                | {f"{k} times faster": taken["float32"][k] / taken[dtype][k] for k in ("wall", "cpu")}
                | {"labels equal": _agreement(labels["float32"], labels[dtype])}
            )
    report("precision", given, rows)


if __name__ == "__main__":
    main()
