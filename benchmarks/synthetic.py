"""What `bank.py` measures: a synthetic bank of any size, and its first rows as the authors lay theirs out."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

KEY, PROTOTYPE = 768, 1024
ABOUT = {"settings": {}, "digest": "", "captions": 256, "pictures": 256, "rejected": {}, "failed": []}
CLASSES, SHARD = 171, 942  # pairs of 256 captions
NOUNS, TOPICS = 20_000, 300


def make(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The bank: its arrays, shards without vectors, bank.json; and the class names' embeddings."""
    import torch

    start, n, folder = time.perf_counter(), given.rows, given.folder
    g = torch.Generator().manual_seed(0)
    spectrum = (torch.arange(KEY) + 1.0) ** -0.5
    turn = torch.linalg.qr(torch.randn(KEY, KEY, generator=g))[0]

    def draw(count: int, dim: int = KEY) -> Any:
        x = torch.randn(count, dim, generator=g)
        return torch.nn.functional.normalize(x * spectrum if dim == KEY else x, dim=1)

    centres = 0.5**0.5 * draw(1) + 0.2**0.5 * draw(NOUNS)
    centres += 0.15**0.5 * draw(TOPICS)[torch.randint(TOPICS, (NOUNS,), generator=g)]
    looks = draw(NOUNS, PROTOTYPE)
    often = 1 / (torch.arange(NOUNS) + 2.7)

    def keys(of: Any, context: float) -> Any:
        if given.keys == "random":
            return torch.nn.functional.normalize(torch.randn(len(of), KEY, generator=g), dim=1)
        return torch.nn.functional.normalize(centres[of] + context**0.5 * draw(len(of)), dim=1) @ turn

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "keys.npy", "wb") as key_file, open(folder / "prototypes.npy", "wb") as other:
        for file, dim in ((key_file, KEY), (other, PROTOTYPE)):
            header = {"descr": "<f2", "fortran_order": False, "shape": (n, dim)}
            np.lib.format.write_array_header_1_0(file, header)
        for at in range(0, n, 65536):
            of = torch.multinomial(often, min(65536, n - at), replacement=True, generator=g)
            key_file.write(keys(of, 0.15).half().numpy().tobytes())
            other.write((20 * (looks[of] + draw(len(of), PROTOTYPE))).half().numpy().tobytes())
    asked = torch.logspace(0, np.log10(NOUNS - 1), CLASSES).long()
    np.save(folder / "text.npy", keys(asked, 0.05).numpy())
    shards = _shards(folder, n)
    size_of = {name: (folder / name).stat().st_size / 1e9 for name in ("keys.npy", "prototypes.npy")}
    return [
        {
            "what": f"{given.keys} bank",
            "rows": n,
            "shards": shards,
            "made s": time.perf_counter() - start,
        }
        | {f"{name} GB": size for name, size in size_of.items()}
    ]


def _shards(folder: Path, n: int) -> int:
    """Shards of n rows whose vectors hold one number each, and bank.json; the number of shards."""
    from freeda.bank.format import FORMAT, MANIFEST, VERSION, Pair, ShardEntry, shard_name, write_shard
    from freeda.bank.manifest import file_digest
    from freeda.files import atomic_write_json

    entries, template = [], {}
    one = np.ones(1, np.float16)
    for i, at in enumerate(range(0, n, SHARD)):
        size = min(SHARD, n - at)
        if size not in template:
            caption = "a person and a dog sit on a bench"
            pairs = [
                Pair(str(j), caption, "dog", ((15, 18),), j, one, one, 0.1, 0.2, 0.3) for j in range(size)
            ]
            write_shard(folder / "template", pairs, ABOUT)
            template[size] = (folder / "template").read_bytes(), file_digest(folder / "template")
            (folder / "template").unlink()
        path = folder / shard_name(i)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(template[size][0])
        entries.append(
            ShardEntry(shard_name(i), 256, 256, {}, 0, size, len(template[size][0]), template[size][1])
        )
    about = {
        "captions": 256 * len(entries),
        "pictures": 0,
        "rejected": {},
        "failed": 0,
        "pairs": n,
        "models": {},
    }
    about |= {"dimensions": {"key": KEY, "prototype": PROTOTYPE}, "shards": [asdict(e) for e in entries]}
    atomic_write_json(folder / MANIFEST, {"format": FORMAT, "version": VERSION, **about})
    return len(entries)


def layout(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The first rows as the authors' release has them, one float32 .npy a prototype, and as ours."""
    from freeda.bank import Bank, Pair
    from freeda.bank.format import shard_name, write_shard
    from freeda.bank.manifest import finish_bank

    n = min(given.sample, given.rows)
    bank = Bank.open(given.folder)
    keys, prototypes = np.array(bank.keys[:n]), np.array(bank.prototypes[:n])
    wanted = np.random.default_rng(0).choice(n, min(n, 10_000), replace=False)
    rows = []
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        theirs, ours = Path(place) / "theirs", Path(place) / "ours"
        theirs.mkdir()

        def write() -> None:
            for i, row in enumerate(prototypes.astype(np.float32)):
                np.save(theirs / f"{i:07d}.npy", row)

        def read() -> Any:
            names = sorted(p.name for p in theirs.iterdir())
            return np.stack([np.load(theirs / names[i], allow_pickle=False) for i in wanted])

        _, seconds = timed(write)
        rows.append(_laid("one .npy a row", theirs, seconds, read, n))
        # 32 neighbours a key and twice as many on the lowest level, 4 bytes each, beside float32 keys.
        rows[-1]["bytes a row with index"] = rows[-1]["bytes a row"] + 4 * KEY + 2 * 32 * 4 + 8 + 4

        def write_bank() -> None:
            caption, shards = "a person and a dog sit on a bench", range(0, n, SHARD)
            for s, at in enumerate(shards):
                pairs = [
                    Pair(str(i), caption, "dog", ((15, 18),), i, keys[i], prototypes[i], 0.1, 0.2, 0.3)
                    for i in range(at, min(at + SHARD, n))
                ]
                write_shard(ours / shard_name(s), pairs, ABOUT)
            finish_bank(ours, len(shards), {"models": {}})

        _, seconds = timed(write_bank)
        rows.append(
            _laid("ours: shards and arrays", ours, seconds, lambda: Bank.open(ours).prototypes[wanted], n)
        )
        rows[-1]["bytes a row with index"] = rows[-1]["bytes a row"] + KEY + 8  # the approximate one
    assert rows[0].keys() == rows[1].keys()
    ratio = {k: rows[0][k] / rows[1][k] for k in rows[0] if k not in ("what", "rows")}
    return [*rows, {"what": "ratio", "rows": n} | ratio]


def _laid(what: str, folder: Path, seconds: float, read: Callable[[], Any], n: int) -> dict[str, Any]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    stats = [p.stat() for p in files]
    read()
    taken = statistics.median(timed(read)[1] for _ in range(3))
    row = {"what": what, "rows": n, "files": len(files), "bytes a row": sum(s.st_size for s in stats) / n}
    row |= {"on disk a row": sum(s.st_blocks * 512 for s in stats) / n, "written s": seconds}
    return row | {"opened, 10,000 rows read s": taken}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def resident(what: str) -> float:
    """VmRSS or VmHWM (the peak) of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(what))


def forget(path: Path) -> None:
    """Have the system forget what it keeps of a file, so that it is read from the disk."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
