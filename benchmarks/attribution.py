"""Denoising plain, with words watched (4 nouns a picture), and with a plain capture that stores everything.

Random weights of Stable Diffusion 1.5's structure: `true` is its own widths, `half` and `quarter` have fewer
channels, which makes attribution dearer beside the rest (its cost grows with the width, theirs with its
square). The text encoder and the VAE are left out, so that the shares are of the UNet's time alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from common import arguments, begin, peak_memory, report, side_by_side

from freeda.collection.attention import AttentionCapture
from freeda.precision import choose_device, choose_dtype
from freeda.weights import quiet

CHANNELS = {"quarter": (80, 160, 320, 320), "half": (160, 320, 640, 640), "true": (320, 640, 1280, 1280)}
COLUMNS = [2, 5, 9, 10, 13]  # four nouns, one of them of two tokens
CAPTIONS, STEPS = 600_000, 30  # of the whole bank, for the estimate


def random_pipeline(shape: str, device: torch.device, dtype: torch.dtype) -> Any:
    """Stable Diffusion 1.5 without text encoder and VAE, random weights."""
    from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=CHANNELS[shape],
        attention_head_dim=8,
        cross_attention_dim=768,
        norm_num_groups=16,
    )
    parts = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None}
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
        clip_sample=False,
    )
    pipe = StableDiffusionPipeline(
        vae=AutoencoderTiny(), unet=unet, scheduler=scheduler, requires_safety_checker=False, **parts
    )
    pipe.set_progress_bar_config(disable=True)
    with quiet():
        return pipe.to(device, dtype)


class Storing:
    """Attention by its definition, every probability of the conditional half kept for later."""

    def __init__(self, pictures: int, kept: list[torch.Tensor]) -> None:
        self._pictures, self._kept = pictures, kept

    def __call__(
        self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        q, k, v = (
            project(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project, x in (
                (attn.to_q, hidden_states),
                (attn.to_k, encoder_hidden_states),
                (attn.to_v, encoder_hidden_states),
            )
        )
        seen = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        self._kept.append(seen[-self._pictures :].float())
        return attn.to_out[0]((seen @ v).transpose(1, 2).flatten(2))


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--shape", choices=list(CHANNELS), help="default half, quick quarter")
    parser.add_argument("--side", type=int, help="of the picture in pixels; default 512, quick 256")
    parser.add_argument("--steps", type=int, default=2, help="denoising steps (default 2)")
    parser.add_argument("--batch", type=int, default=1, help="pictures together (default 1)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    given = begin(parser)
    shape = given.shape or ("quarter" if given.quick else "half")
    side = given.side or (256 if given.quick else 512)
    device = choose_device(given.device)
    dtype = choose_dtype(given.dtype, device)
    pipe, n = random_pipeline(shape, device, dtype), given.batch
    text = torch.randn(2, n, 77, 768, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    columns = [COLUMNS] * n
    last: dict[str, list[torch.Tensor]] = {}

    def plain() -> None:
        last["latents"] = pipe(
            prompt_embeds=text[0],
            negative_prompt_embeds=text[1],
            height=side,
            width=side,
            num_inference_steps=given.steps,
            generator=torch.Generator().manual_seed(2),
            output_type="latent",
        ).images
        if device.type == "cuda":
            torch.cuda.synchronize()

    def ours() -> None:
        with AttentionCapture(pipe.unet, columns) as capture:
            plain()
        last["ours"] = capture.maps()

    def stored() -> None:
        kept: dict[str, list[torch.Tensor]] = {}
        before = pipe.unet.attn_processors
        mine = {
            name: Storing(n, kept.setdefault(name, []))
            if "attn2" in name and not name.startswith("mid")
            else own
            for name, own in before.items()
        }
        pipe.unet.set_attn_processor(mine)
        try:
            plain()
        finally:
            pipe.unet.set_attn_processor(before)
        last["stored"] = maps_of(kept, side // 8)

    work = {"plain": plain, "ours": ours, "store everything": stored}
    taken = side_by_side(work, given.repeats)
    wall = {name: times["wall"] for name, times in taken.items()}
    row: dict[str, Any] = {
        **{"shape": shape, "picture": f"{side} px", "steps": given.steps, "pictures": n},
        **{"device": device.type, "dtype": str(dtype).removeprefix("torch.")},
        **{f"{name} s": seconds for name, seconds in wall.items()},
        **{f"{name} cpu s": times["cpu"] for name, times in taken.items()},
        "ours / plain": wall["ours"] / wall["plain"],
        "ours / plain, cpu time": taken["ours"]["cpu"] / taken["plain"]["cpu"],
        "store / plain": wall["store everything"] / wall["plain"],
        **{f"{name} peak MiB": peak for name, call in work.items() if (peak := _peak(call, device))},
        "greatest difference of maps": max(
            float((a - b).abs().max()) for a, b in zip(last["ours"], last["stored"], strict=True)
        ),
        "pictures a second": n / wall["ours"],
        f"days for {CAPTIONS} captions of {STEPS} steps, UNet alone (estimate)": wall["ours"]
        / n
        / given.steps
        * STEPS
        * CAPTIONS
        / 86400,
    }
    report("attribution", given, [row])


def maps_of(kept: dict[str, list[torch.Tensor]], latent: int) -> list[torch.Tensor]:
    """DAAM's maps of COLUMNS from everything that was stored."""
    maps: list[torch.Tensor] = []
    for calls in kept.values():
        total = torch.stack(calls).sum(0)[..., COLUMNS]  # (n, heads, places, columns)
        h = math.isqrt(total.shape[2])
        if h * 8 == latent:
            continue
        for head in total.unbind(1):
            level = head.transpose(1, 2).unflatten(-1, (h, h))
            size = (latent, latent)
            maps.append(torch.nn.functional.interpolate(level, size, mode="bicubic").clamp(min=0))
    return list(torch.stack(maps).mean(0))


def _peak(call: Any, device: torch.device) -> float | None:
    """MiB by which memory grows at most: the accelerator's where there is one, else the process's."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    peak = peak_memory(call)
    return None if peak is None else peak / 2**20


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
