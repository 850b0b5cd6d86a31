"""Beside busy programs: threads that wait for each other as torch has it, as freeda has it, and one alone.

    python benchmarks/busy.py [--load 3] [--scenes 24] [--captions 8] [--quick]

A process for each of these loads the models once. They take turns at the same work (the miniature encodes
scenes and draws captions, encoders of ViT-B shape see a window), first on the machine as it is, then beside
`--load` processes that do nothing but count. "times faster" is against torch's way in the same minutes, and
"same" tells whether label maps and pictures are equal. What else runs disturbs the quiet figures most.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import Any

from freeda.engines import WAITING, waiting

# Ends with this process, however that ends, and after half an hour.
SPIN = """
import os, sys, time
end = time.monotonic() + 1800
while os.getppid() == int(sys.argv[1]) and time.monotonic() < end:
    sum(range(10000))
"""
TASKS = ("encode", "draw", "vit-b window")


def child(scenes: int, captions: int) -> None:
    """Load everything, then do whatever task a line of the input names; the answers are JSON lines."""
    from common import feature_vocabulary, photograph, random_encoders

    from freeda import collect
    from freeda.bank import Bank
    from freeda.collection.shard import load_models
    from freeda.miniature import trial
    from freeda.miniature.scenes import CLASSES
    from freeda.model import FreeDA
    from freeda.options import SegmentOptions
    from freeda.presets import PRESETS
    from freeda.segment.result import segment_scene
    from freeda.segment.scene import encode_scene

    preset = PRESETS["miniature"]
    models = load_models(preset, preset.collect)
    model = FreeDA(preset, models.encoders, Bank.open(str(preset.bank)))
    pictures = [scene.image for scene in trial.held_out(0, scenes)]
    texts = trial.bank_captions(trial.bank_scenes(0, captions), 0)
    large, options, photo = random_encoders("vit-b"), SegmentOptions(), photograph(448, 448)
    words = {
        "encode": model.vocabulary(list(CLASSES)),
        "vit-b window": feature_vocabulary(59, "vit-b", large),
    }

    def encode() -> list[Any]:
        return [model.encode(image) for image in pictures]

    def draw() -> list[Any]:
        seen: list[Any] = []
        with tempfile.TemporaryDirectory() as out:
            collect(texts, out, preset, models=models, on_picture=lambda _, image, __: seen.append(image))
        return seen

    def window() -> list[Any]:
        return [encode_scene(large, photo, options)]

    tasks = dict(zip(TASKS, (encode, draw, window), strict=True))
    for task in tasks.values():  # to warm up
        task()
    print("ready", flush=True)
    for name in map(str.strip, sys.stdin):
        wall, cpu = time.perf_counter(), time.process_time()
        made = tasks[name]()
        told: dict[str, Any] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        arrays = [segment_scene(scene, words[name]).labels for scene in made] if name in words else made
        told["made"] = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
        print(json.dumps(told), flush=True)


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of figures. No process that was begun here is left, however this ends."""
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(given.threads)} if given.threads else {})}
    usual = {name: value for name, value in environment.items() if name not in WAITING}
    ours = {**usual, **waiting()}
    ways = {
        "torch's": usual,
        "freeda's": ours,
        "sleeping at once": {**usual, "OMP_WAIT_POLICY": "PASSIVE"},
        "one thread": {**ours, "OMP_NUM_THREADS": "1"},
    }
    command = [sys.executable, __file__, "--child", str(given.scenes), str(given.captions)]
    rows = []
    with ExitStack() as stack:

        def begin(command: list[str], **more: Any) -> subprocess.Popen[str]:
            process = stack.enter_context(subprocess.Popen(command, text=True, **more))
            stack.callback(process.kill)
            return process

        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        children = {way: begin(command, env=env, **pipes) for way, env in ways.items()}
        for process in children.values():
            if _answer(process) != "ready":
                raise SystemExit("a process could not begin")
        for load in (0, given.load):
            for _ in range(load):
                begin([sys.executable, "-c", SPIN, str(os.getpid())])
            for task in TASKS:
                rows += _turns(task, load, children, given.repeats)
    return rows


def _turns(
    task: str, load: int, children: dict[str, subprocess.Popen[str]], repeats: int
) -> list[dict[str, Any]]:
    taken: dict[str, list[dict[str, Any]]] = {way: [] for way in children}
    for _ in range(repeats):
        for way, process in children.items():
            assert process.stdin is not None
            process.stdin.write(task + "\n")
            process.stdin.flush()
            taken[way].append(json.loads(_answer(process)))
            print(f"{task} beside {load}, {way}: {taken[way][-1]['wall']:.2f} s", file=sys.stderr, flush=True)
    middle = {
        way: {unit: statistics.median(one[unit] for one in told) for unit in ("wall", "cpu")}
        for way, told in taken.items()
    }
    first = next(iter(taken))
    return [
        {"task": task, "beside": load, "threads wait": way}
        | {"wall s": middle[way]["wall"], "cpu s": middle[way]["cpu"]}
        | {"slowest s": max(one["wall"] for one in told)}
        | {"times faster": middle[first]["wall"] / middle[way]["wall"]}
        | {"same": {one["made"] for one in told} == {one["made"] for one in taken[first]}}
        for way, told in taken.items()
    ]


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(*map(int, sys.argv[2:4]))
        return
    from common import arguments, begin, report

    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--load", type=int, default=3, help="busy processes (default 3)")
    parser.add_argument("--scenes", type=int, help="default 24, quick 4")
    parser.add_argument("--captions", type=int, help="default 8, quick 2")
    given = begin(parser)
    given.scenes = given.scenes or (4 if given.quick else 24)
    given.captions = given.captions or (2 if given.quick else 8)
    report("busy", given, measure(given))


if __name__ == "__main__":
    main()
