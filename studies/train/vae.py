"""The autoencoder of the small world: 128 px pictures <-> 16 x 16 latents of four channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from .common import Draws, Recipe, batch_of, fit
from .data import Pairs, Run

RECIPE = Recipe(steps=3200, batch=32, rate=1.5e-3, decay=0.0, average=0.995)
CROP = 64
WIDTH = 48
NOISE = 0.15
"""Spread of the noise put on latents in training: the decoder learns to forgive the denoiser."""


def make_model() -> AutoencoderTiny:
    torch.manual_seed(1)
    return AutoencoderTiny(
        latent_channels=4,
        scaling_factor=1.0,
        encoder_block_out_channels=(WIDTH,) * 4,
        num_encoder_blocks=(0, 1, 1, 2),
        decoder_block_out_channels=(WIDTH,) * 4,
        num_decoder_blocks=(2, 1, 1, 0),
    )


def _gradient(x: Tensor) -> Tensor:
    return torch.cat([(x[..., 1:, :-1] - x[..., :-1, :-1]), (x[..., :-1, 1:] - x[..., :-1, :-1])], 1)


def train(run: Run, out: Path) -> None:
    """Trains on crops (the network is convolutional), scales latents to unit spread, writes to `out`."""
    pairs, device, recipe = run.pairs, run.device, RECIPE.paced(run.pace)
    model = make_model().to(device, memory_format=torch.channels_last)

    def loss(draws: Draws) -> Tensor:
        chosen = draws.numpy.choice(len(pairs), recipe.batch, replace=False)
        x = batch_of(pairs.images, chosen, device) * 2 - 1
        oy, ox = draws.numpy.integers(0, x.shape[-1] - CROP + 1, 2)
        x = x[..., oy : oy + CROP, ox : ox + CROP]
        x = (x.flip(-1) if draws.numpy.random() < 0.5 else x).contiguous(memory_format=torch.channels_last)
        z = model.encoder(x)
        y = model.decoder(z + NOISE * draws.randn(*z.shape).to(device))
        return (
            F.l1_loss(y, x)
            + 2 * F.mse_loss(y, x)
            + F.l1_loss(_gradient(y), _gradient(x))
            + 2e-3 * z.square().mean()
        )

    def probe() -> str:
        x = torch.from_numpy(np.array(pairs.images[:64])).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        z = model.encoder(x)
        error = (model.decoder(z).clamp(-1, 1) - x).div(2).square().mean()
        return f"PSNR {-10 * error.log10().item():.2f} dB  latent spread {z.std().item():.3f}"

    fit("vae", model, recipe, loss, run.state, probe)
    with torch.no_grad():
        spread = encode(model, pairs, slice(0, 512), device).std().item()
    model.register_to_config(scaling_factor=1.0 / spread)
    model.half().save_pretrained(out)


@torch.no_grad()
def encode(model: AutoencoderTiny, pairs: Pairs, part: slice, device: torch.device) -> Tensor:
    """Latents (n, 4, 16, 16) of a part of the training pictures, scaled as the pipeline scales them."""
    x = torch.from_numpy(np.array(pairs.images[part])).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents: Tensor = (
        model.encoder(x.contiguous(memory_format=torch.channels_last)) * model.config.scaling_factor
    )
    return latents
