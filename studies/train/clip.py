"""CLIP for the small world: pictures against captions, and against single words in prompt templates.

A first part learns from whole pictures, and mixes things up that rarely fill them. In the second half of the
pictures are close-ups, in which one thing at a time is large; patches learn from the dense encoder, which has
seen the same pictures and captions; and words must be found by some patch.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from freeda.miniature.scenes import SIZE
from freeda.miniature.things import THINGS
from freeda.options import TEMPLATES
from freeda.presets import CLIP_MEAN, CLIP_STD

from .common import Draws, Recipe, augment, batch_of, fit, random_view, view
from .data import FORMS, Pairs, Run, patch_features, present

LENGTH = 32
RECIPE = Recipe(steps=2400, batch=96, rate=1e-3)
THINGS_TOO = Recipe(steps=2000, batch=96, rate=1e-3, muon=True)
"""The second part's recipe."""
ALIGNMENT = 2.0
"""Weight of the second part's alignment: patches before the last layer, seen through a small head, shall say
what the dense encoder says of them, so that there is something to read."""
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
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    # Numbered by hand: the trainer numbers the letters that end a word in a new order every time.
    names = [*alphabet, *(t + "</w>" for t in alphabet), *("".join(m) for m in merges)]
    names = [*dict.fromkeys(names), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(names)}, merges=merges, model_max_length=LENGTH)


def kept_tokenizer(captions: list[list[str]], folder: Path) -> CLIPTokenizer:
    """The tokenizer in `folder`, made on first use: the trainer breaks ties anew every time, and a run that
    goes on must read its words as it did before."""
    kept = folder / "tokenizer"
    if not kept.exists():
        temporary = folder / "tokenizer.part"
        make_tokenizer(captions).save_pretrained(temporary)
        temporary.rename(kept)
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(kept)
    return tokenizer


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


class _Aligned(nn.Module):
    """The learner, the head its patches are aligned through, bias and scale of their word objective."""

    def __init__(self, learner: _Learner, dim: int) -> None:
        super().__init__()
        self.learner = learner
        width = learner.clip.config.vision_config.hidden_size
        torch.manual_seed(5)
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, dim))
        self.bias = nn.Parameter(torch.tensor(-6.0))
        self.scale = nn.Parameter(torch.tensor(2.5))


def train(run: Run, out: Path) -> None:
    """Trains CLIP and writes model and tokenizer to `out` (transformers' folder format)."""
    pairs, near, folder, device = run.pairs, run.near, run.state, run.device
    recipe, things = RECIPE.paced(run.pace), THINGS_TOO.paced(run.pace)
    tokenizer = kept_tokenizer(pairs.captions, folder)
    learner = _Learner(make_model(tokenizer)).to(device)
    clip = learner.clip
    words, near_words = (torch.from_numpy(present(p.captions)) for p in (pairs, near))
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    ids = {p: tokenizer([p.format(w) for w in FORMS], padding=True, return_tensors="pt") for p in PROMPTS}

    def embed_text(batch: dict[str, Tensor]) -> Tensor:
        hidden = clip.text_model(**{k: v.to(device) for k, v in batch.items()}).pooler_output
        return F.normalize(clip.text_projection(hidden), dim=-1)

    def embed_image(x: Tensor) -> Tensor:
        return F.normalize(clip.visual_projection(clip.vision_model((x - mean) / std).pooler_output), dim=-1)

    def objective(v: Tensor, texts: list[str], w: Tensor, said: Tensor) -> Tensor:
        t = embed_text(tokenizer(texts, padding=True, return_tensors="pt"))
        logits = clip.logit_scale.exp().clamp(max=50) * v @ t.T
        target = torch.arange(len(v), device=device)
        pairwise = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        word = F.binary_cross_entropy_with_logits(learner.scale.exp() * v @ w.T + learner.bias, said)
        return pairwise + 4 * word

    def random_words(draws: Draws) -> Tensor:
        return embed_text(ids[PROMPTS[draws.numpy.integers(len(PROMPTS))]])

    def texts_of(source: Pairs, chosen: NDArray[np.int64], draws: Draws) -> list[str]:
        return [source.captions[i][draws.numpy.integers(5)] for i in chosen]

    def both(draws: Draws) -> Tensor:
        chosen = draws.numpy.choice(len(pairs), recipe.batch, replace=False)
        v = embed_image(augment(batch_of(pairs.images, chosen, device), draws))
        said = words[torch.from_numpy(chosen)].float().to(device)
        texts = texts_of(pairs, chosen, draws)
        return objective(v, texts, random_words(draws), said)

    def seen(draws: Draws) -> Tensor:
        half = things.batch // 2
        images, texts, said, there = [], [], [], []
        for source, known, features in sources:
            chosen = draws.numpy.choice(len(source), half, replace=False)
            images.append(batch_of(source.images, chosen, device))
            texts.append(texts_of(source, chosen, draws))
            said.append(known[torch.from_numpy(chosen)].float().to(device))
            there.append(torch.from_numpy(features[chosen].astype(np.float32)).to(device))
        # Far and near by turns: augmentation softens the first pictures of a batch.
        x, s, f = (torch.stack(both, 1).flatten(0, 1) for both in (images, said, there))
        theta = random_view(draws, len(x))
        out = clip.vision_model((augment(x, draws, theta=theta) - mean) / std, output_hidden_states=True)
        v = F.normalize(clip.visual_projection(out.pooler_output), dim=-1)
        patches = learnt.head(out.hidden_states[-2][:, 1:])
        side = round(patches.shape[1] ** 0.5)
        wanted = F.adaptive_avg_pool2d(view(f, theta), side).flatten(2).transpose(1, 2)
        aligned = F.cosine_similarity(patches, wanted, dim=-1).mean()
        w = random_words(draws)
        last = clip.visual_projection(clip.vision_model.post_layernorm(out.last_hidden_state[:, 1:]))
        found = learnt.scale.exp() * F.normalize(last, dim=-1) @ w.T + learnt.bias
        somewhere = F.binary_cross_entropy_with_logits(found.logsumexp(1), s)
        captions = [t for both in zip(*texts, strict=True) for t in both]
        return objective(v, captions, w, s) + 4 * somewhere - ALIGNMENT * aligned

    def probe() -> str:
        chosen = np.arange(256)
        v = embed_image(batch_of(pairs.images, chosen, device))
        t = embed_text(tokenizer([pairs.captions[i][0] for i in chosen], padding=True, return_tensors="pt"))
        w = embed_text(ids["a photo of the large {}."])
        scores, said = (v @ w.T).cpu(), words[:256]
        better = (scores[said].view(-1, 1) > scores[~said].view(1, -1)).float().mean()
        right = ((v @ t.T).argmax(1).cpu() == torch.arange(256)).float().mean()
        mixed = w[[FORMS.index(n) for n in THINGS]]
        alike = (mixed @ mixed.T).fill_diagonal_(-1).max().item()
        apart = {
            w: float(scores[said[:, i], i].mean() - scores[~said[:, i], i].mean())
            for i, w in enumerate(FORMS)
            if w in THINGS
        }
        return (
            f"in-batch accuracy of 256 {right:.3f}  word AUC {better:.3f}  things' words at most {alike:.3f} "
            f"alike  cosine of what is there less "
            f"what is not: {' '.join(f'{w} {d:.2f}' for w, d in apart.items())}"
        )

    fit("clip", learner, recipe, both, folder, probe)
    sources = [
        (source, known, patch_features(source, run.results["dense"], folder / f"features{name}.npy", device))
        for source, known, name in ((pairs, words, ""), (near, near_words, "-near"))
    ]
    learnt = _Aligned(learner, sources[0][2].shape[1]).to(device)
    fit("clip-things", learnt, things, seen, folder, probe)
    clip.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
