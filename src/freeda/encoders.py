"""The encoders of the method: one space for texts and pictures, and dense patch features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from .errors import InputError, ModelError, shortened
from .image_text import FAMILIES, ImageTextEncoder, Pixels, TransformersEncoder, joint_width
from .model_files import Part
from .options import DenseClip
from .precision import autocast, choose_device, choose_dtype, lower_precision
from .presets import IMAGENET_MEAN, IMAGENET_STD, ModelSource, Preset
from .proof import check_heeds, probe_pictures
from .sam3 import Sam3
from .weights import PARTS, config_of, identity_of, load_weights


class PatchEncoder(Protocol):
    """What the method asks of the model that regions are pooled from; docs/extending.md has an example."""

    name: str
    """What banks remember it by."""
    dim: int
    """D, the width of a patch feature."""
    grid: int
    """g, patches along each side of its square input."""

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Patch features of pictures (B, 3, H, W), float RGB in [0, 1], any size: (B, g, g, D) float32."""


class DenseEncoder:
    """Patch features of a self-supervised vision transformer of transformers: DINOv2, with or without
    registers, DINOv3, RADIO, and others whose patches are the last tokens."""

    name = "dense encoder"

    def __init__(self, model: Any, preset: Preset, device: torch.device, dtype: torch.dtype):
        self.model, self.device, self.dtype = model, device, dtype
        self.dim: int = model.config.hidden_size
        """D, the width of a patch feature."""
        lower_precision(model, dtype)
        patch, kind = model.config.patch_size, model.config.model_type
        size = preset.dense_size or (model.config.image_size if kind.startswith("dinov2") else 37 * patch)
        if size % patch:
            raise ModelError(f"dense_size {size} is not a multiple of the dense encoder's patch {patch}")
        self.grid: int = size // patch
        """Patches along each side of the square input."""
        # RADIO normalises by itself.
        mean, std = ((0.0,) * 3, (1.0,) * 3) if kind == "radio" else (IMAGENET_MEAN, IMAGENET_STD)
        self._pixels = Pixels(size, "bilinear", preset.dense_mean or mean, preset.dense_std or std, device)
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

    clip: ImageTextEncoder
    dense: PatchEncoder
    device: torch.device
    dtype: torch.dtype
    identity: dict[str, Any] = field(default_factory=dict)
    """What a bank remembers of the models: see `model_identity`."""

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """(B, K) float32 embeddings of pictures (B, 3, H, W), float RGB in [0, 1].

        Raises ModelError for an encoder that gives another shape, or vectors not of length 1.
        """
        with torch.no_grad():  # which an encoder of the user's own may not care for
            found = _checked(self.clip, self.clip.encode_image(x), (len(x), self.clip.dim))
        if ((found.norm(dim=-1) - 1).abs() > 0.01).any():  # NaN is not, which is told elsewhere
            raise ModelError(f"{self.clip.name!r} gave embeddings that are not of length 1")
        return found

    def joint(
        self, x: torch.Tensor, features: torch.Tensor, regions: Sequence[Any], how: DenseClip
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What `embed` gives, and image-text features of the dense encoder's patches: (B, g, g, K), unit.

        `features` are those of `patches`, `regions` a map (h, w) a picture. Raises ModelError as `embed`, and
        InputError for an encoder that cannot have its last block attended anew.
        """
        attended = getattr(self.clip, "encode_dense", None)
        if attended is None and how.attention != "own":
            raise InputError(
                f"{self.clip.name!r} has no encode_dense: its patches are taken as they are with "
                "dense_clip.attention=own"
            )
        with torch.no_grad():
            if attended is None:
                embedding, found = self.embed(x), self.clip.encode_patches(x)
            else:
                embedding, found = attended(x, features, regions, how)
            side = found.shape[1] if isinstance(found, torch.Tensor) and found.ndim == 4 else 0
            found = _checked(self.clip, found, (len(x), side, side, self.clip.dim))
            grid = (self.dense.grid, self.dense.grid)
            resized = F.interpolate(found.permute(0, 3, 1, 2), grid, mode="bilinear", align_corners=False)
            return embedding, F.normalize(resized.permute(0, 2, 3, 1), dim=-1)

    def patches(self, x: torch.Tensor) -> torch.Tensor:
        """(B, g, g, D) float32 features of the same. Raises ModelError for another shape."""
        grid = self.dense.grid
        with torch.no_grad():
            return _checked(self.dense, self.dense.encode(x), (len(x), grid, grid, self.dense.dim))


def _checked(encoder: ImageTextEncoder | PatchEncoder, found: Any, shape: tuple[int, ...]) -> torch.Tensor:
    given = tuple(found.shape) if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
    if given != shape:
        raise ModelError(f"{encoder.name!r} gave {given}: expected a tensor of shape {shape}")
    return found.float()


def load_encoders(
    preset: Preset,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "float32",
    clip: ImageTextEncoder | None = None,
    dense: PatchEncoder | None = None,
) -> Encoders:
    """Load the encoders of a preset, in eval mode. Raises ModelError or InputError.

    `clip` and `dense` are used instead, where they are given: `name` is what banks remember such a one by.

    `dtype` is "float32", "bfloat16", "float16" or "auto" (see `fast_dtype`); anything but float32 concerns
    the matrix products of the image models (see `lower_precision`).
    """
    on = choose_device(device)
    kind = choose_dtype(dtype, on)
    if preset.detector is not None:
        if clip is not None or dense is not None:
            raise InputError(f"clip and dense mean nothing to preset '{preset.name}', which labels by itself")
        found: Any = load_detector(preset, on, kind)
        return Encoders(found, found, on, kind, model_identity(preset))
    check_part(clip, "clip", "name", "dim", "encode_text", "encode_image")
    check_part(dense, "dense", "name", "dim", "grid", "encode")
    first = load_clip(preset, on, kind) if clip is None else clip
    second = load_dense(preset, on, kind) if dense is None else dense
    return Encoders(first, second, on, kind, _identity(preset, first.dim, second.dim, clip, dense))


def check_part(part: Any, what: str, *asked: str) -> None:
    """Raise InputError for a part of the user's own without the attributes `asked`; None lacks nothing."""
    lacking = [name for name in asked if not hasattr(part, name)]
    if part is None or not (lacking or isinstance(part, type) or not isinstance(part.name, str)):
        return
    if isinstance(part, type):
        told = "a class, not an object of it"
    elif lacking:
        told = "it cannot be called" if lacking[0] == "__call__" else f"it has no {lacking[0]!r}"
    else:
        told = f"its name is {shortened(part.name)}, no text"
    raise InputError(f"{what} is {shortened(part)}: {told} (docs/extending.md)")


def load_clip(
    preset: Preset, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> TransformersEncoder:
    """Load the image-text model alone, as `load_encoders` does: enough to embed words."""
    on = choose_device(device)
    model = load_weights(preset.clip, "clip", "CLIP", model_loader(on))
    encoder = FAMILIES[model.config.model_type]
    tokenizer = load_weights(preset.clip, "clip", "CLIP tokenizer", encoder.load_tokenizer)
    return encoder(model, tokenizer, preset, on, choose_dtype(dtype, on))


def load_dense(
    preset: Preset, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> DenseEncoder:
    """Load the dense encoder alone, as `load_encoders` does."""
    on = choose_device(device)
    model = load_weights(preset.dense, "dense", "dense encoder", model_loader(on))
    return DenseEncoder(model, preset, on, choose_dtype(dtype, on))


def load_detector(
    preset: Preset, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> Sam3:
    """Load a preset's SAM 3, as `load_encoders` its encoders."""
    assert preset.detector is not None
    on, what = choose_device(device), PARTS["detector"]
    model = load_weights(preset.detector, "detector", what, model_loader(on, "Sam3Model"))
    read = TransformersEncoder.load_tokenizer
    tokenizer = load_weights(preset.detector, "detector", f"{what}'s tokenizer", read)
    return Sam3(model, tokenizer, on, choose_dtype(dtype, on))


def model_loader(device: torch.device, kind: str = "AutoModel") -> Callable[..., Any]:
    """What reads a model, of that class of transformers, from a place, in eval mode; it raises ModelError for
    weights that do not fit."""

    def load(place: str, **keywords: Any) -> Any:
        import transformers

        loaded, info = getattr(transformers, kind).from_pretrained(
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
        # A mask token and the loss serve training only; anything else missing would be silently random.
        missing = sorted(
            k for k in info["missing_keys"] if not (k.endswith("mask_token") or k.startswith("criterion."))
        )
        if missing:
            raise ModelError(f"the weights lack {missing[0]} ({len(missing)} tensors in all)")
        # A table of OneFormer's is float64, which Apple's devices do not have.
        return loaded.float().to(device).eval().requires_grad_(False)

    return load


def model_identity(preset: Preset) -> dict[str, Any]:
    """What a bank made with this preset remembers of its models; reads configs, no weights.

    {"clip": {"id", "revision"}, "dense": {"id", "revision"}, "clip_dim": int, "dense_dim": int}, and the
    "commit" of a model of the hub; a local folder is named PRESET/FOLDER, never by its path. A detector is
    both.
    """
    if preset.detector is not None:
        config = config_of(preset.detector, "detector", PARTS["detector"])
        width = getattr(config, "detector_config", config).detr_encoder_config.hidden_size
        own = identity_of(preset.detector, "detector", preset.name)
        return {"clip": own, "dense": own, "clip_dim": width, "dense_dim": width}
    clip = config_of(preset.clip, "clip", "CLIP")
    dense = config_of(preset.dense, "dense", "dense encoder")
    return _identity(preset, joint_width(clip), dense.hidden_size)


def _identity(
    preset: Preset,
    clip_dim: int,
    dense_dim: int,
    clip: ImageTextEncoder | None = None,
    dense: PatchEncoder | None = None,
) -> dict[str, Any]:
    def named(own: ImageTextEncoder | PatchEncoder | None, source: ModelSource, part: Part) -> dict[str, Any]:
        return {"id": own.name, "revision": None} if own else identity_of(source, part, preset.name)

    return {
        "clip": named(clip, preset.clip, "clip"),
        "dense": named(dense, preset.dense, "dense"),
        "clip_dim": clip_dim,
        "dense_dim": dense_dim,
    }
