"""Main memory that labelling a photograph and drawing a picture take at most, each in a process of its own.

    python benchmarks/memory.py [--model vit-l] [--quick]

Random weights of the true shapes (CLIP, DINOv2, Stable Diffusion 1.5 at 512 px, guidance on), float32 on the
CPU. `weights` are the bytes of all parameters; `peak` is the process's largest resident size, Python and its
libraries included, which are also told alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from typing import Any

import torch
from common import arguments, begin, feature_vocabulary, photograph, random_encoders, report
from generation import FAMILIES, VAE

from freeda.model import FreeDA
from freeda.presets import PRESETS


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = begin(parser)
    if given.case:
        weights = _case(given.case, given.model[0])
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux
        print(json.dumps({"weights": weights, "peak": peak}))
        return
    cases = [("nothing", "vit-b"), *((case, m) for m in given.model for case in ("label", "draw"))]
    rows = []
    for case, model in cases[: 2 if given.quick else None]:
        command = [sys.executable, __file__, "--case", case, "--model", model]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
        rows.append({"case": case, "model": model, **{f"{k} GB": v / 1e9 for k, v in told.items()}})
    report("memory", given, rows)


def _case(case: str, size: str) -> int:
    """Do it, and return the bytes of the weights."""
    if case == "nothing":
        import diffusers  # noqa: F401
        import transformers  # noqa: F401

        return 0
    encoders = random_encoders(size)
    models: list[Any] = [encoders.clip.model, encoders.dense.model]
    if case == "label":
        model = FreeDA(PRESETS[size], encoders)
        words = feature_vocabulary(59, size, encoders)
        model.encode(photograph(768, 1024)).segment(words).labels.sum()
    else:
        models += _draw()
        picture = torch.rand(1, 3, 512, 512)
        encoders.clip.encode_image(picture), encoders.dense.encode(picture)
    return sum(p.numel() * p.element_size() for model in models for p in model.parameters())


@torch.inference_mode()
def _draw() -> list[Any]:
    """One step of one picture, words watched, and its decoding."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from freeda.collect.attention import AttentionCapture

    unet, vae = UNet2DConditionModel(**FAMILIES["SD 1.5"]), AutoencoderKL(**VAE)
    text = CLIPTextModel(
        CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12)
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=None,
        unet=unet,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    words = text(torch.randint(0, 49408, (1, 77))).last_hidden_state
    with AttentionCapture(pipe.unet, [[2, 5, 9, 10, 13]]) as capture:
        pipe(prompt_embeds=words, negative_prompt_embeds=words, height=512, width=512, num_inference_steps=1)
    capture.maps()
    return [unet, vae, text]


if __name__ == "__main__":
    main()
