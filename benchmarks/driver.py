"""How much the process that gives the orders can take from Ray and write, where making it costs nothing.

    python benchmarks/driver.py [--bytes 15000000] [--pieces 100]

The most that any number of workers can hand over. A piece is a file of so many bytes; two workers make them.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import common

from freeda.engines import Make, Note, Order, Work, find_engine


def begin(first: Order) -> Make:
    """The kind of work, as Ray's workers import it: a file of noise."""
    noise = os.urandom(first["bytes"])

    def make(order: Order, note: Note) -> int:
        (Path(first["out"]) / f"{order['number']}.bin").write_bytes(noise)
        return len(noise)

    return make


def measure(size: int, pieces: int) -> dict[str, Any]:
    """Pieces a second from the first one on."""
    made: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        find_engine("ray", "cpu", 2).share_out(
            Work("driver", {"bytes": size}, Path(folder), "pieces"),
            [{"number": i} for i in range(pieces)],
            lambda _: made.append(time.perf_counter()),
            lambda _: None,
        )
    rate = (pieces - 1) / (made[-1] - made[0])
    return {"bytes a piece": size, "pieces": pieces, "pieces/s": rate, "MB/s": rate * size / 1e6}


def main() -> None:
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--bytes", type=int, default=15_000_000, help="of a piece (default 15,000,000)")
    parser.add_argument("--pieces", type=int, help="default 100, quick 10")
    given = common.begin(parser)
    pieces = given.pieces or (10 if given.quick else 100)
    common.report("driver", given, [measure(given.bytes, pieces)])


if __name__ == "__main__":
    main()
