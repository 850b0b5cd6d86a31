"""The dense encoder of the small world: a ViT of DINOv2's architecture, taught what every patch shows.

Its teacher (`regions`) learnt from captions alone which word a superpixel shows; no mask is ever seen. The
encoder learns to say so for every patch, on pictures whose colours, scale and sharpness are changed, a third
of them softened by the autoencoder as generated pictures are. Words are unit vectors compared with patches by
cosine, so that cosines between mean patch features, which is what freeda matches with, are what is trained.
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

from freeda.miniature.scenes import HELD_OUT, SIZE, render
from freeda.presets import IMAGENET_MEAN, IMAGENET_STD

from . import regions
from .common import Draws, Recipe, augment, batch_of, fit, kept, random_view, view
from .data import FORMS, Pairs, Run
from .vae import encode

RECIPE = Recipe(steps=2900, batch=33, rate=1.5e-3, average=0.997)
PATCH = 8
SCALE = 14.0
SOFTENED = 6000
"""Training pictures also shown after a round trip through the autoencoder."""


WIDTH, HEADS, LAYERS = 128, 4, 4
PERIODS = (3, 4, 6, 8, 12, 16, 24, 32)
LOOKS = (
    ((0, 1), (0, -1), (1, 0), (-1, 0)),
    ((1, 1), (1, -1), (-1, 1), (-1, -1)),
    ((0, 2), (0, -2), (2, 0), (-2, 0)),
    ((0, 0), (0, 0), (3, 0), (-3, 0)),
)
"""Where each head of each layer looks at first: (down, right) in patches."""


def make_model() -> Dinov2Model:
    """The encoder before training. Its heads begin as if they were convolutions.

    A transformer from nothing needs many pictures to find out that neighbours matter. Positions start as
    sinusoids, and queries and keys as turns between them, so that every head looks at a neighbour of its own
    (after d'Ascoli et al., ConViT, 2021); all of it is then trained freely.
    """
    torch.manual_seed(2)
    model = Dinov2Model(
        Dinov2Config(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            mlp_ratio=3,
            image_size=SIZE,
            patch_size=PATCH,
            hidden_act="relu",
            drop_path_rate=0.0,
            layerscale_value=1.0,
        )
    )
    side = SIZE // PATCH
    waves = 2 * torch.pi / torch.tensor(PERIODS, dtype=torch.float32)
    n = len(PERIODS)
    at = torch.arange(side)[:, None] * waves
    axis = torch.cat([at.cos(), at.sin()], 1)
    y, x = axis[:, None].expand(side, side, 2 * n), axis[None].expand(side, side, 2 * n)
    with torch.no_grad():
        place = model.embeddings.position_embeddings
        place.zero_()
        place[0, 1:, : 4 * n] = torch.cat([y, x], -1).reshape(side * side, -1)
        for layer, looks in zip(model.encoder.layer, LOOKS, strict=True):
            attention = layer.attention
            for head, look in enumerate(looks):
                rows = slice(head * WIDTH // HEADS, head * WIDTH // HEADS + 4 * n)
                attention.q_proj.weight[rows] = 0
                attention.k_proj.weight[rows] = 0
                attention.q_proj.weight[rows, : 4 * n] = 1.1 * torch.block_diag(
                    *(_turn(waves * d) for d in look)
                )
                attention.k_proj.weight[rows, : 4 * n] = 1.1 * torch.eye(4 * n)
            for linear in (attention.v_proj, attention.o_proj, layer.mlp.fc1, layer.mlp.fc2):
                nn.init.xavier_uniform_(linear.weight, gain=0.7)
    return model


def _turn(angles: Tensor) -> Tensor:
    """Turns (cos a, sin a) pairs, all cosines first, by the angles: (2n, 2n)."""
    c, s = angles.cos().diag(), angles.sin().diag()
    return torch.cat([torch.cat([c, -s], 1), torch.cat([s, c], 1)])


class _Learner(nn.Module):
    """The encoder with its word vectors (dropped after training)."""

    def __init__(self, encoder: Dinov2Model) -> None:
        super().__init__()
        self.encoder = encoder
        self.words = nn.Parameter(torch.randn(len(FORMS), encoder.config.hidden_size))
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.std: Tensor
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled cosines of patches and words: (B, patches, words)."""
        tokens = self.encoder((x - self.mean) / self.std).last_hidden_state[:, 1:]
        return SCALE * F.normalize(tokens, dim=-1) @ F.normalize(self.words, dim=-1).T


def patch_targets(maps: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
    """What patches should say.

    `maps` (B, H, W) long region of every pixel, `names` (B, regions, words) the words of each region. Returns
    (B, patches, words) the mean of the words of a patch's pixels, summing to 1, and (B, patches) the share of
    its pixels that have any.
    """
    b, h, w = maps.shape
    rows = maps.view(b, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 1, 3, 2, 4).reshape(b, -1, PATCH**2)
    share = torch.zeros(b, rows.shape[1], names.shape[1], device=maps.device)
    share.scatter_add_(2, rows, torch.full(rows.shape, 1 / PATCH**2, device=maps.device))
    target = share @ names
    known = target.sum(-1)
    return target / known.clamp(min=1e-6)[..., None], known


def softened(pairs: Pairs, vae_folder: Path, path: Path, device: torch.device) -> NDArray[np.uint8]:
    """The first pictures through the autoencoder, with noise on their latents: how generated ones look."""

    def make() -> NDArray[np.uint8]:
        vae = AutoencoderTiny.from_pretrained(vae_folder, torch_dtype=torch.float32).to(device).eval()
        parts = []
        for i in range(0, min(SOFTENED, len(pairs)), 250):
            z = encode(vae, pairs, slice(i, i + 250), device)
            z = z + 0.2 * Draws("soft", i).randn(*z.shape).to(device)
            with torch.no_grad():
                y = vae.decoder(z / vae.config.scaling_factor)
            parts.append(((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(parts)

    return kept(path, make)


def _rarity(maps: NDArray[np.uint8], names: NDArray[np.float32]) -> Tensor:
    """(words,) one over the root of the share of pixels that show a word, in the first 2,000 pictures."""
    total = sum(
        np.bincount(m.ravel(), minlength=n.shape[0]) @ n
        for m, n in zip(maps[:2000], names[:2000], strict=True)
    )
    share = torch.from_numpy(np.asarray(total / np.sum(total), np.float32))
    return share.clamp(min=1e-4).rsqrt()


def train(run: Run, out: Path) -> None:
    """Trains the dense encoder and writes it to `out` (transformers' folder format)."""
    pairs, device, recipe = run.pairs, run.device, RECIPE.paced(run.pace)
    soft = softened(pairs, run.results["vae"], run.state / "softened.npy", device)
    region_maps, names = regions.name_regions(run)
    learner = _Learner(make_model()).to(device)
    rarity = _rarity(region_maps, names).to(device)

    def loss(draws: Draws) -> Tensor:
        third = recipe.batch // 3
        sharp = draws.numpy.choice(len(region_maps), recipe.batch - third, replace=False)
        blurred = draws.numpy.choice(min(len(soft), len(region_maps)), third, replace=False)
        chosen = np.concatenate([sharp, blurred])
        order = torch.from_numpy(draws.numpy.permutation(recipe.batch)).to(device)
        x = torch.cat([batch_of(pairs.images, sharp, device), batch_of(soft, blurred, device)])[order]
        maps = torch.from_numpy(region_maps[chosen]).to(device)[order]
        theta = random_view(draws, recipe.batch, crop=0.4)
        seen = view(maps[:, None].float(), theta, "nearest")[:, 0].long()
        target, known = patch_targets(seen, torch.from_numpy(names[chosen]).to(device)[order])
        log = learner(augment(x, draws, colour=0.5, blur=0.25, theta=theta)).log_softmax(-1)
        # Things are small: a patch weighs more the rarer its words are.
        weight = known * (target * rarity).sum(-1)
        return -((target * log).sum(-1) * weight).sum() / weight.sum()

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

    fit("dense", learner, recipe, loss, run.state, probe)
    learner.encoder.half().save_pretrained(out)
