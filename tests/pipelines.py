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


APART = ("alpha", "sigma", "sana", "sana1.5")
_PIECES = (
    *("cat", "dog", "sofa", "tree", "house", "sky", "water", "photo", "large", "red", "boat"),
    *("and", "the", "with", "on", "beside"),
)


def t5_pieces() -> list[tuple[str, float]]:
    """A sentencepiece vocabulary: some words, the beginning of one, single letters."""
    letters = "abcdefghijklmnopqrstuvwxyz.,'0123456789"
    words = [(f"▁{word}", -2.0) for word in ("a", "ze", *_PIECES)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    return [*special, *words, ("bra", -3.0), *((letter, -9.0) for letter in letters)]


def gemma_tokenizer() -> Any:
    """Gemma's class with some words; it pads on the left unless it is told otherwise, as the real one."""
    from transformers import GemmaTokenizer

    vocab = {t: i for i, t in enumerate(("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"))}
    for letter in sorted({*map(chr, range(33, 127)), "▁", "\n"}):
        vocab.setdefault(letter, len(vocab))
    merges = []
    for word in ("▁a", *(f"▁{word}" for word in _PIECES)):
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges)
    assert tokenizer.padding_side == "left"
    return tokenizer


def apart_pipeline(kind: str, seed: int = 0) -> Any:
    """A pipeline of PixArt (Alpha, Sigma) or Sana (1.5 normalises queries and keys), small and random."""
    import diffusers
    from transformers import Gemma2Config, Gemma2Model, T5Config, T5EncoderModel, T5Tokenizer

    torch.manual_seed(seed)
    if kind.startswith("sana"):
        tokenizer = gemma_tokenizer()
        small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
        small |= {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": len(tokenizer)}
        text = Gemma2Model(Gemma2Config(**small))
        six: dict[str, Any] = {}
        for part in ("encoder", "decoder"):
            six |= {f"{part}_block_out_channels": (8,) * 6, f"{part}_layers_per_block": (1,) * 6}
            six |= {f"{part}_block_types": "ResBlock", f"{part}_qkv_multiscales": ((),) * 6}
        vae = diffusers.AutoencoderDC(latent_channels=4, attention_head_dim=2, **six)
        denoiser = diffusers.SanaTransformer2DModel(
            **{"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8},
            **{"num_layers": 2, "num_cross_attention_heads": 2, "cross_attention_head_dim": 8},
            **{"cross_attention_dim": 16, "caption_channels": 16, "sample_size": 4},
            qk_norm="rms_norm_across_heads" if kind == "sana1.5" else None,
        )
        scheduler = diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
        pipe = diffusers.SanaPipeline(tokenizer, text, vae, denoiser, scheduler)
    else:
        tokenizer = T5Tokenizer(vocab=t5_pieces())
        small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        text = T5EncoderModel(T5Config(**small, vocab_size=len(tokenizer), feed_forward_proj="gated-gelu"))
        denoiser = diffusers.PixArtTransformer2DModel(
            **{"in_channels": 4, "out_channels": 8, "num_attention_heads": 3, "attention_head_dim": 8},
            **{"num_layers": 2, "cross_attention_dim": 24, "caption_channels": 16},
            sample_size=128 if kind == "alpha" else 16,  # 128: it is told the picture's size as well
        )
        vae = diffusers.AutoencoderKL(
            **{"block_out_channels": (4,) * 4, "latent_channels": 4, "norm_num_groups": 4},
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
        family = diffusers.PixArtAlphaPipeline if kind == "alpha" else diffusers.PixArtSigmaPipeline
        pipe = family(tokenizer, text, vae, denoiser, diffusers.DPMSolverMultistepScheduler())
    for name, weight in [*text.named_parameters(), *denoiser.named_parameters()]:
        if weight.ndim > 1 and "norm" not in name:
            torch.nn.init.normal_(weight, std=0.2)  # attention as drawn at random is all but flat
    for part in (text, denoiser, vae):
        part.eval()
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
