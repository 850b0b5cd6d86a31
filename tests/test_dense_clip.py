"""The dense image-text branch against a plain reference, written from the papers' descriptions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from freeda.image_text import ClipEncoder, SiglipEncoder
from freeda.options import DenseClip
from freeda.presets import PRESETS
from freeda.reattend import attention, class_tokens

CPU = torch.device("cpu")


class _Bare:
    """An encoder's arithmetic without its proofs, which a random model need not pass."""

    def _prove(self) -> None: ...


class _Clip(_Bare, ClipEncoder): ...


class _Siglip(_Bare, SiglipEncoder): ...


class _Tokenizer:
    model_max_length = 8


def encoder(kind: str, layers: int, seed: int = 0):
    torch.manual_seed(seed)
    vision = {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 3,
        "image_size": 32,
        "patch_size": 8,
    }
    text = {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 30,
    }
    preset = replace(PRESETS["vit-b"], clip_size=32)
    if kind == "clip":
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=10))
        made = _Clip
    else:
        model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        made = _Siglip
    for p in model.parameters():
        p.data.normal_(0, 0.3)
    return made(model.eval(), _Tokenizer(), preset, CPU, torch.float32)


def plain_attention(guide, labels, side, how):
    """(N, N) of one picture, patch by patch."""
    up = F.interpolate(guide.permute(2, 0, 1)[None], (side, side), mode="bilinear", align_corners=False)[0]
    patches = [up[:, i, j].double() for i in range(side) for j in range(side)]
    n = len(patches)
    s = np.array([[float(a @ b / a.norm() / b.norm()) for b in patches] for a in patches])
    h, w = labels.shape
    region = [
        labels[int((i + 0.5) * h / side), int((j + 0.5) * w / side)] for i in range(side) for j in range(side)
    ]
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if how.attention == "proxy":
                value = how.gamma * (s[i, j] - how.beta * s.mean())
                out[i, j] = math.exp(value) if value >= 0 or i == j else 0.0
            else:
                sees = s[i, j] >= s[i].mean() if region[i] < 0 else region[i] == region[j] or not how.within
                out[i, j] = math.exp(how.sharpness * s[i, j]) if sees or i == j else 0.0
        out[i] /= out[i].sum()
    return out, np.array(region)


def plain_dense(one, image, guide, labels, how):
    """(N, D) of one picture (3, H, W), from the model's own parts."""
    vision, side = one.model.vision_model, 4
    pixels = one._pixels(image[None])
    x = vision.embeddings(pixels)
    if isinstance(one, ClipEncoder):
        x = vision.pre_layrnorm(x)
    states = [x]
    for block in vision.encoder.layers:
        x = block(x, None)
        states.append(x)
    last, block = states[-2][0], vision.encoder.layers[-1]
    own = block.self_attn
    first = len(last) - side * side

    def finish(t):
        t = vision.post_layernorm(own.out_proj(t))
        if isinstance(one, ClipEncoder):
            return one.model.visual_projection(t)
        return torch.stack([vision.head(row[None, None])[0] for row in t])

    weights, region = plain_attention(guide, labels, side, how)
    normed = block.layer_norm1(last)
    value = own.v_proj(normed)[first:]
    out = finish(torch.from_numpy(weights).float() @ value)
    depth = len(states) - 1
    chosen = [k for k in range(1, depth + 1) if depth // 4 < k <= 3 * depth // 4] or [1]
    middle = sum(states[k][0, first:] for k in chosen) / len(chosen)
    out = out + how.spatial * finish(own.v_proj(block.layer_norm1(middle)))
    if first and how.class_token:
        q, k = own.q_proj(normed[0]), own.k_proj(normed[first:])
        rows = []
        for i in range(side * side):
            inside = [j for j in range(side * side) if region[i] < 0 or region[j] == region[i]]
            heads = []
            for h in range(own.num_heads):
                part = slice(h * own.head_dim, (h + 1) * own.head_dim)
                logit = torch.stack([q[part] @ k[j, part] for j in inside]) / math.sqrt(own.head_dim)
                heads.append(logit.softmax(0) @ value[inside][:, part])
            rows.append(torch.cat(heads))
        out = out + how.class_token * finish(torch.stack(rows))
    return F.normalize(out, dim=-1)


HOWS = [
    DenseClip(),
    DenseClip(within=False, spatial=0.0),
    DenseClip(sharpness=9.0, class_token=0.0, spatial=0.3),
    DenseClip(attention="proxy", class_token=2.0),
    DenseClip(attention="proxy", beta=0.3, gamma=8.0, spatial=0.0, class_token=0.0),
]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("kind", "layers"), [("clip", 1), ("clip", 4), ("clip", 5), ("siglip", 3)])
@torch.inference_mode()
def test_patches_are_those_of_the_description(kind, layers, how):
    one, draws = encoder(kind, layers), torch.Generator().manual_seed(1)
    images = torch.rand(3, 3, 40, 48, generator=draws)
    guide = torch.randn(3, 6, 6, 7, generator=draws)
    rng = np.random.default_rng(0)
    maps = [
        rng.integers(-1, 3, (2, 2)).repeat(20, 0).repeat(24, 1),
        np.full((40, 48), -1),
        np.zeros((40, 48), np.int64),
    ]
    embedding, found = one.encode_dense(images, guide, maps, how)
    torch.testing.assert_close(embedding, one.encode_image(images), atol=1e-6, rtol=0)
    assert found.shape == (3, 4, 4, one.dim)
    for i in range(3):
        wanted = plain_dense(one, images[i], guide[i], maps[i], how)
        torch.testing.assert_close(found[i].reshape(16, -1), wanted, atol=3e-5, rtol=0)


def test_own_attention_gives_the_patches_as_they_are():
    one, images = encoder("clip", 2), torch.rand(2, 3, 32, 32)
    embedding, found = one.encode_dense(images, torch.rand(2, 3, 3, 5), [], DenseClip(attention="own"))
    torch.testing.assert_close(found, one.encode_patches(images), atol=1e-6, rtol=0)
    torch.testing.assert_close(embedding, one.encode_image(images), atol=1e-6, rtol=0)


def test_alike_patches_see_at_least_themselves():
    flat = torch.ones(1, 4, 4, 3)
    weights, _ = attention(flat, [np.full((8, 8), -1)], 4, DenseClip(attention="proxy"))
    torch.testing.assert_close(weights[0], torch.eye(16))
    weights, _ = attention(flat, [np.full((8, 8), -1)], 4, DenseClip())
    assert torch.isfinite(weights).all()


def test_a_region_far_below_the_best_logit_keeps_its_token():
    region = torch.tensor([[0, 0, 1, 1]])
    key = torch.tensor([[[200.0], [199.0], [-200.0], [-199.0]]])
    value = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
    found = class_tokens(torch.ones(1, 1, 1), key, value, region, 1)[0, :, 0]
    low, high = 1 / (1 + math.e), math.e / (1 + math.e)
    torch.testing.assert_close(found, torch.tensor([high + 2 * low] * 2 + [3 * low + 4 * high] * 2))
