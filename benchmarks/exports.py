"""How long every export of a large label map takes, and how large its files are.

    python benchmarks/exports.py [--width 4000 --height 3000 --classes 21]

The map is made of smooth random fields, so that its borders bend as those of photographs do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from freeda.options import EXPORTS
from freeda.show import palette
from freeda.show.exports import Labelled, write_exports


def smooth_map(height: int, width: int, classes: int) -> np.ndarray:
    """(H, W) int32: at every pixel the highest of so many smooth fields."""
    rng = np.random.default_rng(0)
    best, labels = np.full((height, width), -np.inf, np.float32), np.zeros((height, width), np.int32)
    for label in range(classes):
        coarse = ndimage.gaussian_filter(rng.standard_normal((height // 40 + 1, width // 40 + 1)), 2)
        field = np.asarray(
            Image.fromarray(coarse.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        )
        labels[field > best] = label
        best = np.maximum(best, field)
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    labels = smooth_map(given.height, given.width, given.classes)
    names = [f"class {i}" for i in range(given.classes)]
    photo = np.random.default_rng(1).integers(0, 256, (1, 1, 3), np.uint8)
    photo = np.ascontiguousarray(np.broadcast_to(photo, (*labels.shape, 3)))
    made = Labelled(labels, names, palette(len(names)))
    areas = [area for some in made.areas.values() for area in some]
    corners = sum(len(ring) for area in areas for ring in area.rings)
    print(f"{given.width} x {given.height}, {len(areas):,} areas, {corners:,} corners\n")
    print("| kind | seconds | of the processor | MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in [kind for kind in EXPORTS if kind != "npz"]:
            seconds, work = [], []
            for _ in range(given.runs):
                start, begun = time.perf_counter(), time.process_time()
                picture = Labelled(labels, names, palette(len(names)), photo, None, Path(folder), "x")
                if kind == "labelme":  # a photograph without a file would be embedded
                    picture = Labelled(labels, names, palette(len(names)), None, None, Path(folder), "x")
                files = write_exports(picture, [kind])
                seconds.append(time.perf_counter() - start)
                work.append(time.process_time() - begun)
            size = sum(file.stat().st_size for file in files.values()) / 1e6
            print(f"| {kind} | {min(seconds):.2f} | {min(work):.2f} | {size:.2f} |", flush=True)


if __name__ == "__main__":
    main()
