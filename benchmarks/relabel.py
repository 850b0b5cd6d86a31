"""An encoded photograph labelled again: with class names that are ready, and with new ones from a bank."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common import (
    CLIP_SHAPES,
    DENSE_SHAPES,
    NoModel,
    arguments,
    begin,
    class_names,
    photograph,
    random_vocabulary,
    report,
    side_by_side,
)

from freeda.bank.arrays import Nouns
from freeda.bank.exact import FlatIndex
from freeda.options import SegmentOptions
from freeda.segment.prototypes import class_prototypes
from freeda.segment.scene import encode_scene


class DiskBank:
    """A bank's two arrays on disk, memory-mapped, with random rows."""

    def __init__(self, folder: Path, rows: int, size: str):
        self._rows, rng = rows, np.random.default_rng(0)
        self._files = {}
        for name, dim in (("keys", CLIP_SHAPES[size][1][0]), ("prototypes", DENSE_SHAPES[size][0])):
            path = folder / f"{size}-{name}.npy"
            out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, dim))
            for start in range(0, rows, 20_000):
                block = rng.standard_normal((min(20_000, rows - start), dim), dtype=np.float32)
                if name == "keys":
                    block /= np.linalg.norm(block, axis=1, keepdims=True)
                out[start : start + len(block)] = block
            self._files[name] = path
        self.prototypes = self._open("prototypes")
        self._index = FlatIndex(self._open("keys"))

    def _open(self, name: str) -> npt.NDArray[np.float16]:
        found: npt.NDArray[np.float16] = np.load(self._files[name], mmap_mode="r", allow_pickle=False)
        return found

    def __len__(self) -> int:
        return self._rows

    def search(self, queries: npt.NDArray[np.float32], k: int) -> Any:
        return self._index.search(queries, k)


class NamedBank:
    """The same rows with a noun each, so that who answered for a class is counted as well."""

    def __init__(self, bank: DiskBank) -> None:
        self.search, self.prototypes, self._rows = bank.search, bank.prototypes, len(bank)
        nouns = [f"noun {i}" for i in range(20_000)]
        self.nouns = Nouns([(nouns, np.random.default_rng(0).integers(0, len(nouns), len(bank)))])

    def __len__(self) -> int:
        return self._rows


def main() -> None:
    given = begin(arguments(__doc__ or ""))
    rows: list[dict[str, Any]] = []
    for size in given.model:
        image = photograph(768, 1024)
        for what, changes in (("448 px short side", {}), ("own size", {"short_side": None})):
            options = SegmentOptions().with_changes(**changes)
            scene = encode_scene(NoModel(size), image, options)  # type: ignore[arg-type]
            for classes in (59, 171):
                words = random_vocabulary(classes, size)
                taken = side_by_side({"label": partial(scene.segment, words)}, max(given.repeats, 3))["label"]
                rows.append(
                    {"model": size, "what": f"labels of 1024 x 768, {what}", "classes": classes}
                    | {"windows": len(scene.mosaic.embeddings)}
                    | {f"{k} ms": 1000 * v for k, v in taken.items()}
                )
        n = 20_000 if given.quick else 200_000
        text = random_vocabulary(171, size).text_embeddings
        with tempfile.TemporaryDirectory() as folder:
            bank = DiskBank(Path(folder), n, size)
            work = {
                "search": partial(bank.search, text, SegmentOptions().k),
                "search and prototypes": partial(
                    class_prototypes, bank, text, class_names(171), SegmentOptions()
                ),
                "search, prototypes and nouns": partial(
                    class_prototypes, NamedBank(bank), text, class_names(171), SegmentOptions()
                ),
                "the products alone": partial(_products, bank, torch.from_numpy(text)),
            }
            for name, t in side_by_side(work, given.repeats).items():
                rows.append(
                    {"model": size, "what": f"171 new classes, bank of {n}: {name}"}
                    | {f"{k} s": v for k, v in t.items()}
                )
            del bank, work
    report("relabel", given, rows)


def _products(bank: DiskBank, text: torch.Tensor) -> None:
    """The bound: keys widened and multiplied, nothing looked for."""
    keys = bank._open("keys")
    for start in range(0, len(keys), 8192):
        text @ torch.from_numpy(np.array(keys[start : start + 8192])).float().T


if __name__ == "__main__":
    main()
