"""The measurements of gpu.py, which starts this: python benchmarks/gpu_work.py FILE DEADLINE [--tiny] ...

Does what FILE still has waiting, in the order of `work`, and writes it anew after every row. A measurement
that fails is told there with its line, and the next one begins. Ends with 3 where the GPU is lost with it: a
process of its own has to go on.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import common
import generation
import numpy as np
import numpy.typing as npt
import precision
import stages
import torch
from common import feature_vocabulary, peak_memory, photograph, random_encoders, surroundings
from scaling import captions
from stages import draw, measure, random_sd15, rows_of

import freeda
import golden
from freeda.collection.captions import to_captions
from freeda.collection.generator import Generator, picture_seed
from freeda.collection.pairs import NounKeys
from freeda.collection.shard import CollectModels
from freeda.encoders import DenseEncoder, Encoders
from freeda.files import atomic_write_json
from freeda.image_text import ClipEncoder
from freeda.miniature import trial
from freeda.miniature.scenes import CLASSES
from freeda.options import CollectOptions, SegmentOptions
from freeda.precision import choose_dtype
from freeda.presets import PRESETS
from freeda.profile import OFF, Clock
from freeda.segment.result import segment_scene
from freeda.segment.scene import encode_scene
from freeda.segment.windows import crops, resize_image, sliding_boxes, working_size
from freeda.weights import quiet

ROOT = Path(__file__).resolve().parent.parent
Row = dict[str, Any]
Images = Sequence[npt.NDArray[np.uint8]]
LEAST = 15.0
"""Seconds that must be left for a measurement to begin."""
PATIENCE = 6.0
"""What has been timed for so many seconds is not repeated once more."""


@dataclass(frozen=True)
class Setting:
    """What is measured, on what."""

    device: torch.device
    parity: Path
    rounds: int = 5
    """Each thing timed is repeated at most so often."""
    warm: float = 0.5
    """Seconds."""
    side: int = 512
    """Of a drawn picture, in pixels."""
    steps: int = 20
    drawn: tuple[int, ...] = (1, 8)
    """Pictures drawn together."""
    windows: tuple[int, ...] = (1, 8, 32)
    """Windows encoded together."""
    photographs: int = 16
    demo: tuple[int, int] = (96, 60)
    """Captions and scenes."""


TINY: dict[str, Any] = {
    **{"rounds": 1, "warm": 0.0, "side": 64, "steps": 1, "drawn": (1, 2)},
    **{"windows": (1, 2), "photographs": 1, "demo": (2, 2)},
}


def shrink() -> None:
    """Make the true shapes tiny: the same structure, next to no arithmetic."""
    for size in common.CLIP_SHAPES:
        common.CLIP_SHAPES[size] = ((32, 2, 2, 32), (32, 32, 2, 2))
        common.DENSE_SHAPES[size] = (32, 2, 2)
    for shapes in (generation.FAMILIES["SD 1.5"], generation.VAE):
        shapes.update(block_out_channels=(32, 32, 32, 32), layers_per_block=1)
    stages.TEXT.update(num_hidden_layers=1, intermediate_size=32)


def exact(wanted: bool) -> None:
    """Whether products of float32 are computed in it, or in TF32 where the GPU has that."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not wanted


def settle(device: torch.device) -> None:
    """Wait for what the GPU still computes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: dict[str, Callable[[], Any]], s: Setting) -> tuple[dict[str, float], int]:
    """Median seconds of a call of each, taken in turn, and the number of rounds.

    Before, each is called for a while, until kernels are chosen and clocks are up; what is quick is called
    several times a round, one call behind the other.
    """

    def spent(call: Callable[[], Any], times: int = 1) -> float:
        settle(s.device)
        start = time.perf_counter()
        for _ in range(times):
            call()
        settle(s.device)
        return time.perf_counter() - start

    times: dict[str, int] = {}
    for name, call in work.items():
        began, once = time.perf_counter(), spent(call)
        while time.perf_counter() - began < s.warm:
            once = spent(call)
        times[name] = max(1, round(s.warm / 2 / once))
    taken: dict[str, list[float]] = {name: [] for name in work}
    began, rounds = time.perf_counter(), 0
    while not rounds or (rounds < s.rounds and time.perf_counter() - began < PATIENCE):
        for name, call in work.items():
            taken[name].append(spent(call, times[name]) / times[name])
        rounds += 1
    return {name: statistics.median(found) for name, found in taken.items()}, rounds


def memory(call: Callable[[], Any], device: torch.device) -> Row:
    """MiB on the GPU: held before, at the peak of a call, and then reserved by torch. Else the process's."""
    if device.type != "cuda":
        grown = peak_memory(call)
        return {
            "MiB before": None,
            "peak MiB": None if grown is None else grown / 2**20,
            "reserved MiB": None,
        }
    free()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    settle(device)
    found = before, torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    names = ("MiB before", "peak MiB", "reserved MiB")
    return {name: value / 2**20 for name, value in zip(names, found, strict=True)}


def free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def parity(s: Setting, kind: type[golden.Online] | type[golden.Attribution]) -> Iterator[Row]:
    """The golden sets, in float32: how far apart, and whether within what is asked on a CPU."""
    found = kind(s.parity / kind.__name__.lower(), str(s.device))
    if not found.cases:
        raise FileNotFoundError(f"{found.folder} has no cases.json: name the folder above it with --parity")
    for index in range(len(found.cases)):
        compared = found.compare(index)
        yield {"case": index, **compared, "within": not golden.missed(compared)}


def demo(s: Setting) -> Iterator[Row]:
    """`freeda demo` on the GPU and on the processor, each with a bank of its own, and their labels."""
    many, scenes = s.demo
    places = {str(s.device.type): dict(os.environ), "cpu only": {**os.environ, "CUDA_VISIBLE_DEVICES": ""}}
    script = (
        "import sys; from freeda.demo import run_demo as run; run(sys.argv[1], 0, *map(int, sys.argv[2:]))"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, environment in places.items():
            out, start = Path(folder) / name, time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", script, str(out), str(many), str(scenes)],
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no word"])[-1]
                raise RuntimeError(f"{name}: ended with {done.returncode}: {last}\n{done.stderr[-4000:]}")
            told = json.loads((out / "report.json").read_text())
            yield {
                **{"device": name, "captions": many, "scenes": scenes, "pairs": told["pairs"]},
                "mIoU": told["miou"]["full"],
                "true masks": told["miou"]["true_masks"],
                "word masks IoU": told["attribution_iou"]["all"],
                "s": time.perf_counter() - start,
                **{f"{stage} s": told["seconds"][stage] for stage in ("collect", "encode")},
            }
        shown = [scene.image for scene in trial.held_out(0, scenes)]
        banks = [Path(folder) / name / "demo-bank" for name in places]
        labels = [
            label(freeda.load("miniature", bank, device), shown, list(CLASSES))
            for bank, device in ((banks[0], s.device), (banks[1], s.device), (banks[1], "cpu"))
        ]
    yield {"labels equal, banks of their own": share(labels[0], labels[2])} | {
        "labels equal, the CPU's bank": share(labels[1], labels[2])
    }


def label(model: Any, images: Images, words: list[str]) -> list[npt.NDArray[np.int32]]:
    vocabulary = model.vocabulary(words)
    return [model.segment(image, vocabulary).labels for image in images]


def share(one: Images, other: Images) -> float:
    return float(np.mean([np.mean(a == b) for a, b in zip(one, other, strict=True)]))


def miniature(s: Setting) -> Iterator[Row]:
    """Trained models, small as they are: labels in float32 against the CPU's, in half against float32."""
    scenes = s.demo[1]
    models = [freeda.load("miniature", device=device) for device in (s.device, "cpu")]
    shown = [scene.image for scene in trial.held_out(1, scenes)]
    labels = [label(model, shown, list(CLASSES)) for model in models]
    yield {"model": "miniature", "dtype": "float32", "labels equal": share(*labels)}
    yield from precision.miniature(str(s.device), scenes)


@lru_cache(1)
def on_cpu(size: str) -> Encoders:
    """Made once: random weights of true shapes take long. What is measured are copies."""
    return random_encoders(size)


def placed(size: str, dtype: str, device: torch.device) -> Encoders:
    """Those of `on_cpu` on a device."""
    whole, preset, kind = on_cpu(size), PRESETS[size], choose_dtype(dtype, device)
    clip, dense = (copy.deepcopy(part.model).to(device) for part in (whole.clip, whole.dense))
    return Encoders(
        ClipEncoder(clip, whole.clip.tokenizer, preset, device, kind),
        DenseEncoder(dense, preset, device, kind),
        device,
        kind,
    )


def pictures(n: int) -> Images:
    """n photographs of 640 x 480, none like another: two windows each."""
    whole = photograph(480, 640)
    return [np.ascontiguousarray(np.roll(whole, 37 * i, axis=1)) for i in range(n)]


def cut(image: npt.NDArray[np.uint8], options: SegmentOptions, batch: int) -> list[torch.Tensor]:
    """A photograph's windows, in batches."""
    height, width = working_size(*image.shape[:2], options)
    boxes = sliding_boxes(height, width, options.window, options.stride)
    return list(crops(resize_image(image, (height, width)), boxes, batch))


def see(model: Encoders, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both encoders' features, which wait for nothing."""
    return model.clip.encode_image(windows), model.dense.encode(windows)


def encoders(s: Setting, size: str, dtype: str) -> Iterator[Row]:
    """Agreement with float32 (float32: with the CPU's), then windows a second and memory."""
    options, images = SegmentOptions(), pictures(min(2, s.photographs))
    windows = torch.cat([batch for image in images for batch in cut(image, options, 8)])

    def look(model: Encoders) -> list[torch.Tensor]:
        return [x.cpu() for x in see(model, windows)]

    reference = on_cpu(size) if dtype == "float32" else placed(size, "float32", s.device)
    clip, dense = look(reference)
    words = feature_vocabulary(59, size, reference)
    labels = [
        segment_scene(encode_scene(reference, image, options), words, options).labels for image in images
    ]
    against = f"float32, {reference.device.type}"
    del reference
    free()

    model = placed(size, dtype, s.device)
    own_clip, own_dense = look(model)
    own = [segment_scene(encode_scene(model, image, options), words, options).labels for image in images]
    yield {
        "against": against,
        "features apart": float((own_dense - dense).norm() / dense.norm()),
        "least CLIP cosine": float((own_clip * clip).sum(-1).min()),
        "labels equal": share(own, labels),
    }
    for tf32 in (False, True) if dtype == "float32" and s.device.type == "cuda" else (False,):
        exact(not tf32)
        for batch in s.windows:
            some = windows.repeat(-(-batch // len(windows)), 1, 1, 1)[:batch].to(s.device)
            call = partial(see, model, some)
            taken, rounds = timed({"see": call}, s)
            yield {
                **{"TF32": tf32, "windows together": batch, "windows/s": batch / taken["see"]},
                **{"rounds": rounds, **memory(call, s.device)},
            }


def photographs(s: Setting, size: str) -> Iterator[Row]:
    """Images a second, the whole way and by the encoders alone; what batches over several would gain."""
    model, options, images = placed(size, "auto", s.device), SegmentOptions(), pictures(s.photographs)
    words = feature_vocabulary(59, size, model)
    batch = max(s.windows)

    def whole(clock: Clock = OFF) -> None:
        for image in images:
            segment_scene(encode_scene(model, image, options, clock=clock), words, options, clock=clock)

    def one_by_one() -> None:
        for image in images:
            for part in cut(image, options, 8):
                see(model, part.to(s.device))

    def together() -> None:
        windows = torch.cat([part for image in images for part in cut(image, options, 8)])
        for part in windows.split(batch):
            see(model, part.to(s.device))

    names = ("the whole way, one by one", "encoders alone, one by one", f"encoders alone, {batch} windows")
    taken, rounds = timed(dict(zip(names, (whole, one_by_one, together), strict=True)), s)
    dtype = str(model.dtype).removeprefix("torch.")
    for name, seconds in taken.items():
        yield {
            **{"dtype": dtype, "how": name, "photographs": len(images), "rounds": rounds},
            **{"images/s": len(images) / seconds, "times the whole way": taken[names[0]] / seconds},
        }
    clock = Clock()
    clock.settle = partial(settle, s.device)
    whole(clock)
    for stage in clock.stages():
        took = {"ms/photograph": 1000 * stage.seconds / len(images), "beside the rest": stage.beside}
        yield {"dtype": dtype, "stage": stage.name, **took}
    yield {"dtype": dtype, **memory(whole, s.device)}


@lru_cache(1)
def painter_on_cpu() -> Generator:
    return random_sd15(torch.device("cpu"), torch.float32)


def painter(dtype: str, device: torch.device) -> Generator:
    """That of `painter_on_cpu` on a device, in a dtype."""
    pipe = painter_on_cpu().pipe
    parts = {name: copy.deepcopy(part) for name, part in pipe.components.items()}
    with quiet():
        made = type(pipe)(**parts, requires_safety_checker=False).to(device, choose_dtype(dtype, device))
    return Generator(made)


def drawing(s: Setting, dtype: str) -> Iterator[Row]:
    """SD 1.5: agreement with float32 (float32: with the CPU's), pictures a second, what watching costs."""
    options = CollectOptions(size=s.side, steps=s.steps)
    few, columns = replace(options, steps=min(2, s.steps)), generation.COLUMNS

    def look(generator: Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        drawn = generator.draw(captions(1), [7], [columns], few)
        return drawn.maps[0].cpu().numpy(), drawn.images

    reference = painter_on_cpu() if dtype == "float32" else painter("float32", s.device)
    against = f"float32, {reference.pipe.device.type}"
    maps, picture = look(reference)
    del reference
    free()

    generator = painter(dtype, s.device)
    own_maps, own = look(generator)
    yield {
        **{"against": against, "steps": few.steps},
        "maps apart": golden.apart(own_maps, maps) / float(maps.max()),
        "grey levels apart, mean": float(np.abs(own.astype(np.float32) - picture).mean()),
    }
    for n in s.drawn[:1] if dtype == "float32" else s.drawn:
        found = to_captions(captions(n))
        texts, seeds = [c.text for c in found], [picture_seed(c.id) for c in found]
        together = replace(options, batch_size=n)
        ways: dict[str, Callable[[], Any]] = {
            "plain": partial(draw, generator, together, found),
            "watched": partial(generator.draw, texts, seeds, [columns] * n, together),
        }
        last: dict[str, Any] = {}
        calls = {name: partial(_kept, last, name, call) for name, call in ways.items()}
        taken, rounds = timed(calls, s)
        plain = (last["plain"][0] * 255).round().astype(np.uint8)
        yield {
            **{"side": s.side, "steps": s.steps, "drawn together": n, "rounds": rounds},
            **{f"images/s, {name}": n / seconds for name, seconds in taken.items()},
            "watching costs": taken["watched"] / taken["plain"] - 1,
            "the same pictures": bool((last["watched"].images == plain).all()),
        }
        for name, call in ways.items():
            yield {"drawn together": n, "drawn": name, **memory(call, s.device)}


def _kept(last: dict[str, Any], name: str, call: Callable[[], Any]) -> None:
    last[name] = call()


def offline(s: Setting) -> Iterator[Row]:
    """The offline stage of SD 1.5 and ViT-L in the device's fast dtype, by stage."""
    shape = PRESETS["vit-l"].collect
    options = replace(shape, size=s.side, batch_size=max(s.drawn), min_area=0.0, max_area=1.0)
    encoder = placed("vit-l", "auto", s.device)
    models = CollectModels(encoder, painter("auto", s.device), NounKeys(encoder.clip, options))
    for row in rows_of(*measure(models, options, max(s.drawn), s.steps, min(s.rounds, 3))):
        yield {"dtype": str(encoder.dtype).removeprefix("torch."), **row}


def work() -> dict[str, Callable[[Setting], Iterator[Row]]]:
    """Name -> measurement, the most wanted first."""

    def of(size: str) -> dict[str, Callable[[Setting], Iterator[Row]]]:
        each = {
            f"encoders {size} {dtype}": partial(encoders, size=size, dtype=dtype)
            for dtype in precision.DTYPES
        }
        return {**each, f"photographs {size}": partial(photographs, size=size)}

    return {
        "parity online": partial(parity, kind=golden.Online),
        "parity attribution": partial(parity, kind=golden.Attribution),
        "demo": demo,
        "miniature": miniature,
        **of("vit-b"),
        "drawing float16": partial(drawing, dtype="float16"),
        **of("vit-l"),
        "offline stage": offline,
        "drawing bfloat16": partial(drawing, dtype="bfloat16"),
        "drawing float32": partial(drawing, dtype="float32"),
    }


def where(s: Setting) -> Row:
    """What all is measured on."""
    names = ("freeda", "transformers", "diffusers", "faiss-cpu", "textblob", "scikit-image", "numpy")
    found = {
        **surroundings(),
        **{"repeats": f"up to {s.rounds}", "quick": False, "device": str(s.device)},
        **{"python": platform.python_version(), "system": platform.platform()},
        **{name: version(name) for name in names},
        "began": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    if s.device.type == "cuda":
        about = torch.cuda.get_device_properties(s.device)
        found |= {
            "processor": f"{about.name}, {found['processor']}",
            "GPU": about.name,
            "GPU MiB": about.total_memory / 2**20,
            "capability": f"{about.major}.{about.minor}",
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
            "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
        }
        with suppress(OSError, subprocess.SubprocessError):
            ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            done = subprocess.run(ask, capture_output=True, text=True, timeout=10, check=True)
            found["driver"] = done.stdout.split("\n")[0]
    return found


def told(error: BaseException) -> Row:
    """An error, the last line of the checkout's that it passed through, and the way there."""
    frames = traceback.extract_tb(error.__traceback__)
    rooms = [ROOT / room for room in ("src", "benchmarks", "tests")]
    last = [f for f in frames if any(map(Path(f.filename).is_relative_to, rooms))][-1]
    place = f"{Path(last.filename).relative_to(ROOT).as_posix()}:{last.lineno}"
    return {
        "error": f"{type(error).__name__}: {error}".strip().splitlines()[0],
        "line": f"{place} in {last.name}: {last.line}",
        "trace": "".join(traceback.format_exception(error))[-6000:].splitlines(),
    }


def attempt(call: Callable[[], Iterator[Row]], name: str, found: Row, save: Callable[[], Any]) -> None:
    """Do one measurement; its rows are kept as they come, and whatever it raises is told beside them."""
    note, start = found["measurements"][name], time.perf_counter()
    note["status"] = "running"
    save()
    try:
        for row in call():
            found["rows"].append({"what": name, **{k: _finite(v) for k, v in row.items()}})
            save()
        note["status"] = "done"
    except Exception as error:
        note.update(status="failed", **told(error))
    note["seconds"] = time.perf_counter() - start
    save()


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are told as words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("deadline", type=float)
    parser.add_argument("--parity", type=Path)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device here: --tiny tries all of it on the CPU")
    if given.tiny:
        shrink()
    device = torch.device("cpu" if given.tiny else "cuda")
    setting = Setting(device, given.parity or golden.FOLDER, **(TINY if given.tiny else {}))
    found, save = json.loads(given.file.read_text()), lambda: atomic_write_json(given.file, found)
    try:
        found["where"] = found["where"] or where(setting)
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed here: name a folder that has its wheel with --wheels")
    for name in work():
        found["measurements"].setdefault(name, {"status": "waiting"})
    save()
    torch.set_grad_enabled(False)
    for name, call in work().items():
        if found["measurements"][name]["status"] != "waiting":
            continue
        if time.time() > given.deadline - (0 if given.tiny else LEAST):
            return
        exact(True)
        attempt(partial(call, setting), name, found, save)
        note = found["measurements"][name]
        print(f"{name}: {note['status']} in {note['seconds']:.1f} s", file=sys.stderr)
        try:
            free()
            settle(device)
        except RuntimeError:  # an illegal access, say: CUDA answers nothing more in this process
            sys.exit(3)


if __name__ == "__main__":
    main()
