"""What the benchmarks share: random models of the true shapes, photographs, side-by-side timing, reports."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from freeda.encoders import DenseEncoder, Encoders
from freeda.evaluation.table import DATASETS
from freeda.files import atomic_path
from freeda.image_text import ClipEncoder
from freeda.precision import choose_device, choose_dtype
from freeda.presets import PRESETS
from freeda.segment.vocabulary import Vocabulary
from freeda.segment.windows import resize_image

# width, layers, heads, patch; joint width, text width, text layers, text heads
CLIP_SHAPES = {
    "vit-b": ((768, 12, 12, 16), (512, 512, 12, 8)),
    "vit-l": ((1024, 24, 16, 14), (768, 768, 12, 12)),
}
DENSE_SHAPES = {"vit-b": (768, 12, 12), "vit-l": (1024, 24, 16)}
CONTEXT_59 = DATASETS["context59"].classes
"""Pascal Context's 59 class names."""


def class_names(n: int) -> list[str]:
    """n class names of usual length: Pascal Context's 59, then the same with a word before them."""
    more = [f"{kind} {name}" for kind in ("wooden", "plastic", "distant") for name in CONTEXT_59]
    return [*CONTEXT_59, *more][:n]


class WordTokenizer:
    """About as many tokens as CLIP's own gives: one a word and a sign, two for a word over eight letters."""

    model_max_length = 77
    bos_token_id, eos_token_id, pad_token_id = 49406, 49407, 49407
    all_special_tokens, all_special_ids = ("<|startoftext|>", "<|endoftext|>"), (49406, 49407)

    def __len__(self) -> int:
        return 49408

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        def ids(text: str) -> list[int]:
            parts = [p for w in re.findall(r"\w+|[^\w\s]", text.lower()) for p in (w[:8], w[8:]) if p]
            return [49406, *(1000 + sum(map(ord, p)) * 7 % 40000 for p in parts), 49407]

        return {"input_ids": [ids(text) for text in texts]}


def random_encoders(size: str, dtype: str = "float32", device: str = "cpu", seed: int = 0) -> Encoders:
    """CLIP and DINOv2 of "vit-b" or "vit-l" shape with random weights, made in memory."""
    from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

    torch.manual_seed(seed)
    (width, layers, heads, patch), (joint, t_width, t_layers, t_heads) = CLIP_SHAPES[size]
    vision = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": patch,
        "image_size": 224,
    }
    text = {
        "hidden_size": t_width,
        "intermediate_size": 4 * t_width,
        "num_hidden_layers": t_layers,
        "num_attention_heads": t_heads,
        "eos_token_id": 49407,
        "bos_token_id": 49406,
    }
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=joint))
    width, layers, heads = DENSE_SHAPES[size]
    dense = Dinov2Model(
        Dinov2Config(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            image_size=518,
            patch_size=14,
        )
    )
    on = choose_device(device)
    kind = choose_dtype(dtype, on)
    for model in (clip, dense):
        model.to(on).eval().requires_grad_(False)
    preset = PRESETS[size]
    return Encoders(
        ClipEncoder(clip, WordTokenizer(), preset, on, kind), DenseEncoder(dense, preset, on, kind), on, kind
    )


class NoModel:
    """Encoders that cost nothing: features that depend on the window only, of a true model's shapes."""

    def __init__(self, size: str = "vit-b", grid: int = 37):
        self.device, self.identity = torch.device("cpu"), {}
        self.dim, self.grid, self._joint = DENSE_SHAPES[size][0], grid, CLIP_SHAPES[size][1][0]
        self.clip = self.dense = self
        self._features = torch.randn(grid, grid, self.dim, generator=torch.Generator().manual_seed(0))

    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x.flatten(1)[:, : self._joint] + 0.1, dim=-1)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._features + window.mean() for window in x])

    embed, patches = encode_image, encode


def photograph(height: int, width: int) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8: a real photograph of scikit-image's, resized."""
    from skimage import data

    return resize_image(np.ascontiguousarray(data.astronaut()[..., :3]), (height, width))


def random_vocabulary(n: int, size: str, prototypes: npt.NDArray[np.float32] | None = None) -> Vocabulary:
    """n classes with random embeddings and prototypes (or those given), of a model's widths."""
    rng = np.random.default_rng(1)
    text = rng.standard_normal((n, CLIP_SHAPES[size][1][0]), dtype=np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    if prototypes is None:
        prototypes = rng.standard_normal((n, DENSE_SHAPES[size][0]), dtype=np.float32)
    return Vocabulary(tuple(class_names(n)), text, prototypes)


def feature_vocabulary(n: int, size: str, encoders: Any) -> Vocabulary:
    """n classes whose prototypes are patch features of another photograph, so that scores are spread."""
    from skimage import data

    x = torch.from_numpy(np.ascontiguousarray(data.coffee())).permute(2, 0, 1)[None].float() / 255
    found = encoders.dense.encode(x.to(encoders.device))[0].flatten(0, 1).cpu().numpy()
    return random_vocabulary(n, size, found[np.linspace(0, len(found) - 1, n).astype(int)])


def side_by_side(work: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Median wall and processor seconds of each, taken in turn `repeats` times after one round to warm up.

    On a busy machine processor seconds are the steadier of the two; they add up over threads.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, call in work.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if turn:
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {"wall": statistics.median(w for w, _ in times), "cpu": statistics.median(c for _, c in times)}
        for name, times in taken.items()
    }


def peak_memory(work: Callable[[], Any]) -> int | None:
    """Bytes by which the process grows at most while `work` runs; None where Linux's /proc is not there."""
    status, marks = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # memory that was freed but not given back would hide growth
        marks.write_text("5")  # the high-water mark starts anew
    except OSError:
        return None

    def read(key: str) -> int:
        return 1024 * int(re.search(rf"{key}:\s+(\d+)", status.read_text())[1])  # type: ignore[index]

    before = read("VmRSS")
    work()
    return read("VmHWM") - before


def arguments(about: str) -> argparse.ArgumentParser:
    """--quick, --json, --threads, --repeats and --model, as every benchmark has them."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="small and short: shows that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--threads", type=int, help="threads of torch (default: all cores)")
    parser.add_argument("--repeats", type=int, help="default 5, quick 1")
    parser.add_argument(
        "--model", choices=list(DENSE_SHAPES), action="append", help="default both, quick vit-b"
    )
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments, with what they leave open filled in, and torch's threads set."""
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    given.repeats = given.repeats or (1 if given.quick else 5)
    given.model = given.model or (["vit-b"] if given.quick else list(DENSE_SHAPES))
    return given


def report(name: str, given: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Print rows of figures, and write them with what they were taken on to the file asked for."""
    where = {**surroundings(), "quick": given.quick, "repeats": given.repeats}
    print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in where.items()))
    for row in rows:
        print("  " + ", ".join(f"{k} {_shown(v)}" for k, v in row.items()))
    if given.json:
        text = json.dumps({"benchmark": name, "where": where, "rows": rows}, indent=1)
        with atomic_path(given.json) as temp:
            temp.write_text(text + "\n")


def surroundings() -> dict[str, Any]:
    """What figures are taken on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        return found[1] if found else platform.processor()
    except OSError:
        return platform.processor()
