"""Encoders of one space for texts and pictures, through transformers: CLIP, SigLIP and SigLIP 2."""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from .errors import InputError, ModelError, shortened
from .options import DenseClip
from .precision import autocast, lower_precision
from .presets import CLIP_MEAN, CLIP_STD, Preset
from .proof import check_heeds, check_tokenizer, probe_pictures
from .reattend import attention, class_tokens


class ImageTextEncoder(Protocol):
    """What the method asks of the model that words and windows meet in; docs/extending.md has an example."""

    name: str
    """What banks remember it by, where it is not a model of the hub."""
    dim: int
    """D, the width of the joint space."""

    def encode_text(
        self, texts: Sequence[str], *, called: Callable[[int], str] | None = None
    ) -> torch.Tensor:
        """Embed prompts: (N, D) float32, NOT normalised: prompts of one word are averaged before.

        `called` says what an error calls the text at an index. Raise InputError for a text too long.
        """

    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        """Embed pictures (B, 3, H, W), float RGB in [0, 1], any size: (B, D) float32, L2-normalised."""

    def encode_patches(self, x: torch.Tensor) -> torch.Tensor:
        """Embed the patches of pictures: (B, gh, gw, D) float32, L2-normalised."""


class Pixels:
    """Resize to a square and normalise by mean and standard deviation."""

    def __init__(
        self, size: int, mode: str, mean: Sequence[float], std: Sequence[float], device: torch.device
    ):
        self.size, self.mode = size, mode
        self.mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.mean.device, torch.float32)
        if x.shape[-2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode=self.mode, align_corners=False, antialias=False)
        return (x - self.mean) / self.std


class TransformersEncoder(ABC):
    """What CLIP and SigLIP have in common.

    `dtype` is that of the image model's matrix products. Text is always read in float32: it is read once, and
    a vocabulary must not depend on the precision in which photographs are encoded.
    """

    name: str
    """What messages call it."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Mean and standard deviation of the pixels that such a model was trained with."""

    @staticmethod
    def load_tokenizer(place: str, **_: Any) -> Any:
        """Read the tokenizer of a model's folder."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(place)

    def __init__(self, model: Any, tokenizer: Any, preset: Preset, device: torch.device, dtype: torch.dtype):
        self.model, self.tokenizer, self.device, self.dtype = model, tokenizer, device, dtype
        self.dim: int = joint_width(model.config)
        """D, the width of the joint space."""
        self.max_tokens: int = min(
            tokenizer.model_max_length, model.config.text_config.max_position_embeddings
        )
        """Longest prompt, start and end token included."""
        size = preset.clip_size or self._usual_size()
        mean, std = preset.clip_mean or self.mean, preset.clip_std or self.std
        self._pixels = Pixels(size, "bicubic", mean, std, device)
        self._patch: int = model.config.vision_config.patch_size
        self._side = size // self._patch
        # Asked for only when needed: interpolating positions to their own size is not free of rounding.
        self._interpolate = size != self._usual_size()
        lower_precision(model.vision_model, dtype)
        self._prove()

    @torch.inference_mode()
    def _prove(self) -> None:
        """Raise ModelError for a tokenizer of another model, and for towers that do not heed their input."""
        try:
            check_tokenizer(self.tokenizer, self.model.config.text_config)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error
        check_heeds(
            F.normalize(self.encode_text(["a photo of a cat", "a sofa"]), dim=-1), f"{self.name}'s text model"
        )
        with autocast(self.device, self.dtype):
            seen = self._read(probe_pictures(4 * self._patch, self.device), interpolate=True)
        check_heeds(seen.pooler_output, f"{self.name}'s image model")

    @torch.inference_mode()
    def encode_text(
        self, texts: Sequence[str], batch_size: int = 256, *, called: Callable[[int], str] | None = None
    ) -> torch.Tensor:
        """Embed prompts: (N, D) float32 in the joint space, NOT normalised.

        Prompts of like length share a batch. Raises InputError for a prompt beyond `max_tokens` and for one
        that spells out a token of the tokenizer's own, such as the end, which would cut it there; `called`
        says what the first of these errors calls the text at an index, where that is more than the text.
        """
        out = torch.zeros(len(texts), self.dim, device=self.device)
        if not texts:
            return out
        for text in texts:
            self._check_plain(text)
        tokens = self.tokenizer(
            [self._tidy(text) for text in texts], padding=False, truncation=False, verbose=False
        )["input_ids"]
        for i, (text, ids) in enumerate(zip(texts, tokens, strict=True)):
            if len(ids) > self.max_tokens:
                name = called(i) if called else f"text {shortened(text, 80)}"
                raise InputError(
                    f"{name} is {len(ids)} tokens long: this model reads at most {self.max_tokens}"
                )
        order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids = torch.tensor(self._pad([tokens[i] for i in rows]), device=self.device)
            out[torch.tensor(rows, device=self.device)] = self._pool(ids).float()
        if not torch.isfinite(out).all():
            raise ModelError(f"{self.name}'s text model gave NaN or infinity: its weights are damaged")
        return out

    @torch.inference_mode()
    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        """Embed pictures (B, 3, H, W), float RGB in [0, 1], any size: (B, D) float32, L2-normalised.

        The picture is resized to the model's square, bicubic without antialias, its aspect not kept.
        """
        return F.normalize(self._project(self._see(x).pooler_output.float()), dim=-1)

    @torch.inference_mode()
    def encode_patches(self, x: torch.Tensor) -> torch.Tensor:
        """Embed the patches of pictures: (B, gh, gw, D) float32, L2-normalised."""
        return self._grid(self._patches(self._see(x).last_hidden_state.float()))

    @torch.inference_mode()
    def encode_dense(
        self, x: torch.Tensor, guide: torch.Tensor, regions: Sequence[Any], how: DenseClip
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and their patches in one pass: (B, D) as `encode_image`, and (B, gh, gw, D), all unit.

        `guide` (B, g, g, C) are the dense encoder's patches of the same pictures, `regions` a map (H, W) each
        of whole numbers, below 0 in none. The last block has the attention that `how` names, and neither
        residual nor feed-forward (`reattend`); the middle layers' tokens and the regions' class tokens go
        through the same values and projections, and are added in the joint space by their weights.
        """
        seen = self._see(x, output_hidden_states=how.attention != "own")
        embedding = F.normalize(self._project(seen.pooler_output.float()), dim=-1)
        if how.attention == "own":
            return embedding, self._grid(self._patches(seen.last_hidden_state.float()))
        *earlier, last, _ = seen.hidden_states
        block, first = self.model.vision_model.encoder.layers[-1], last.shape[1] - self._side**2
        weights, inside = attention(guide, regions, self._side, how)

        def values(tokens: torch.Tensor) -> torch.Tensor:
            return block.self_attn.v_proj(block.layer_norm1(tokens)).float()

        def joint(mixed: torch.Tensor) -> torch.Tensor:
            return self._finish(block.self_attn.out_proj(mixed).float()).float()

        with autocast(self.device, self.dtype):
            value = values(last[:, first:])
            found = joint(weights @ value)
            if how.spatial:
                depth = len(earlier) + 1
                middle = torch.stack(
                    seen.hidden_states[depth // 4 + 1 : max(3 * depth // 4, depth // 4 + 1) + 1]
                )
                found = found + how.spatial * joint(values(middle.mean(dim=0)[:, first:]))
            if how.class_token and first:
                normed = block.layer_norm1(last)
                query, key = block.self_attn.q_proj(normed[:, :1]), block.self_attn.k_proj(normed[:, first:])
                tokens = class_tokens(query.float(), key.float(), value, inside, block.self_attn.num_heads)
                found = found + how.class_token * joint(tokens)
        return embedding, self._grid(found)

    def _grid(self, patches: torch.Tensor) -> torch.Tensor:
        return F.normalize(patches, dim=-1).reshape(len(patches), self._side, self._side, self.dim)

    def _check_plain(self, text: str) -> None:
        own = tuple(self.tokenizer.all_special_tokens)
        if any(token in text for token in own):
            raise InputError(
                f"text {shortened(text, 80)} holds one of {own}, which mean something else to this model"
            )

    def _see(self, x: torch.Tensor, **asked: bool) -> Any:
        with autocast(self.device, self.dtype):
            return self._read(self._pixels(x), self._interpolate, **asked)

    def _read(self, pixels: torch.Tensor, interpolate: bool, **asked: bool) -> Any:
        return self.model.vision_model(pixel_values=pixels, interpolate_pos_encoding=interpolate, **asked)

    def _usual_size(self) -> int:
        return int(self.model.config.vision_config.image_size)

    def _tidy(self, text: str) -> str:
        return text

    @abstractmethod
    def _pad(self, tokens: list[list[int]]) -> list[list[int]]:
        """Bring a batch of token lists to one length."""

    @abstractmethod
    def _pool(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, D) embeddings of token lists (B, T)."""

    @abstractmethod
    def _project(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, D) of the image model's pooled output."""

    @abstractmethod
    def _patches(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, D) of the image model's last tokens, those of no patch left out."""

    @abstractmethod
    def _finish(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, D) of tokens (B, N, C) of patches as they leave the last block."""


class ClipEncoder(TransformersEncoder):
    """CLIP: a causal text model, pooled at its end token; both sides projected."""

    name, mean, std = "CLIP", CLIP_MEAN, CLIP_STD

    @torch.inference_mode()
    def encode_tokens(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        """One text as a whole and token by token: (D,) and (T, D) float32 in the joint space, NOT normalised.

        A token's vector is its final-layer state, after CLIP's final layer norm, through the text projection;
        the whole's is its end token's. T counts the start and end token; a text beyond `max_tokens` is cut
        as CLIP's tokenizer cuts, the end token kept. Raises InputError for one that spells that token out.
        """
        self._check_plain(text)
        ids = self.tokenizer(text, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        read = self.model.text_model(input_ids=ids["input_ids"].to(self.device))
        whole = self.model.text_projection(read.pooler_output[0]).float()
        tokens = self.model.text_projection(read.last_hidden_state[0]).float()
        if not (torch.isfinite(whole).all() and torch.isfinite(tokens).all()):
            raise ModelError("CLIP's text model gave NaN or infinity: its weights are damaged")
        return whole, tokens

    def _pad(self, tokens: list[list[int]]) -> list[list[int]]:
        # To the longest of the batch only: the model is causal, what follows the end token changes nothing.
        longest, pad = max(map(len, tokens)), self.tokenizer.pad_token_id or 0
        return [ids + [pad] * (longest - len(ids)) for ids in tokens]

    def _pool(self, ids: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)
        return pooled

    def _project(self, pooled: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = self.model.visual_projection(pooled)
        return projected

    def _patches(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._finish(tokens[:, 1:])

    def _finish(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._project(self.model.vision_model.post_layernorm(tokens))


class SiglipEncoder(TransformersEncoder):
    """SigLIP and SigLIP 2 (Zhai et al., ICCV 2023; Tschannen et al., 2025), fixed size or NaFlex.

    The text model sees every token, padding too, and is read at the last place: texts are always brought to
    its full length, as in training, and lower case; SigLIP's first tokenizer knows no punctuation either. An
    attention head pools the patches of a picture; a patch's own embedding is that head's of it alone. A
    NaFlex model is shown squares of as many patches as it was trained with.
    """

    name, mean, std = "SigLIP", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    @staticmethod
    def load_tokenizer(place: str, **_: Any) -> Any:
        """Read tokenizer.json itself: the class that a SigLIP names asks for a package that this spares."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(place)

    def _tidy(self, text: str) -> str:
        text = text.lower()
        if self.model.config.text_config.vocab_size == 32_000:  # the English SentencePiece model of SigLIP 1
            text = re.sub(r"\s+", " ", text.translate(str.maketrans("", "", string.punctuation))).strip()
        return text

    def _pad(self, tokens: list[list[int]]) -> list[list[int]]:
        pad = self.tokenizer.pad_token_id
        return [ids + [pad] * (self.max_tokens - len(ids)) for ids in tokens]

    def _pool(self, ids: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.model.text_model(input_ids=ids).pooler_output
        return pooled

    def _project(self, pooled: torch.Tensor) -> torch.Tensor:
        return pooled

    def _patches(self, tokens: torch.Tensor) -> torch.Tensor:
        alone: torch.Tensor = self.model.vision_model.head(tokens.reshape(-1, 1, tokens.shape[-1]))
        return alone.reshape(*tokens.shape[:2], self.dim)

    def _finish(self, tokens: torch.Tensor) -> torch.Tensor:
        return self._patches(self.model.vision_model.post_layernorm(tokens))

    def _read(self, pixels: torch.Tensor, interpolate: bool, **asked: bool) -> Any:
        if self.model.config.model_type == "siglip":
            return super()._read(pixels, interpolate, **asked)
        batch, side = len(pixels), pixels.shape[-1] // self._patch
        rows = pixels.unfold(2, self._patch, self._patch).unfold(3, self._patch, self._patch)
        patches = rows.permute(0, 2, 3, 4, 5, 1).reshape(batch, side * side, -1)  # row, column, colour
        return self.model.vision_model(
            pixel_values=patches,
            pixel_attention_mask=torch.ones(batch, side * side, dtype=torch.int64, device=pixels.device),
            spatial_shapes=torch.full((batch, 2), side, device=pixels.device),
            **asked,
        )

    def _usual_size(self) -> int:
        config = self.model.config.vision_config
        if self.model.config.model_type == "siglip":
            return int(config.image_size)
        return int(config.num_patches**0.5) * int(config.patch_size)


FAMILIES: dict[str, type[TransformersEncoder]] = {
    "clip": ClipEncoder,
    "siglip": SiglipEncoder,
    "siglip2": SiglipEncoder,
}
"""By the `model_type` of a configuration."""


def joint_width(config: Any) -> int:
    """The width of the joint space of a model with that configuration."""
    if config.model_type == "clip":
        return int(config.projection_dim)
    return int(getattr(config.text_config, "projection_size", None) or config.text_config.hidden_size)
