"""What drawing a bank's pictures costs: arithmetic counted at the true shapes, and the days it takes.

Nothing is computed and no weights are needed: shapes alone tell the multiplications. Days follow from
`--seconds`, measured for one picture on your machine, or from `--rate`, the TFLOP/s that it sustains. The
latter is an estimate, and leaves out the text encoders, CLIP, DINOv2, masks and writing. `--memory` counts
the weights, of generators and of the presets' encoders.
"""

from __future__ import annotations

from typing import Any

import torch
from common import CLIP_SHAPES, arguments, begin, random_encoders, report
from torch.utils.flop_counter import FlopCounterMode

from freeda.collection.attention import AttentionCapture

_DOWN, _UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
_XL = {
    "block_out_channels": (320, 640, 1280),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "transformer_layers_per_block": (1, 2, 10),
    "down_block_types": ("DownBlock2D", _DOWN, _DOWN),
    "up_block_types": (_UP, _UP, "UpBlock2D"),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_LATER = {"attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True}
_WIDTHS = {"block_out_channels": (320, 640, 1280, 1280)}
FAMILIES: dict[str, dict[str, Any]] = {
    "SD 1.5": {**_WIDTHS, "attention_head_dim": 8, "cross_attention_dim": 768},
    "SD 2.1": {**_WIDTHS, **_LATER},
    "SDXL": _XL,
}
"""Arguments of `UNet2DConditionModel`."""
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
}
"""Arguments of `AutoencoderKL`, the same for all of them."""
TEXT: dict[str, list[tuple[int, int]]] = {
    "SD 1.5": [(768, 12)],
    "SD 2.1": [(1024, 23)],
    "SDXL": [(768, 12), (1280, 32)],
}
"""Width and layers of the text encoders."""
# family, side in pixels, steps, whether guided
CASES = [
    *(("SD 1.5", 512, 30, True), ("SD 1.5", 512, 20, True), ("SD 1.5", 512, 4, False)),
    *(("SD 2.1", 512, 30, True), ("SD 2.1", 768, 30, True), ("SD 2.1", 512, 1, False)),
    *(("SDXL", 1024, 30, True), ("SDXL", 1024, 4, False), ("SDXL", 512, 4, False)),
]
COLUMNS = [2, 5, 9, 10, 13]  # four nouns, one of them of two tokens


def step_cost(family: str, side: int) -> dict[str, float]:
    """TFLOP of one UNet pass over one caption, of the VAE; what watching adds; its running sums in MiB."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    shapes, latent = FAMILIES[family], side // 8
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=latent, **shapes)
        vae = AutoencoderKL(**VAE)
        inputs: dict[str, Any] = {
            "sample": torch.empty(1, 4, latent, latent),
            "timestep": torch.empty(()),
            "encoder_hidden_states": torch.empty(1, 77, shapes["cross_attention_dim"]),
        }
        if family == "SDXL":
            more = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
            inputs["added_cond_kwargs"] = more
        with FlopCounterMode(display=False) as plain:
            unet(**inputs)
        with FlopCounterMode(display=False) as watched, AttentionCapture(unet, [COLUMNS]) as capture:
            unet(**inputs)
        with FlopCounterMode(display=False) as decoding:
            vae.decode(torch.empty(1, 4, latent, latent))
    return {
        "pass": plain.get_total_flops() / 1e12,
        "vae": decoding.get_total_flops() / 1e12,
        "watching": (watched.get_total_flops() - plain.get_total_flops()) / 1e12,
        "sums": sum(acc.numel() * 4 for acc in capture._sums.values()) / 2**20,
    }


def days(seconds: float, captions: int, devices: int) -> float:
    """Days for so many captions at that many seconds a picture on each of so many devices."""
    return seconds * captions / devices / 86400


def parameters(family: str) -> int:
    """Numbers in a generator's weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        parts: list[Any] = [UNet2DConditionModel(sample_size=64, **FAMILIES[family]), AutoencoderKL(**VAE)]
        for width, layers in TEXT[family]:
            sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
            parts.append(CLIPTextModel(CLIPTextConfig(num_attention_heads=width // 64, **sizes)))
    return sum(p.numel() for part in parts for p in part.parameters())


def tell_memory(given: Any) -> None:
    """GB of weights: generators in single and half precision, and beside the encoders of a preset."""
    beside = {}
    for size in CLIP_SHAPES:
        found = random_encoders(size)
        models = (found.clip.model, found.dense.model)
        beside[size] = sum(p.numel() for model in models for p in model.parameters())
    rows = []
    for family in FAMILIES:
        single, half = (parameters(family) * size / 1e9 for size in (4, 2))
        row: dict[str, Any] = {"model": family, "float32 GB": single, "float16 GB": half}
        for size, count in beside.items():
            row[f"float16 and {size}'s encoders"] = half + 4 * count / 1e9
            row[f"float32 and {size}'s encoders"] = single + 4 * count / 1e9
        rows.append(row)
    report("generation: weights in memory", given, rows)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--captions", type=int, default=600_000)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--rate", type=float, default=100.0, help="TFLOP/s a device sustains (default 100)")
    parser.add_argument("--seconds", type=float, help="measured for one picture; only says the days then")
    parser.add_argument("--memory", action="store_true", help="only count the weights")
    given = begin(parser)
    if given.memory:
        tell_memory(given)
        return
    if given.seconds is not None:
        span = days(given.seconds, given.captions, given.devices)
        print(
            f"{given.captions} captions, {given.devices} device(s), {given.seconds} s each: {span:.1f} days"
        )
        return
    costs: dict[tuple[str, int], dict[str, float]] = {}
    rows = []
    for family, side, steps, guided in CASES[:1] if given.quick else CASES:
        cost = costs.setdefault((family, side), {}) or step_cost(family, side)
        costs[family, side] = cost
        passes = steps * (2 if guided else 1)
        work = passes * cost["pass"] + cost["vae"]
        rows.append(
            {
                **{"model": family, "picture": f"{side} px", "steps": steps, "guided": guided},
                "TFLOP a picture": work,
                "watching adds": steps * cost["watching"] / work,
                "sums MiB a picture": cost["sums"],
                "s a picture (estimate)": work / given.rate,
                "days (estimate)": days(work / given.rate, given.captions, given.devices),
            }
        )
    report(
        f"generation: {given.captions} captions, {given.devices} device(s) at {given.rate} TFLOP/s",
        given,
        rows,
    )


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
