"""CLIP for the small world: pictures against captions, and against single words in prompt templates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from ...options import TEMPLATES
from ...presets import CLIP_MEAN, CLIP_STD
from ..scenes import SIZE
from .common import Draws, Recipe, augment, batch_of, fit
from .data import Pairs
from .words import FORMS, present

LENGTH = 32
RECIPE = Recipe(steps=2400, batch=96, rate=1e-3)
PROMPTS = (*TEMPLATES["sub-imagenet-7"], *TEMPLATES["simple"], "a {}", "{}", "the {}")


def make_tokenizer(captions: list[list[str]]) -> CLIPTokenizer:
    """A CLIP tokenizer whose byte-pair merges are learnt from the captions and the prompt templates."""
    shell = CLIPTokenizer()
    texts = [t for group in captions[:4000] for t in group] + [
        p.format(w) for p in PROMPTS for w in FORMS
    ] * 20
    model = Tokenizer(BPE(end_of_word_suffix="</w>"))
    model.normalizer, model.pre_tokenizer = (
        shell.backend_tokenizer.normalizer,
        shell.backend_tokenizer.pre_tokenizer,
    )
    alphabet = sorted(ByteLevel.alphabet())
    model.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=1400, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
        ),
    )
    learnt = json.loads(model.to_str())["model"]
    names = list(
        dict.fromkeys([*sorted(learnt["vocab"], key=learnt["vocab"].get), *(t + "</w>" for t in alphabet)])
    )
    names += ["<|startoftext|>", "<|endoftext|>"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(names)}, merges=merges, model_max_length=LENGTH)


def make_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    torch.manual_seed(0)
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPModel(
        CLIPConfig(
            text_config={
                "vocab_size": len(tokenizer),
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "hidden_act": "relu",
                "max_position_embeddings": LENGTH,
                **ends,
            },
            vision_config={
                "hidden_size": 160,
                "intermediate_size": 480,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "hidden_act": "relu",
                "image_size": SIZE,
                "patch_size": 16,
            },
            projection_dim=128,
        )
    )


class _Learner(nn.Module):
    """CLIP with the bias and scale of its word objective (dropped after training)."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip
        self.bias = nn.Parameter(torch.tensor(-4.0))
        self.scale = nn.Parameter(torch.tensor(2.5))


def train(pairs: Pairs, folder: Path, out: Path, device: torch.device, recipe: Recipe = RECIPE) -> None:
    """Trains CLIP and writes model and tokenizer to `out` (transformers' folder format)."""
    tokenizer = make_tokenizer(pairs.captions)
    learner = _Learner(make_model(tokenizer)).to(device)
    clip = learner.clip
    words = torch.from_numpy(present(pairs.captions))
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    ids = {p: tokenizer([p.format(w) for w in FORMS], padding=True, return_tensors="pt") for p in PROMPTS}

    def embed_text(batch: dict[str, Tensor]) -> Tensor:
        hidden = clip.text_model(**{k: v.to(device) for k, v in batch.items()}).pooler_output
        return F.normalize(clip.text_projection(hidden), dim=-1)

    def embed_image(x: Tensor) -> Tensor:
        return F.normalize(clip.visual_projection(clip.vision_model((x - mean) / std).pooler_output), dim=-1)

    def loss(draws: Draws) -> Tensor:
        chosen = draws.numpy.choice(len(pairs), recipe.batch, replace=False)
        v = embed_image(augment(batch_of(pairs.images, chosen, device), draws))
        texts = [pairs.captions[i][draws.numpy.integers(5)] for i in chosen]
        t = embed_text(tokenizer(texts, padding=True, return_tensors="pt"))
        logits = clip.logit_scale.exp().clamp(max=50) * v @ t.T
        target = torch.arange(len(chosen), device=device)
        pairwise = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        w = embed_text(ids[PROMPTS[draws.numpy.integers(len(PROMPTS))]])
        said = words[torch.from_numpy(chosen)].float().to(device)
        word = F.binary_cross_entropy_with_logits(learner.scale.exp() * v @ w.T + learner.bias, said)
        return pairwise + 4 * word

    def probe() -> str:
        chosen = np.arange(256)
        v = embed_image(batch_of(pairs.images, chosen, device))
        t = embed_text(tokenizer([pairs.captions[i][0] for i in chosen], padding=True, return_tensors="pt"))
        w = embed_text(ids["a photo of the large {}."])
        scores, said = (v @ w.T).cpu(), words[:256]
        better = (scores[said].view(-1, 1) > scores[~said].view(1, -1)).float().mean()
        right = ((v @ t.T).argmax(1).cpu() == torch.arange(256)).float().mean()
        return (
            f"in-batch accuracy of 256 {right:.3f}  word AUC {better:.3f}  "
            f"cosine said {scores[said].mean():.3f} unsaid {scores[~said].mean():.3f}"
        )

    fit("clip", learner, recipe, loss, folder, probe)
    clip.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
