"""Regions of photographs looked up among the rows of a bank of region values: exactly, and approximately.

    python benchmarks/region_values.py                                # 2,000,000 rows: 4 GB of disk
    python benchmarks/region_values.py --rows 100000 --photographs 8

Rows are synthetic, 768 wide: a unit vector is the sum of four parts, each with a spectrum falling as
1/sqrt(i): what all regions share (0.2 of the squared length), one of 300 materials (0.2), one of 20,000
things (0.3) drawn by Zipf's law, and the region's own (0.3). A photograph has 100 regions of 8 things.
Recall is the share of the 20 true nearest; "values" is the cosine of the mean of the 20 rows found and that
of the 20 nearest, the rows standing for their values. Every line but the first of the approximate ones has
the array in the system's cache; "own" is the number of lists that the index settled upon.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, begin, report
from synthetic import forget, resident, timed

from freeda.bank.arrays import load_array
from freeda.bank.exact import FlatIndex
from freeda.bank.index import ApproximateIndex

DIM, K, REGIONS, THINGS, MATERIALS, OF_A_PHOTOGRAPH = 768, 20, 100, 20_000, 300, 8


def make(folder: Path, rows: int, photographs: int) -> list[np.ndarray]:
    """Write prototypes.npy; the regions of photographs, (100, 768) each."""
    g = torch.Generator().manual_seed(0)
    spectrum = (torch.arange(DIM) + 1.0) ** -0.5

    def draw(count: int) -> Any:
        return torch.nn.functional.normalize(torch.randn(count, DIM, generator=g) * spectrum, dim=1)

    material = torch.randint(MATERIALS, (THINGS,), generator=g)
    centres = 0.2**0.5 * draw(1) + 0.3**0.5 * draw(THINGS) + 0.2**0.5 * draw(MATERIALS)[material]
    often = 1 / (torch.arange(THINGS) + 2.7)

    def some(of: Any) -> Any:
        return torch.nn.functional.normalize(centres[of] + 0.3**0.5 * draw(len(of)), dim=1)

    with open(folder / "prototypes.npy", "wb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (rows, DIM)}
        np.lib.format.write_array_header_1_0(file, header)
        for at in range(0, rows, 65536):
            of = torch.multinomial(often, min(65536, rows - at), replacement=True, generator=g)
            file.write(some(of).half().numpy().tobytes())
    shown = [torch.multinomial(often, OF_A_PHOTOGRAPH, generator=g) for _ in range(photographs)]
    return [some(of[torch.randint(len(of), (REGIONS,), generator=g)]).numpy() for of in shown]


def searched(index: Any, photographs: list[np.ndarray]) -> tuple[list[np.ndarray], dict[str, float]]:
    rows, wall, cpu = [], [], []
    for photograph in photographs:
        begun = time.process_time()
        (_, found), seconds = timed(lambda asked=photograph: index.search(asked, K))
        cpu.append(1000 * (time.process_time() - begun))
        wall.append(1000 * seconds)
        rows.append(found)
    told = {
        "ms a photograph": statistics.median(wall),
        "best ms": min(wall),
        "cpu ms": statistics.median(cpu),
    }
    return rows, {**told, "first ms": wall[0]}


def measure(folder: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    photographs = make(folder, given.rows, given.photographs)
    file = folder / "prototypes.npy"
    array = load_array(file, (given.rows, DIM))
    assert array is not None
    few = photographs[: given.exact]
    true, exact = searched(FlatIndex(array, cosine=True), few)
    rows = [{"what": "exact", "rows": given.rows, **exact}]
    index, seconds = timed(lambda: ApproximateIndex.build(array, folder, "0" * 64, column="prototype"))
    told = {name: getattr(index.about, name) for name in ("lists", "probes", "recall", "bytes")}
    rows.append({"what": "index made", "s": seconds, **told, "peak MB": resident("VmHWM")})
    for one in (file, folder / index.about.file):
        forget(one)
    own = index.about.probes
    for what, probes in (("own, cold disk", own), ("own", own), *((f"{n} lists", n) for n in (4, 8, 16, 32))):
        index.about = replace(index.about, probes=probes)
        found, told = searched(index, photographs)
        recall, cosine = [], []
        for mine, theirs in zip(found, true, strict=False):
            recall += [len(np.intersect1d(a, b)) / K for a, b in zip(mine, theirs, strict=True)]
            means = [np.float32(array[r]).mean(axis=1) for r in (mine, theirs)]
            one, other = (mean / np.linalg.norm(mean, axis=1, keepdims=True) for mean in means)
            cosine += (one * other).sum(axis=1).tolist()
        told |= {
            "recall@20": statistics.mean(recall),
            "values": statistics.mean(cosine),
            "worst": min(cosine),
        }
        told["exact : approximate"] = exact["ms a photograph"] / told["ms a photograph"]
        rows.append({"what": f"approximate, {what}", **told})
    return rows


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--photographs", type=int, default=40)
    parser.add_argument("--exact", type=int, default=5, help="photographs that are searched exactly too")
    given = begin(parser)
    with tempfile.TemporaryDirectory() as place:
        report("region_values", given, measure(Path(place), given))


if __name__ == "__main__":
    main()
