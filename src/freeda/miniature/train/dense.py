"""The dense encoder of the small world: a ViT of DINOv2's architecture that learns what patches show.

It sees pictures and the words of their captions, never a mask. Two forces:
- *presence*: a word that was said must be found in a few patches, one that was not said in none
  (multiple-instance learning);
- *agreement*: every patch must be explained by one of the words that were said; the marginal likelihood lets
  the encoder find out which (expectation-maximisation, in its gradient form). Boxes of other pictures are
  pasted in, so that only what a patch looks like can tell.
Words are unit vectors compared with patches by cosine, so that cosines between mean patch features, which
is what freeda matches with, are what was trained.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from ...presets import IMAGENET_MEAN, IMAGENET_STD
from ..scenes import HELD_OUT, SIZE, render
from .common import Draws, Recipe, augment, batch_of, fit
from .data import Pairs
from .vae import encode
from .words import FORMS, present

RECIPE = Recipe(steps=4500, batch=33, rate=1.2e-3, average=0.997)
PATCH = 8
SCALE = 14.0
TOP = 8
"""Patches that must carry a word: about the area of the smallest thing."""
SOFTENED = 6000
"""Training pictures also shown after a round trip through the autoencoder."""


def make_model() -> Dinov2Model:
    torch.manual_seed(2)
    return Dinov2Model(
        Dinov2Config(
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            mlp_ratio=3,
            image_size=SIZE,
            patch_size=PATCH,
            hidden_act="relu",
            drop_path_rate=0.0,
            layerscale_value=1.0,
        )
    )


class _Learner(nn.Module):
    """The encoder with its word vectors (dropped after training)."""

    def __init__(self, encoder: Dinov2Model) -> None:
        super().__init__()
        self.encoder = encoder
        self.words = nn.Parameter(torch.randn(len(FORMS), encoder.config.hidden_size))
        self.bias = nn.Parameter(torch.full((len(FORMS),), -6.0))
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.std: Tensor
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled cosines of patches and words: (B, patches, words)."""
        tokens = self.encoder((x - self.mean) / self.std).last_hidden_state[:, 1:]
        return SCALE * F.normalize(tokens, dim=-1) @ F.normalize(self.words, dim=-1).T


def _patchwork(x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Pastes boxes of a neighbour in the batch into each picture.

    Without it attention to the whole picture would let every patch answer with the picture's ground. Returns
    the pictures and, per patch, whose words explain it: (B, patches) indices into the batch.
    """
    b, _, h, _ = x.shape
    side = h // PATCH
    owner = torch.arange(b).view(b, 1, 1).repeat(1, side, side)
    for i in range(b):
        for _ in range(int(draws.numpy.integers(0, 3))):
            hh, ww = draws.numpy.integers(side // 4, side // 4 * 3, 2)
            y0, x0 = draws.numpy.integers(0, side - hh + 1), draws.numpy.integers(0, side - ww + 1)
            owner[i, y0 : y0 + hh, x0 : x0 + ww] = (i + 1) % b
    own = owner == torch.arange(b).view(b, 1, 1)
    pixels = own.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)[:, None].to(x.device)
    return torch.where(pixels, x, x.roll(-1, 0)), owner.flatten(1)


def _presence(scores: Tensor, own: Tensor, said: Tensor, bias: Tensor) -> Tensor:
    """Multiple-instance loss: the TOP best patches of a picture decide whether a word is there."""
    # With less than half of the picture left, what was said may be covered: only whole-ish pictures count.
    whole = own.float().mean(1) > 0.6
    best = scores.masked_fill(~own[..., None], -1e4)[whole].topk(TOP, dim=1).values.mean(1)
    covered = own.float().mean(1)[whole][:, None]
    weight = torch.where(said[whole] > 0, covered, torch.ones_like(covered))
    return F.binary_cross_entropy_with_logits(best + bias, said[whole], weight=weight)


def _agreement(scores: Tensor, said: Tensor) -> Tensor:
    """Minus the log probability that one of the words said explains each patch: (B, patches) -> scalar."""
    log = scores.log_softmax(-1)
    return -log.masked_fill(said == 0, -1e4).logsumexp(-1).mean()


def softened(pairs: Pairs, vae_folder: Path, path: Path, device: torch.device) -> NDArray[np.uint8]:
    """The first pictures through the autoencoder, with noise on their latents: how generated ones look."""
    if not path.exists():
        vae = AutoencoderTiny.from_pretrained(vae_folder, torch_dtype=torch.float32).to(device).eval()
        parts = []
        for i in range(0, min(SOFTENED, len(pairs)), 250):
            z = encode(vae, pairs, slice(i, i + 250), device)
            z = z + 0.2 * Draws("soft", i).randn(*z.shape).to(device)
            with torch.no_grad():
                y = vae.decoder(z / vae.config.scaling_factor)
            parts.append(((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, np.concatenate(parts), allow_pickle=False)
        temporary.replace(path)
    pictures: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return pictures


def train(
    pairs: Pairs, folder: Path, out: Path, vae_folder: Path, device: torch.device, recipe: Recipe = RECIPE
) -> None:
    """Trains the dense encoder and writes it to `out` (transformers' folder format)."""
    soft = softened(pairs, vae_folder, folder / "softened.npy", device)
    learner = _Learner(make_model()).to(device)
    words = torch.from_numpy(present(pairs.captions)).float().to(device)

    def loss(draws: Draws) -> Tensor:
        third = recipe.batch // 3
        chosen = draws.numpy.choice(len(pairs), recipe.batch - third, replace=False)
        blurred = draws.numpy.choice(len(soft), third, replace=False)
        x = torch.cat([batch_of(pairs.images, chosen, device), batch_of(soft, blurred, device)])
        said = words[torch.from_numpy(np.concatenate([chosen, blurred]))]
        order = torch.from_numpy(draws.numpy.permutation(recipe.batch))
        x, owner = _patchwork(augment(x[order], draws, colour=0.5, blur=0.25), draws)
        said, owner = said[order], owner.to(device)
        scores = learner(x)
        own = owner == torch.arange(len(x), device=device)[:, None]
        return 10 * _presence(scores, own, said, learner.bias) + _agreement(scores, said[owner])

    scenes = [render(HELD_OUT, 10_000 + i) for i in range(60)]
    pictures = (
        torch.stack([torch.from_numpy(s.image) for s in scenes]).permute(0, 3, 1, 2).float().to(device) / 255
    )
    truth = np.stack([s.labels for s in scenes])

    def probe() -> str:
        """mIoU of patches against the class means of true masks: a measurement, never a training signal."""
        tokens = (
            learner.encoder((pictures - learner.mean) / learner.std).last_hidden_state[:, 1:].cpu().numpy()
        )
        at = truth[:, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].reshape(len(scenes), -1)
        half = len(scenes) // 2
        means = np.stack([tokens[:half][at[:half] == c].mean(0) for c in range(truth.max() + 1)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        guess = (tokens[half:] @ means.T).argmax(-1)
        iou = [
            np.logical_and(guess == c, at[half:] == c).sum()
            / max(np.logical_or(guess == c, at[half:] == c).sum(), 1)
            for c in range(len(means))
        ]
        return f"patch mIoU {np.mean(iou):.3f}  stuff {np.mean(iou[:9]):.3f}  things {np.mean(iou[9:]):.3f}"

    fit("dense", learner, recipe, loss, folder, probe)
    learner.encoder.half().save_pretrained(out)
