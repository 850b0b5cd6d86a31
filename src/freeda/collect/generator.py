"""Drawing captions with diffusers' Stable Diffusion pipeline, words watched while it draws."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..errors import InputError, ModelError
from ..options import CollectOptions
from ..precision import choose_device, choose_dtype
from ..presets import ModelSource
from ..weights import load_weights, quiet
from .attention import AttentionCapture


@dataclass(frozen=True)
class Drawn:
    """A batch of generated pictures with the attribution of the wanted text positions."""

    images: npt.NDArray[np.uint8]
    """(n, H, W, 3) RGB."""
    maps: list[torch.Tensor]
    """Per picture (wanted positions, h, w) float32 at the latent's size, see `AttentionCapture.maps`."""


def picture_seed(caption_id: str, seed: int = 0) -> int:
    """The seed of a caption's picture, 0 to 2**63 - 1: a hash of its id and the run's seed.

    So the picture does not depend on the batch size, the order of work or restarts.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{caption_id}".encode()).digest()[:8], "big") >> 1


class Generator:
    """A loaded text-to-image pipeline."""

    def __init__(self, pipe: Any) -> None:
        """`pipe` is a diffusers StableDiffusionPipeline; it is used as it is."""
        self.pipe = pipe
        pipe.set_progress_bar_config(disable=True)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer whose positions the attribution's columns are."""
        return self.pipe.tokenizer

    def draw(
        self,
        captions: Sequence[str],
        seeds: Sequence[int],
        columns: Sequence[Sequence[int]],
        options: CollectOptions,
    ) -> Drawn:
        """Draw one picture a caption, together; `columns[i]` are the text positions wanted for picture i.

        Noise comes from a CPU generator per caption, so that a picture is the same on every device and in
        every batch up to rounding. Raises ModelError if the pipeline yields NaN, InputError if it refuses.
        """
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        with AttentionCapture(self.pipe.unet, columns) as capture:
            try:
                images = self.pipe(
                    list(captions),
                    height=options.size,
                    width=options.size,
                    num_inference_steps=options.steps,
                    guidance_scale=options.guidance,
                    generator=generators,
                    output_type="np",
                ).images
            except ValueError as error:  # diffusers' answer to sizes and step counts it cannot do
                raise InputError(f"the generator refuses: {str(error).splitlines()[0]}") from error
        if not np.isfinite(images).all():
            raise ModelError(
                f"the generator drew NaN for caption {captions[0]!r} or its batch: use dtype float32"
            )
        return Drawn((images * 255).round().astype(np.uint8), capture.maps())


def load_generator(
    source: ModelSource, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> Generator:
    """Load a Stable Diffusion pipeline from the hub or a local folder; no safety checker, safetensors only.

    Raises ModelError, one line, when it cannot be had.
    """
    with quiet():
        from diffusers import StableDiffusionPipeline
        from diffusers.utils import logging

    on = choose_device(device)
    kind = choose_dtype(dtype, on)
    logging.disable_progress_bar()

    def load(place: str, **keywords: Any) -> Any:
        return StableDiffusionPipeline.from_pretrained(
            place,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            use_safetensors=True,
            **keywords,
        )

    pipe = load_weights(source, "generator", load)
    with quiet():
        pipe = pipe.to(device=on, dtype=kind)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.eval().requires_grad_(False)
    return Generator(pipe)
