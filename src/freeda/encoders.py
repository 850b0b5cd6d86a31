"""The three encoders of the method: CLIP text, CLIP image and dense patch features, through transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from .errors import InputError, ModelError, shortened
from .precision import autocast, choose_device, choose_dtype, lower_precision
from .presets import Preset
from .proof import check_heeds, check_tokenizer, probe_pictures
from .weights import config_of, identity_of, load_weights


class _Pixels:
    """Resize to a square and normalise by a preset's mean and standard deviation."""

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


class ClipEncoder:
    """CLIP's joint text-image space.

    `dtype` is that of the image model's matrix products. Text is always read in float32: it is read once, and
    a vocabulary must not depend on the precision in which photographs are encoded.
    """

    def __init__(self, model: Any, tokenizer: Any, preset: Preset, device: torch.device, dtype: torch.dtype):
        self.model, self.tokenizer, self.device, self.dtype = model, tokenizer, device, dtype
        self.dim: int = model.config.projection_dim
        """D, the width of the joint space."""
        self.max_tokens: int = min(
            tokenizer.model_max_length, model.config.text_config.max_position_embeddings
        )
        """Longest prompt, start and end token included."""
        self._pixels = _Pixels(preset.clip_size, "bicubic", preset.clip_mean, preset.clip_std, device)
        self._patch: int = model.config.vision_config.patch_size
        # Asked for only when needed: interpolating positions to their own size is not free of rounding.
        self._interpolate = preset.clip_size != model.config.vision_config.image_size
        lower_precision(model.vision_model, dtype)
        self._prove()

    @torch.inference_mode()
    def _prove(self) -> None:
        """Raise ModelError for a tokenizer of another model, and for towers that do not heed their input."""
        try:
            check_tokenizer(self.tokenizer, self.model.config.text_config)
        except ModelError as error:
            raise ModelError(f"CLIP: {error}") from error
        check_heeds(
            F.normalize(self.encode_text(["a photo of a cat", "a sofa"]), dim=-1), "CLIP's text model"
        )
        pictures = probe_pictures(4 * self._patch, self.device)
        with autocast(self.device, self.dtype):
            seen = self.model.vision_model(pixel_values=pictures, interpolate_pos_encoding=True)
        check_heeds(seen.pooler_output, "CLIP's image model")

    @torch.inference_mode()
    def encode_text(
        self, texts: Sequence[str], batch_size: int = 256, called: Callable[[int], str] | None = None
    ) -> torch.Tensor:
        """Embed prompts: (N, D) float32 in the joint space, NOT normalised.

        Prompts of like length share a batch and are padded only to its longest: CLIP's text model is causal,
        so positions after the end token change nothing. Raises InputError for a prompt beyond `max_tokens`
        and for one that spells the end token out, which would cut it there; `called` says what the first of
        these errors calls the text at an index, where that is more than the text.
        """
        out = torch.zeros(len(texts), self.dim, device=self.device)
        if not texts:
            return out
        tokens = self.tokenizer(list(texts), padding=False, truncation=False, verbose=False)["input_ids"]
        for i, (text, ids) in enumerate(zip(texts, tokens, strict=True)):
            self._check_plain(text)
            if len(ids) > self.max_tokens:
                name = called(i) if called else f"text {shortened(text, 80)}"
                raise InputError(
                    f"{name} is {len(ids)} tokens long: this model reads at most {self.max_tokens}"
                )
        order = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            longest = len(tokens[rows[-1]])
            pad = self.tokenizer.pad_token_id or 0
            ids = torch.tensor(
                [tokens[i] + [pad] * (longest - len(tokens[i])) for i in rows], device=self.device
            )
            pooled = self.model.text_model(input_ids=ids).pooler_output
            out[torch.tensor(rows, device=self.device)] = self.model.text_projection(pooled).float()
        if not torch.isfinite(out).all():
            raise ModelError("CLIP's text model gave NaN or infinity: its weights are damaged")
        return out

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

    def _check_plain(self, text: str) -> None:
        own = tuple(self.tokenizer.all_special_tokens)
        if any(token in text for token in own):
            raise InputError(
                f"text {shortened(text, 80)} holds one of {own}, which mean something else to this model"
            )

    @torch.inference_mode()
    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        """Embed pictures (B, 3, H, W), float RGB in [0, 1], any size: (B, D) float32, L2-normalised.

        The picture is resized to CLIP's square, bicubic without antialias, its aspect not kept.
        """
        return F.normalize(self.model.visual_projection(self._see(x).pooler_output.float()), dim=-1)

    @torch.inference_mode()
    def encode_patches(self, x: torch.Tensor) -> torch.Tensor:
        """CLIP's patch tokens in the joint space, (B, gh, gw, D) float32, L2-normalised (a baseline only)."""
        tokens = self._see(x).last_hidden_state[:, 1:].float()
        patches = self.model.visual_projection(self.model.vision_model.post_layernorm(tokens))
        side = self._pixels.size // self._patch
        return F.normalize(patches, dim=-1).reshape(len(x), side, side, self.dim)

    def _see(self, x: torch.Tensor) -> Any:
        with autocast(self.device, self.dtype):
            return self.model.vision_model(
                pixel_values=self._pixels(x), interpolate_pos_encoding=self._interpolate
            )


class DenseEncoder:
    """Patch features of a self-supervised vision transformer (DINOv2's architecture)."""

    def __init__(self, model: Any, preset: Preset, device: torch.device, dtype: torch.dtype):
        self.model, self.device, self.dtype = model, device, dtype
        self.dim: int = model.config.hidden_size
        """D, the width of a patch feature."""
        lower_precision(model, dtype)
        patch = model.config.patch_size
        if preset.dense_size % patch:
            raise ModelError(
                f"dense_size {preset.dense_size} is not a multiple of the dense encoder's patch {patch}"
            )
        self.grid: int = preset.dense_size // patch
        """Patches along each side of the square input."""
        self._pixels = _Pixels(preset.dense_size, "bilinear", preset.dense_mean, preset.dense_std, device)
        with torch.inference_mode(), autocast(device, dtype):
            seen = model(pixel_values=probe_pictures(4 * patch, device)).last_hidden_state
        check_heeds(seen, "the dense encoder")

    @torch.inference_mode()
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Patch features of pictures (B, 3, H, W), float RGB in [0, 1], any size: (B, gh, gw, D) float32.

        Resized bilinearly without antialias to the square input; tokens after the final norm, the class token
        and any register tokens dropped; un-normalised.
        """
        with autocast(self.device, self.dtype):
            tokens = self.model(pixel_values=self._pixels(x)).last_hidden_state
        patches = tokens[:, -self.grid * self.grid :]  # the class token and the registers come first
        return patches.float().reshape(len(x), self.grid, self.grid, self.dim)


@dataclass(frozen=True)
class Encoders:
    """The loaded encoders of a preset, on one device; `dtype` is that of the image models' products."""

    clip: ClipEncoder
    dense: DenseEncoder
    device: torch.device
    dtype: torch.dtype
    identity: dict[str, Any] = field(default_factory=dict)
    """What a bank remembers of the models: see `model_identity`."""


def load_encoders(
    preset: Preset,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "float32",
) -> Encoders:
    """Load CLIP and the dense encoder of a preset, in eval mode. Raises ModelError or InputError.

    `dtype` is "float32", "bfloat16", "float16" or "auto" (see `fast_dtype`); anything but float32 concerns
    the matrix products of the image models (see `lower_precision`).
    """
    on = choose_device(device)
    kind = choose_dtype(dtype, on)
    clip, dense = load_clip(preset, on, kind), load_dense(preset, on, kind)
    return Encoders(clip, dense, on, kind, _identity(preset, clip.dim, dense.dim))


def load_clip(
    preset: Preset, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> ClipEncoder:
    """Load CLIP alone, as `load_encoders` does: enough to embed words."""
    from transformers import CLIPModel

    on = choose_device(device)
    return ClipEncoder(
        load_weights(preset.clip, "clip", "CLIP", _model_loader(CLIPModel, on)),
        load_weights(preset.clip, "clip", "CLIP tokenizer", _load_tokenizer),
        preset,
        on,
        choose_dtype(dtype, on),
    )


def load_dense(
    preset: Preset, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> DenseEncoder:
    """Load the dense encoder alone, as `load_encoders` does."""
    from transformers import AutoModel

    on = choose_device(device)
    model = load_weights(preset.dense, "dense", "dense encoder", _model_loader(AutoModel, on))
    return DenseEncoder(model, preset, on, choose_dtype(dtype, on))


def _model_loader(cls: Any, device: torch.device) -> Callable[..., Any]:
    """What reads a model of a class from a place, in eval mode; ModelError for weights that do not fit."""

    def load(place: str, **keywords: Any) -> Any:
        loaded, info = cls.from_pretrained(
            place,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told here, not in a report on the terminal
            **keywords,
        )
        for name, has, wants in sorted(info["mismatched_keys"])[:1]:
            raise ModelError(
                f"weights and config.json do not fit: {name} is {tuple(has)}, expected {tuple(wants)}"
            )
        # A mask token serves training only; anything else missing would be silently random.
        missing = sorted(k for k in info["missing_keys"] if not k.endswith("mask_token"))
        if missing:
            raise ModelError(f"the weights lack {missing[0]} ({len(missing)} tensors in all)")
        return loaded.to(device).eval().requires_grad_(False)

    return load


def _load_tokenizer(place: str, **_: Any) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place)


def model_identity(preset: Preset) -> dict[str, Any]:
    """What a bank made with this preset remembers of its models; reads configs, no weights.

    {"clip": {"id", "revision"}, "dense": {"id", "revision"}, "clip_dim": int, "dense_dim": int}, and the
    "commit" of a model of the hub; a local folder is named PRESET/FOLDER, never by its path.
    """
    clip = config_of(preset.clip, "clip", "CLIP")
    dense = config_of(preset.dense, "dense", "dense encoder")
    return _identity(preset, clip.projection_dim, dense.hidden_size)


def _identity(preset: Preset, clip_dim: int, dense_dim: int) -> dict[str, Any]:
    return {
        "clip": identity_of(preset.clip, "clip", preset.name),
        "dense": identity_of(preset.dense, "dense", preset.name),
        "clip_dim": clip_dim,
        "dense_dim": dense_dim,
    }
