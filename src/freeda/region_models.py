"""Region models of transformers as sources of `Regions`: EoMT, Mask2Former, OneFormer and SAM 2.

All were trained on masks; what class a mask was given is not looked at, only how sure the model is that it
is one. Preprocessing is what the model's preprocessor_config.json says, done as transformers' own processors
for Pillow do it: those of SAM 2 need torchvision, and that of OneFormer asks the hub, so none is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from .encoders import model_loader
from .errors import ModelError
from .images import RGB
from .precision import autocast, choose_device, choose_dtype, lower_precision
from .presets import IMAGENET_MEAN, IMAGENET_STD, SUPERPIXELS, Preset
from .proof import check_heeds, probe_pictures
from .segment.regions import RegionMap
from .segment.upsample import enlarged
from .weights import PARTS, identity_id, load_weights

SURE = 0.5
"""Masks whose best class is less probable are dropped [CorrCLIP; Mask2Former keeps more, for its argmax]."""
POINTS, AT_ONCE = 32, 64
"""SAM 2: points along each side of the grid that asks for masks, and points asked together [SAM 2]."""
GOOD, STABLE, SHIFT, SAME = 0.88, 0.95, 1.0, 0.7
"""SAM 2: the least predicted IoU and stability (IoU of the mask cut `SHIFT` above and below 0), and the IoU
of boxes above which the worse of two masks is a duplicate [transformers' mask generation]."""


class RegionModel(ABC):
    """A source of `Regions`: masks of the whole photograph, painted by ascending score.

    The map is painted mask by mask on the model's device, no larger than what the model sees, then enlarged
    by nearest pixels: hundreds of masks at a photograph's size would take gigabytes, and many seconds.
    """

    whole = True
    loads: str
    """The class of transformers that it is read by."""
    how: Mapping[str, Any] = MappingProxyType({})
    """What that class is told beside."""
    step = 1
    """The sides of its input are rounded up to multiples of this."""

    def __init__(
        self, model: Any, place: str, settings: Mapping[str, Any], device: torch.device, dtype: torch.dtype
    ) -> None:
        """`place` is the model's folder, `settings` what its preprocessor_config.json holds."""
        self.name = place
        """What results remember it by."""
        self.model, self.device, self.dtype = model, device, dtype
        lower_precision(model, dtype)
        trained = self._trained()
        self._square = (trained, trained) if isinstance(trained, int) else tuple(trained)
        self._settings = settings
        self._resample = Image.Resampling(settings.get("resample") or Image.Resampling.BILINEAR)
        mean, std = settings.get("image_mean") or IMAGENET_MEAN, settings.get("image_std") or IMAGENET_STD
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mean, std))
        with torch.inference_mode():
            probes = probe_pictures(max(self._square), device)[..., : self._square[0], : self._square[1]]
            check_heeds(self._look(probes), PARTS["regions"])

    @torch.inference_mode()
    def __call__(self, image: RGB) -> RegionMap:
        """(H, W) int64 of a picture, uint8 RGB (H, W, 3): the mask that each pixel is in; -1 in none."""
        x, (height, width) = self._pixels(image)
        masks, scores = self._masks(x)
        if not (torch.isfinite(masks).all() and torch.isfinite(scores).all()):
            raise ModelError(f"{self.name} gave NaN or infinity: load it with dtype='float32'")
        size = min(image.shape[0], height), min(image.shape[1], width)
        out = torch.full(size, -1, dtype=torch.int32, device=self.device)
        for number in scores.cpu().argsort(stable=True).tolist():
            one = masks[number][None, None]
            if (height, width) != tuple(x.shape[-2:]):  # what was padded
                one = _resized(one, tuple(x.shape[-2:]))[..., :height, :width]
            out.masked_fill_(_resized(one, size)[0, 0] > 0, number)
        return enlarged(out.cpu().numpy().astype(np.int64), image.shape[:2])

    def _pixels(self, image: RGB) -> tuple[torch.Tensor, tuple[int, int]]:
        """(1, 3, h, w) what the model sees of a picture, and how much (height, width) of it is no padding."""
        height, width = self._fit(image.shape[0], image.shape[1])
        resized = np.array(Image.fromarray(image).resize((width, height), self._resample))
        x = torch.from_numpy(resized).permute(2, 0, 1)[None].to(self.device).float() / 255
        return (self._padded(x) - self._mean) / self._std, (height, width)

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        """The size that a picture is brought to."""
        high, wide = self._told(height, width)
        return -(-high // self.step) * self.step, -(-wide // self.step) * self.step

    def _told(self, height: int, width: int) -> tuple[int, int]:
        from transformers.image_processing_utils import get_size_dict
        from transformers.image_transforms import get_size_with_aspect_ratio

        given = self._settings.get("size")
        size = get_size_dict(given, self._settings.get("max_size"), default_to_square=False) if given else {}
        if not size or "height" in size:
            return size.get("height", self._square[0]), size.get("width", self._square[1])
        edges = self._edges(size["shortest_edge"], size.get("longest_edge"))
        high, wide = get_size_with_aspect_ratio((height, width), *edges)
        return max(high, 1), max(wide, 1)

    def _edges(self, shortest: int, longest: int | None) -> tuple[int, int | None]:
        return shortest, longest

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def _trained(self) -> Any:
        """The side, or (height, width), of its input in pixels."""
        return self.model.config.image_size

    @abstractmethod
    def _look(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ...) something that it makes of pictures (B, 3, h, w) and that differs with them."""

    @abstractmethod
    def _masks(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(M, h', w') float32 logits of the masks kept in a picture (1, 3, h, w), and their scores (M,)."""


class Mask2FormerRegions(RegionModel):
    """Mask2Former: a mask and a class, or none, for each of its queries."""

    loads = "AutoModelForUniversalSegmentation"
    step = 32

    def _trained(self) -> Any:
        return self.model.config.backbone_config.image_size

    def _look(self, x: torch.Tensor) -> torch.Tensor:
        return self._queries(x)[0]

    def _queries(self, x: torch.Tensor, **more: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, Q, h', w') logits of masks and (B, Q, classes + 1) of classes, the last of them "no object"."""
        with autocast(self.device, self.dtype):
            seen = self.model(pixel_values=x, **more)
        return seen.masks_queries_logits.float(), seen.class_queries_logits.float()

    def _masks(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        masks, classes = (found[0] for found in self._queries(x))
        scores = classes.softmax(-1)[:, :-1].amax(-1)
        kept = ~(scores < SURE)  # NaN is kept, to be told of
        return masks[kept], scores[kept]


class OneFormerRegions(Mask2FormerRegions):
    """OneFormer, asked for the panoptic task."""

    how = MappingProxyType({"is_training": False})  # else it asks for texts as well
    step = 1

    def __init__(
        self, model: Any, place: str, settings: Mapping[str, Any], device: torch.device, dtype: torch.dtype
    ) -> None:
        """As a `RegionModel`; the tokenizer lies in the same folder."""
        from transformers import AutoTokenizer

        length = model.config.task_seq_len
        how = {"padding": "max_length", "max_length": length, "truncation": True, "return_tensors": "pt"}
        told = AutoTokenizer.from_pretrained(place)("the task is panoptic", **how)
        self._task = (told["input_ids"] * told["attention_mask"]).to(device)
        super().__init__(model, place, settings, device, dtype)

    def _queries(self, x: torch.Tensor, **more: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super()._queries(x, task_inputs=self._task.expand(len(x), -1))


class EomtRegions(Mask2FormerRegions):
    """EoMT, on DINOv2 or DINOv3: its input is one square, and pictures of another shape are padded to it.

    A model trained on crops (`do_split_image`) is shown the whole picture all the same.
    """

    step = 1

    def _trained(self) -> Any:
        return self.model.config.image_size

    def _edges(self, shortest: int, longest: int | None) -> tuple[int, int | None]:
        return min(self._square), min(self._square)

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        return F.pad(x, (0, self._square[1] - x.shape[-1], 0, self._square[0] - x.shape[-2]))


class Sam2Regions(RegionModel):
    """SAM 2, asked for three masks at each point of a grid; its own scores and stability filter them."""

    loads = "Sam2Model"

    def _trained(self) -> Any:
        return self.model.config.prompt_encoder_config.image_size

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        return self._square[0], self._square[1]  # it takes no other

    def _look(self, x: torch.Tensor) -> torch.Tensor:
        with autocast(self.device, self.dtype):
            found: torch.Tensor = self.model.get_image_embeddings(x)[-1]
        return found

    def _masks(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with autocast(self.device, self.dtype):
            seen = self.model.get_image_embeddings(x)
        steps = (torch.arange(POINTS) + 0.5) / POINTS
        grid = torch.stack(torch.meshgrid(steps * x.shape[-1], steps * x.shape[-2], indexing="xy"), dim=-1)
        masks, scores = [], []
        for points in grid.reshape(1, -1, 1, 2).to(self.device).split(AT_ONCE, dim=1):
            with autocast(self.device, self.dtype):
                found = self.model(image_embeddings=seen, input_points=points, multimask_output=True)
            logits, sure = found.pred_masks[0].float().flatten(0, 1), found.iou_scores[0].float().flatten()
            kept = ~((sure <= GOOD) | (stability(logits) <= STABLE))
            masks.append(logits[kept])
            scores.append(sure[kept])
        all_masks, all_scores = torch.cat(masks), torch.cat(scores)
        once = unlike(all_masks > 0, all_scores)
        return all_masks[once], all_scores[once]


def stability(logits: torch.Tensor) -> torch.Tensor:
    """(M,) IoU of masks (M, h, w) cut `SHIFT` above and `SHIFT` below 0; 0 for one that is empty at both."""
    inner, outer = ((logits > cut).sum(dim=(1, 2)) for cut in (SHIFT, -SHIFT))
    return inner / outer.clamp_min(1)


def unlike(masks: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Indices of masks (M, h, w) whose box overlaps no better one's by more than `SAME`, best first."""
    if not len(masks):
        return torch.zeros(0, dtype=torch.int64, device=masks.device)
    sides = []
    for line in (masks.any(dim=1), masks.any(dim=2)):  # columns, rows
        first, length = line.int().argmax(dim=1), line.shape[1]
        sides += [first, length - line.flip(1).int().argmax(dim=1)]
    left, right, top, bottom = (side.cpu() for side in sides)
    wide = torch.minimum(right[:, None], right) - torch.maximum(left[:, None], left)
    high = torch.minimum(bottom[:, None], bottom) - torch.maximum(top[:, None], top)
    both, area = wide.clamp_min(0) * high.clamp_min(0), (right - left) * (bottom - top)
    like = both > SAME * (area[:, None] + area - both)
    kept: list[int] = []
    for number in scores.cpu().argsort(descending=True, stable=True).tolist():
        if not like[number, kept].any():
            kept.append(number)
    return torch.tensor(kept, device=masks.device)


FAMILIES: dict[str, type[RegionModel]] = {
    "eomt": EomtRegions,
    "eomt_dinov3": EomtRegions,
    "mask2former": Mask2FormerRegions,
    "oneformer": OneFormerRegions,
    "sam2": Sam2Regions,
    "sam2_video": Sam2Regions,  # what the hub's repositories of SAM 2 are; of these the part for pictures
}
"""By the `model_type` of a configuration."""


def regions_name(preset: Preset) -> str:
    """What results and banks remember the preset's regions by; nothing is loaded."""
    return SUPERPIXELS if preset.regions is None else identity_id(preset.regions, preset.name)


def load_regions(
    preset: Preset, device: str | torch.device = "auto", dtype: str | torch.dtype = "float32"
) -> RegionModel | None:
    """Load a preset's region model, as `load_encoders` its encoders; None where it has none."""
    if preset.regions is None:
        return None
    on = choose_device(device)

    def read(place: str, **how: Any) -> RegionModel:
        from transformers import AutoConfig
        from transformers.image_processing_base import ImageProcessingMixin

        family = FAMILIES[AutoConfig.from_pretrained(place).model_type]
        model = model_loader(on, family.loads)(place, **how, **family.how)
        settings: dict[str, Any] = {}
        with suppress(OSError):  # it has none
            settings = ImageProcessingMixin.get_image_processor_dict(place)[0]
        return family(model, place, settings, on, choose_dtype(dtype, on))

    found = load_weights(preset.regions, "regions", PARTS["regions"], read)
    found.name = regions_name(preset)
    return found


def _resized(logits: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
