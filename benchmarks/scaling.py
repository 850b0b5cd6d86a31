"""One worker and two, one thread each, on both engines: pictures a second of `freeda collect`.

    python benchmarks/scaling.py [--captions 192] [--shard-size 8] [--workers 1 2] [--quick]

The miniature draws. "steady" counts from the moment at which every worker has finished a shard to the last
shard's end, so that loading models and starting Ray are left out; "whole" is the command with all of that.
Two workers can be twice as fast only on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from common import arguments, begin, report

from freeda.engines import ENGINES
from freeda.engines.on_ray import QUIETLY
from freeda.miniature.captions import WORDS
from freeda.options import CollectOptions
from freeda.presets import PRESETS

STEPS = PRESETS["miniature"].collect.steps


def captions(n: int) -> list[str]:
    """n captions of two things each, all different."""
    words = list(WORDS)
    return [
        f"a {words[i % 21]} beside a {words[(i + 1 + i // 21) % 21]}, picture number {i}" for i in range(n)
    ]


def child(engine: str, workers: int, text: str, out: str, shard_size: int, steps: int) -> None:
    """One run, in a process of its own that has one thread for each worker."""
    from dataclasses import replace

    import freeda

    torch.set_num_threads(workers)  # the local engine shares them out
    if engine == "ray":
        import ray

        # As many processors as workers: the rest of the machine must not help.
        ray.init(
            "local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    options: CollectOptions = replace(
        PRESETS["miniature"].collect, batch_size=shard_size, shard_size=shard_size, steps=steps
    )
    freeda.collect(text, out, "miniature", "cpu", options=options, workers=workers, engine=engine)


def run(engine: str, workers: int, text: Path, out: Path, shard_size: int, steps: int) -> dict[str, Any]:
    """Figures of one run; the moments at which shards are done are seen from outside, in the log."""
    given = json.dumps([engine, workers, str(text), str(out), shard_size, steps])
    env = {**QUIETLY, **os.environ, "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, "--child", given], env=env)
    seen: list[float] = []
    while process.poll() is None:
        time.sleep(0.02)
        log = out / "log.jsonl"
        done = log.read_bytes().count(b"\n") if log.exists() else 0
        seen += [time.perf_counter()] * (done - len(seen))
    whole = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{engine} with {workers} worker(s) failed")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    after = sum(line["pictures"] for line in lines[workers:])
    pictures = sum(line["pictures"] for line in lines)
    return {
        "steady": after / (seen[len(lines) - 1] - seen[workers - 1]),
        "whole": pictures / whole,
        "seconds": whole,
        "processes": len({line["process"] for line in lines}),
    }


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*json.loads(sys.argv[2]))
        return
    parser = arguments(__doc__ or "")
    parser.add_argument("--captions", type=int, help="default 192, quick 24")
    parser.add_argument("--shard-size", type=int, help="default 8, quick 4")
    parser.add_argument("--steps", type=int, help=f"denoising steps (default {STEPS}, quick 4)")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="default both")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = begin(parser)
    n = given.captions or (24 if given.quick else 192)
    size = given.shard_size or (4 if given.quick else 8)
    steps = given.steps or (4 if given.quick else STEPS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "captions.txt"
        text.write_text("\n".join(captions(n)))
        for engine in given.engine or ENGINES:
            base: dict[str, Any] = {}
            for workers in given.workers:
                # The best of the repeats: whatever else the machine did took from the others.
                found = [
                    run(engine, workers, text, Path(folder) / f"{engine}-{workers}-{i}", size, steps)
                    for i in range(given.repeats)
                ]
                best = max(found, key=lambda figures: figures["steady"])
                base = base or best
                rows.append(
                    {
                        "engine": engine,
                        "workers": workers,
                        "steady pictures/s": best["steady"],
                        "times the first": best["steady"] / base["steady"],
                        "whole run s": best["seconds"],
                        "whole run, times the first": best["whole"] / base["whole"],
                        "processes": best["processes"],
                    }
                )
    report(f"scaling: {n} captions, shards of {size}, {steps} steps", given, rows)


if __name__ == "__main__":
    main()
