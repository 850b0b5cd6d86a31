"""Small random pipelines of the true classes, and DAAM's maps by a slow way that stores everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from freeda.options import Attribution

FAMILIES = ("sd1", "sd2", "sdxl")
DOWN, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


def small_pipeline(family: str, tokenizer: Any, seed: int = 0) -> Any:
    """A pipeline of the family's own class and structure: 4 levels (XL: 3), latents 1/8 of the picture."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vae = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    )
    noise = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
    common: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
    }
    if family == "sdxl":
        joint = 12
        unet = diffusers.UNet2DConditionModel(
            **common,
            block_out_channels=(8, 16, 16),
            down_block_types=("DownBlock2D", DOWN, DOWN),
            up_block_types=(UP, UP, "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(1, 2, 4),
            use_linear_projection=True,
            cross_attention_dim=32,  # the two encoders' states side by side
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + joint,
        )
        second = CLIPTextConfig(**{**text, "hidden_act": "gelu", "projection_dim": joint})
        pipe = diffusers.StableDiffusionXLPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
            text_encoder_2=CLIPTextModelWithProjection(second),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=unet,
            scheduler=diffusers.EulerDiscreteScheduler(**noise),
            add_watermarker=False,
        )
    else:
        later = family == "sd2"
        unet = diffusers.UNet2DConditionModel(
            **common,
            block_out_channels=(8, 16, 16, 16),
            down_block_types=(DOWN, DOWN, DOWN, "DownBlock2D"),
            up_block_types=("UpBlock2D", UP, UP, UP),
            cross_attention_dim=16,
            attention_head_dim=(1, 2, 2, 4) if later else 2,  # diffusers means the number of heads
            use_linear_projection=later,
            upcast_attention=later,
        )
        scheduler = (
            diffusers.DDIMScheduler(**noise, prediction_type="v_prediction", clip_sample=False)
            if later
            else diffusers.PNDMScheduler(**noise, skip_prk_steps=True)
        )
        pipe = diffusers.StableDiffusionPipeline(
            vae=vae,
            text_encoder=CLIPTextModel(
                CLIPTextConfig(**{**text, "hidden_act": "gelu" if later else "quick_gelu"})
            ),
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    for name, weight in unet.named_parameters():
        if "attn2.to_q" in name or "attn2.to_k" in name:
            weight.data *= 6  # attention as drawn at random is all but flat: nothing could go wrong in it
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(
    pipe: Any,
    texts: Sequence[str],
    guidance: float = 3.0,
    size: tuple[int, int] = (128, 128),
    steps: int = 2,
    **more: Any,
) -> npt.NDArray[np.float32]:
    """(n, H, W, 3): one picture a text, its noise from the text's place in the list."""
    generators = [torch.Generator("cpu").manual_seed(i) for i in range(len(texts))]
    images: npt.NDArray[np.float32] = pipe(
        list(texts),
        height=size[0],
        width=size[1],
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generators,
        output_type="np",
        **more,
    ).images
    return images


class _Storing:
    """Attention in the plainest way, one picture and one head at a time, every probability kept."""

    def __init__(self, kept: list[torch.Tensor]) -> None:
        self._kept = kept

    def __call__(
        self, attn: Any, hidden: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        q, k, v = attn.to_q(hidden), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        d = q.shape[-1] // attn.heads
        seen = torch.zeros(len(q), attn.heads, q.shape[1], k.shape[1])
        out = torch.zeros_like(q)
        for i in range(len(q)):
            for head in range(attn.heads):
                part = slice(head * d, head * d + d)
                scores = q[i, :, part] @ k[i, :, part].T / math.sqrt(d)
                e = (scores - scores.max()).exp()
                seen[i, head] = e / e.sum(1, keepdim=True)
                out[i, :, part] = seen[i, head] @ v[i, :, part]
        self._kept.append(seen)
        return attn.to_out[1](attn.to_out[0](out))


def reference_maps(
    pipe: Any,
    texts: Sequence[str],
    guidance: float,
    size: tuple[int, int],
    steps: int,
    how: Attribution | None = None,
    words: Sequence[Sequence[int]] = (),
) -> torch.Tensor:
    """Maps of every text position, (n, text positions, h, w), from all attention that every step had."""
    how = how or Attribution()
    latent = (size[0] // 8, size[1] // 8)
    kinds = {"down-up": ("down", "up_"), "down": ("down",), "up": ("up_",), "all": ("down", "up_", "mid_")}
    store: dict[str, list[torch.Tensor]] = {}
    before = dict(pipe.unet.attn_processors)
    mine = dict(before)
    for name in before:
        if "attn2" in name and name.startswith(kinds[how.blocks]):
            mine[name] = _Storing(store.setdefault(name, []))
    pipe.unet.set_attn_processor(mine)
    try:
        draw(pipe, texts, guidance, size, steps)
    finally:
        pipe.unet.set_attn_processor(before)
    n, layers = len(texts), []
    for calls in store.values():
        h, w, level = latent[0], latent[1], 0
        while h * w != calls[0].shape[2]:
            h, w, level = (h + 1) // 2, (w + 1) // 2, level + 1
        if level in how.left_out:
            continue
        heads = []
        for head in range(calls[0].shape[1]):
            total = torch.zeros(n, calls[0].shape[3], h * w)
            for number, seen in enumerate(calls):
                if not how.from_step <= (number + 0.5) / len(calls) <= how.to_step:
                    continue
                for i in range(n):
                    p = seen[i if guidance <= 1 else n + i, head]
                    if how.normalisation == "words":
                        among = torch.zeros_like(p)
                        among[:, list(words[i])] = p[:, list(words[i])]
                        p = among / among.sum(1, keepdim=True)
                    if how.normalisation == "step":
                        p = p / p.max(0).values
                    total[i] += p.T
            up = F.interpolate(total.view(n, -1, h, w), latent, mode="bicubic").clamp(min=0)
            if how.normalisation == "head":
                up = up / up.amax((2, 3), keepdim=True)
            heads.append(up)
        layers += [torch.stack(heads).amax(0)] if how.heads == "max" else heads
    return torch.stack(layers).mean(0)
