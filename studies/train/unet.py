"""The denoiser of the small world, and the StableDiffusionPipeline folder it ends up in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from .common import Draws, Recipe, fit, kept
from .data import Pairs, Run, patch_features
from .vae import encode

RECIPE = Recipe(steps=7500, stop=6076, batch=32, rate=8e-4, decay=0.01, average=0.998)
NEAR_FROM, NEAR_SHARE, NEAR_AT_FIRST = 3073, 0.8, 8000
"""From this step on, this share of the pictures are close-ups (the first so many): layouts first, then what
things look like."""
ALIGNED = Recipe(steps=5600, batch=32, rate=8e-4, decay=0.01, average=0.998, muon=True)
"""The second part: close-ups only, all of them, with the alignment below."""
ALIGNMENT = 0.5
"""Weight of the alignment: the middle of the denoiser, seen through a small head, shall say what the dense
encoder says of the clean picture (Yu et al., Representation Alignment for Generation, 2024)."""
NO_TEXT = 0.1
"""Share of captions replaced by the empty one, for classifier-free guidance."""
NO_END = 0.75
"""Share of captions whose end and padding states are the empty caption's, so that words must be read."""


def make_model(text_width: int) -> UNet2DConditionModel:
    # Words are read at 16 x 16 only (and in the middle): coarser layers would blur the words' maps.
    torch.manual_seed(3)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_scheduler() -> DDIMScheduler:
    # A terminal signal of exactly zero lets dark nights and white snow come out dark and white.
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def _latents(pairs: Pairs, vae: AutoencoderTiny, path: Path, device: torch.device) -> Tensor:
    """Scaled latents of every training picture, computed once."""
    if path.exists() and len(np.load(path, mmap_mode="r", allow_pickle=False)) != len(pairs):
        path.unlink()

    def make() -> NDArray[np.float32]:
        parts = [encode(vae, pairs, slice(i, i + 250), device).cpu() for i in range(0, len(pairs), 250)]
        return torch.cat(parts).numpy()

    return torch.from_numpy(np.array(kept(path, make)))


class _Aligned(nn.Module):
    """The denoiser and the head that its middle is aligned through (dropped after training)."""

    def __init__(self, unet: UNet2DConditionModel, dim: int) -> None:
        super().__init__()
        self.unet = unet
        width = unet.config.block_out_channels[-1]
        torch.manual_seed(4)
        self.head = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, dim, 1))
        self._seen: list[Tensor] = []
        unet.up_blocks[0].register_forward_hook(self._look)

    def _look(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self._seen = [output]

    def forward(self, noisy: Tensor, t: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        out = self.unet(noisy, t, words).sample
        return out, self.head(self._seen.pop())


def train(run: Run, out: Path) -> None:
    """Trains the denoiser on latents and writes a whole StableDiffusionPipeline folder to `out`."""
    pairs, near, folder, device = run.pairs, run.near, run.state, run.device
    clip, recipe, aligned = run.results["clip"], RECIPE.paced(run.pace), ALIGNED.paced(run.pace)
    text = CLIPTextModel.from_pretrained(clip, dtype=torch.float32).to(device).eval().requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(clip)
    vae = AutoencoderTiny.from_pretrained(run.results["vae"], torch_dtype=torch.float32).to(device).eval()
    far_latents = _latents(pairs, vae, folder / "latents.npy", device)
    near_latents = _latents(near, vae, folder / "latents-near.npy", device)
    scheduler = make_scheduler()
    signal = scheduler.alphas_cumprod.to(device)
    model = make_model(text.config.hidden_size).to(device, memory_format=torch.channels_last)

    def states(texts: list[str]) -> tuple[Tensor, Tensor]:
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(
            device
        )
        return text(ids)[0], ids == tokenizer.eos_token_id

    empty, _ = states([""])

    def loss(draws: Draws) -> Tensor:
        n_near = round(NEAR_SHARE * recipe.batch) if draws.step >= NEAR_FROM else 0
        chosen = draws.numpy.choice(len(pairs), recipe.batch - n_near, replace=False)
        texts = [pairs.captions[i][draws.numpy.integers(5)] for i in chosen]
        z = far_latents[torch.from_numpy(chosen)]
        if n_near:
            chosen = draws.numpy.choice(min(NEAR_AT_FIRST, len(near)), n_near, replace=False)
            texts += [near.captions[i][draws.numpy.integers(5)] for i in chosen]
            z = torch.cat([z, near_latents[torch.from_numpy(chosen)]])
            # Noise levels go up along the batch: near and far must not be told apart by them.
            order = draws.numpy.permutation(recipe.batch)
            z, texts = z[torch.from_numpy(order)], [texts[i] for i in order]
        noisy, t, target, read = noised(z, texts, draws)
        return F.mse_loss(model(noisy, t, read).sample, target)

    def noised(z: Tensor, texts: list[str], draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n, z = len(z), z.to(device)
        texts = ["" if draws.numpy.random() < NO_TEXT else t for t in texts]
        words, ends = states(texts)
        blank = draws.rand(n, 1).to(device) < NO_END
        words = torch.where((ends & blank)[..., None], empty, words)
        noise = draws.randn(*z.shape).to(device)
        # Stratified over the batch: every step sees all noise levels.
        t = ((torch.arange(n) + draws.rand(n)) / n * 1000).long().to(device)
        a = signal[t].view(-1, 1, 1, 1)
        noisy = (a.sqrt() * z + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        return noisy, t, a.sqrt() * noise - (1 - a).sqrt() * z, words

    fit("unet", model, recipe, loss, folder)
    said = patch_features(near, run.results["dense"], folder / "features-near.npy", device)
    learner = _Aligned(model, said.shape[1]).to(device)

    def aligned_loss(draws: Draws) -> Tensor:
        chosen = draws.numpy.choice(len(near), aligned.batch, replace=False)
        texts = [near.captions[i][draws.numpy.integers(5)] for i in chosen]
        noisy, t, target, read = noised(near_latents[torch.from_numpy(chosen)], texts, draws)
        out, seen = learner(noisy, t, read)
        there = torch.from_numpy(said[chosen].astype(np.float32)).to(device)
        return F.mse_loss(out, target) - ALIGNMENT * F.cosine_similarity(seen, there, dim=1).mean()

    fit("unet-aligned", learner, aligned, aligned_loss, folder)
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text.half(),
        tokenizer=tokenizer,
        unet=model.half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out)
