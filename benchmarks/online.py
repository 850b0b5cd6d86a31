"""A photograph's windows: ours, the plain dense formula and the bare encoders, in turn, per window."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import plain
import torch
from common import (
    arguments,
    begin,
    feature_vocabulary,
    peak_memory,
    photograph,
    random_encoders,
    report,
    side_by_side,
)

from freeda.options import SegmentOptions
from freeda.segment.mosaic import join
from freeda.segment.regions import SuperpixelRegions, superpixels
from freeda.segment.result import segment_scene
from freeda.segment.scene import Scene
from freeda.segment.vocabulary import Vocabulary
from freeda.segment.window_encoding import Frame, encode_frames
from freeda.segment.windows import crops, sliding_boxes


def bare(encoders: Any, image: npt.NDArray[np.uint8], options: SegmentOptions, batch_size: int) -> None:
    """Only the encoders: what cannot be saved."""
    boxes = sliding_boxes(*image.shape[:2], options.window, options.stride)
    for batch in crops(image, boxes, batch_size):
        encoders.clip.encode_image(batch)
        encoders.dense.encode(batch)


def ours(
    encoders: Any,
    image: npt.NDArray[np.uint8],
    words: Vocabulary,
    options: SegmentOptions,
    beside: bool | None,
) -> npt.NDArray[np.int32]:
    """The whole way, with superpixels beside the encoders or before them (None: as the package chooses)."""
    boxes = sliding_boxes(*image.shape[:2], options.window, options.stride)
    frame = Frame(image, boxes, SuperpixelRegions(options.superpixels))
    assert list(encode_frames(encoders, [frame], beside=beside)) == [frame]
    scene = Scene(image, join(frame.encodings, *image.shape[:2]), options)
    return segment_scene(scene, words, options).labels


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--device", default="cpu")
    given = begin(parser)
    options, rows = SegmentOptions(), []
    image = photograph(448, 448 if given.quick else 896)
    boxes = sliding_boxes(*image.shape[:2], options.window, options.stride)
    for size in given.model:
        encoders = random_encoders(size, device=given.device)
        for classes in (59,) if given.quick else (59, 171):
            words = feature_vocabulary(classes, size, encoders)
            work = {
                "encoders": partial(bare, encoders, image, options, 2),
                "ours": partial(ours, encoders, image, words, options, None),
                "ours, superpixels beside": partial(ours, encoders, image, words, options, True),
                "ours, superpixels before": partial(ours, encoders, image, words, options, False),
                "superpixels alone": lambda: [
                    superpixels(image[b.y1 : b.y2, b.x1 : b.x2], options.superpixels) for b in boxes
                ],
                "plain": partial(plain.segment, encoders, image, words, options),
            }
            if given.quick:
                del work["ours, superpixels beside"], work["ours, superpixels before"]
            taken = side_by_side(work, given.repeats)
            labels, scores = work["ours"](), work["plain"]()
            top = scores.max(dim=0).values - scores.gather(0, torch.from_numpy(labels)[None].long())[0]
            for name, t in taken.items():
                rows.append(
                    {"model": size, "classes": classes, "what": name}
                    | {f"{k} s/window": v / len(boxes) for k, v in t.items()}
                    | {f"{k} ratio to encoders": v / taken["encoders"][k] for k, v in t.items()}
                )
            row: dict[str, Any] = {"model": size, "classes": classes, "what": "labels equal"}
            row["share"] = float((scores.argmax(dim=0).numpy() == labels).mean())
            row["largest softmax gap"] = float(top.max())
            rows.append(row)
            peaks = {name: peak_memory(work[name]) for name in ("ours", "plain")}
            if peaks["ours"] and peaks["plain"]:
                rows.append(
                    {"model": size, "classes": classes, "what": "peak beyond weights"}
                    | {f"{name} MiB": peak / 2**20 for name, peak in peaks.items() if peak}
                    | {"ours / plain": peaks["ours"] / peaks["plain"]}
                )
    report("online", given, rows)


if __name__ == "__main__":
    main()
