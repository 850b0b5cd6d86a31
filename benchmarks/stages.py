"""Where a picture's seconds go in the offline stage: text, denoising, watching, VAE, features, rows, writing.

    python benchmarks/stages.py                      # the bundled miniature
    python benchmarks/stages.py --shape sd15         # Stable Diffusion 1.5 and ViT-L, random weights, 512 px

A stage is everything inside the call it is named for. "watching" is what the same pictures cost more with
words watched than without; where that is little, the noise of two long runs hides it, below 0 as well
(benchmarks/attribution.py measures it). `--steps` are measured and UNet and watching scaled to the preset's
steps, which cost the same each. Shares hold for the device they are measured on: a GPU shifts them towards
the processor's stages (masks, rows, writing).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from common import arguments, begin, random_encoders, report
from generation import FAMILIES, VAE
from scaling import captions

from freeda.bank.format import Pair, write_shard
from freeda.collection import shard
from freeda.collection.captions import Caption, to_captions
from freeda.collection.generator import Generator, load_generator, picture_seed
from freeda.collection.pairs import NounKeys
from freeda.collection.shard import CollectModels, load_models, make_shard
from freeda.options import CollectOptions
from freeda.precision import choose_device, choose_dtype
from freeda.presets import PRESETS
from freeda.profile import peak_memory
from freeda.weights import quiet

TEXT: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
}
"""Arguments of Stable Diffusion 1.5's `CLIPTextConfig`."""


def random_sd15(device: torch.device, dtype: torch.dtype) -> Generator:
    """Stable Diffusion 1.5 of its true shapes with random weights; the miniature's tokenizer."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = load_generator(PRESETS["miniature"].generator, "cpu").tokenizer
    tokenizer.model_max_length = 77
    text = CLIPTextConfig(**TEXT, eos_token_id=tokenizer.eos_token_id)
    unet = UNet2DConditionModel(sample_size=64, **FAMILIES["SD 1.5"])
    vae = AutoencoderKL(**VAE)
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1
    )
    parts = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    with quiet():
        pipe = StableDiffusionPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(text),
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            **parts,
        ).to(device, dtype)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.eval().requires_grad_(False)
    return Generator(pipe)


Seconds = dict[str, npt.NDArray[np.float64]]
"""Stage -> wall and processor seconds; on a busy machine the latter are the steadier of the two."""


def now(settle: bool) -> npt.NDArray[np.float64]:
    if settle:
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


@contextmanager
def timed(found: Seconds, models: CollectModels) -> Iterator[None]:
    """Every stage's calls are timed inside the block, and the block as "all"."""
    settle = models.encoders.device.type == "cuda"

    def marked(stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = now(settle)
            try:
                return call(*args, **kwargs)
            finally:
                found[stage] = found.get(stage, 0.0) + now(settle) - start

        return wrapper

    pipe, encoders = models.generator.pipe, models.encoders
    calls = [
        ("text encoder", pipe.text_encoder, "forward"),
        ("UNet", pipe.unet, "forward"),
        ("VAE", pipe.vae, "decode"),
        ("dense features", encoders.dense, "encode"),
        ("CLIP of the picture", encoders.clip, "encode_image"),
        ("masks", shard, "word_map"),
        ("masks", shard, "word_masks"),
        ("keys and pooling", shard, "make_pair"),
        ("JPEG", shard, "small_jpeg"),
    ]
    with ExitStack() as stack:
        for stage, place, name in calls:
            stack.enter_context(mock.patch.object(place, name, marked(stage, getattr(place, name))))
        start = now(settle)
        yield
        found["all"] = now(settle) - start


def measure(
    models: CollectModels, options: CollectOptions, n: int, steps: int, repeats: int
) -> tuple[Seconds, float, float]:
    """Median seconds a picture by stage, of `n` pictures with `options.steps` scaled up from `steps`; pairs
    and bytes of the shard for each caption.
    """
    few = replace(options, steps=steps)
    found = to_captions(captions(n))
    make_shard(found[:1], models, replace(few, steps=1))  # warmed up
    rounds: dict[str, list[npt.NDArray[np.float64]]] = {}
    for _ in range(repeats):  # in turn, so that what changes with time changes both
        plain: Seconds = {}
        with timed(plain, models):  # the same pictures, nobody watching
            draw(models.generator, few, found)
        watched: Seconds = {}
        with timed(watched, models):
            made = make_shard(found, models, few)
        if made.error is not None:  # fewer pictures were drawn than are divided by
            raise made.error
        writing, size = write(made.pairs, n)
        whole, unet = watched.pop("all"), watched.pop("UNet")
        rest = whole - unet - sum(watched.values())
        for stage, taken in {
            "UNet": plain["UNet"],
            "watching": unet - plain["UNet"],
            **watched,
            "the rest": rest,
            "writing": writing,
        }.items():
            rounds.setdefault(stage, []).append(taken)
    stages = {stage: np.median(taken, axis=0) / n for stage, taken in rounds.items()}
    for stage in ("UNet", "watching"):
        stages[stage] = stages[stage] * options.steps / steps
    return stages, len(made.pairs) / n, size / n


def draw(
    generator: Generator, options: CollectOptions, found: Sequence[Caption]
) -> list[npt.NDArray[np.float32]]:
    """The captions' pictures, batch by batch, and no more."""
    pictures = []
    for i in range(0, len(found), options.batch_size):
        batch = found[i : i + options.batch_size]
        drawn = generator.pipe(
            [c.text for c in batch],
            height=options.size,
            width=options.size,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            generator=[torch.Generator("cpu").manual_seed(picture_seed(c.id)) for c in batch],
            output_type="np",
        )
        pictures.append(drawn.images)
    return pictures


def write(pairs: Sequence[Pair], n: int) -> tuple[npt.NDArray[np.float64], int]:
    """Seconds for writing a shard, and its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "shard.parquet", now(False)
        about = {"settings": {}, "digest": "", "captions": n, "pictures": n, "rejected": {}, "failed": []}
        write_shard(path, pairs, about)
        return now(False) - start, path.stat().st_size


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--shape", choices=["miniature", "sd15"], default="miniature")
    parser.add_argument("--captions", type=int, help="default 32 (sd15: 1), quick 2 (sd15: 1)")
    parser.add_argument("--steps", type=int, help="denoising steps measured (default all; sd15: 2)")
    parser.add_argument("--batch", type=int, help="pictures together (default the preset's; sd15: 1)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--no-images", action="store_true", help="rows without pictures and masks")
    given = begin(parser)
    sd15 = given.shape == "sd15"
    device = choose_device(given.device)
    dtype = choose_dtype(given.dtype, device)
    preset = PRESETS["vit-l" if sd15 else "miniature"]
    options = replace(
        preset.collect,
        keep_images=not given.no_images,
        batch_size=given.batch or (1 if sd15 else preset.collect.batch_size),
        min_area=0.0,  # random attention locates nothing: its masks must not be rejected
        max_area=1.0,
    )
    if sd15:
        encoders = random_encoders("vit-l", given.dtype, given.device)
        models = CollectModels(encoders, random_sd15(device, dtype), NounKeys(encoders.clip, options))
    else:
        models = load_models(preset, options, device, dtype)
    n = given.captions or (1 if sd15 else 2 if given.quick else 32)
    steps = given.steps or (2 if sd15 else 4 if given.quick else options.steps)
    rows = rows_of(*measure(models, options, n, steps, given.repeats))
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else peak_memory()
    rows[-1]["peak GB of the device" if device.type == "cuda" else "peak GB of the process"] = peak / 1e9
    about = f"{n} captions, batches of {options.batch_size}, {steps} of {options.steps} steps measured"
    report(f"stages of {given.shape} on {device} in {given.dtype}: {about}", given, rows)


def rows_of(found: Seconds, pairs: float, size: float) -> list[dict[str, Any]]:
    """What `measure` found, a stage a row, then the whole."""
    wall, cpu = sum(found.values())
    rows: list[dict[str, Any]] = [
        {
            "stage": stage,
            "s/picture": float(seconds[0]),
            "share": float(seconds[0] / wall),
            "processor s/picture": float(seconds[1]),
            "its share": float(seconds[1] / cpu),
        }
        for stage, seconds in found.items()
    ]
    rows.append({"stage": "all", "s/picture": float(wall), "pairs/caption": pairs, "bytes/caption": size})
    return rows


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
