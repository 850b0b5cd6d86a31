"""SAM 3 through transformers: how much of a word there is at every place of a photograph.

Its own processor needs torchvision: pictures and texts are prepared here as that one says (sam3 of
transformers 5): a square by bilinear resampling with antialias, mean and standard deviation 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from .errors import InputError, ModelError, shortened
from .images import RGB
from .precision import autocast, lower_precision
from .proof import check_heeds, check_tokenizer, probe_pictures

REMEMBERED = 4096
"""Texts whose states are kept, 32 KB each."""
Seen = tuple[torch.Tensor, ...]
"""What is kept of a photograph: (1, D, h, w) a level, the finest first (110 MB for the published model)."""


class Sam3:
    """A loaded SAM 3. `dtype` is that of its matrix products; texts are read in float32, as anywhere.

    Stands where `Encoders` has an image-text and a dense encoder.
    """

    name = "SAM 3"

    def __init__(self, model: Any, tokenizer: Any, device: torch.device, dtype: torch.dtype) -> None:
        config = model.config
        self.model, self.tokenizer, self.device, self.dtype = model, tokenizer, device, dtype
        self.dim: int = config.detr_encoder_config.hidden_size
        """D, the width of its features and of its texts' states."""
        self.max_tokens: int = min(tokenizer.model_max_length, config.text_config.max_position_embeddings)
        """Longest prompt, start and end token included."""
        side = config.vision_config.image_size
        self._size: tuple[int, int] = (side, side) if isinstance(side, int) else tuple(side)
        self._known: dict[str, tuple[Any, torch.Tensor]] = {}
        for part_name, part in model.named_children():
            if not part_name.startswith("text"):
                lower_precision(part, dtype)
        self._prove()

    @torch.inference_mode()
    def _prove(self) -> None:
        try:
            check_tokenizer(self.tokenizer, self.model.config.text_config)
        except ModelError as error:
            raise ModelError(f"{self.name}: {error}") from error
        check_heeds(self.encode_text(["cat", "sofa"]), f"{self.name}'s text model")
        with autocast(self.device, self.dtype):
            found = self.model.get_vision_features(
                probe_pictures(max(self._size), self.device)[..., : self._size[0], : self._size[1]]
            )
        # They depend on nothing but the size, and are as large as the features.
        self._positions = tuple(one[:1] for one in found.fpn_position_encoding)
        pictures = [tuple(level[i : i + 1] for level in found.fpn_hidden_states) for i in (0, 1)]
        shown = [self.plane(pictures[i], word) for i, word in ((0, "cat"), (1, "cat"), (1, "sofa"))]
        check_heeds(torch.stack(shown[:2]), f"{self.name}, shown pictures,")
        check_heeds(torch.stack(shown[1:]), f"{self.name}, told words,")

    @torch.inference_mode()
    def look(self, image: RGB) -> Seen:
        """What the vision encoder makes of a photograph (H, W, 3) uint8, its aspect not kept."""
        height, width = self._size
        resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].to(self.device).float() / 255
        with autocast(self.device, self.dtype):
            return tuple(self.model.get_vision_features((x - 0.5) / 0.5).fpn_hidden_states)

    @torch.inference_mode()
    def plane(self, seen: Seen, prompt: str) -> torch.Tensor:
        """(h, w) float32, 0 to 1: how much of what the prompt says there is at every mask pixel of what
        `look` saw: max(instances, semantic segmentation) x presence, where an instance counts its mask times
        its score. Raises InputError as `encode_text`."""
        from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

        states, mask = self._states(prompt, None)
        vision = Sam3VisionEncoderOutput(fpn_hidden_states=seen, fpn_position_encoding=self._positions)
        with autocast(self.device, self.dtype):
            found = self.model(vision_embeds=vision, text_embeds=states, attention_mask=mask)
        scores = found.pred_logits[0].float().sigmoid()[:, None, None]
        instances = (found.pred_masks[0].float().sigmoid() * scores).amax(dim=0)
        semantic = found.semantic_seg[0, 0].float().sigmoid()
        plane = torch.maximum(instances, semantic) * found.presence_logits[0].float().sigmoid()
        if not torch.isfinite(plane).all():
            raise ModelError(f"{self.name} gave NaN or infinity: load it with dtype='float32'")
        return plane

    def encode_text(
        self, texts: Sequence[str], *, called: Callable[[int], str] | None = None
    ) -> torch.Tensor:
        """(N, D) float32: the mean of each prompt's states, for the record: `plane` takes all of them.

        Raises InputError for a prompt beyond `max_tokens` or one that spells out a token of the tokenizer's.
        """
        out = torch.zeros(len(texts), self.dim, device=self.device)
        for i, text in enumerate(texts):
            states, mask = self._states(text, called(i) if called else None)
            out[i] = states.pooler_output[0, : int(mask.sum())].mean(dim=0)
        return out

    @torch.inference_mode()
    def _states(self, text: str, called: str | None) -> tuple[Any, torch.Tensor]:
        """The text model's output, whose `pooler_output` (1, T, D) are the states, and which (1, T) count."""
        if text in self._known:
            return self._known[text]
        name = called or f"text {shortened(text, 80)}"
        if any(token in text for token in self.tokenizer.all_special_tokens):
            raise InputError(f"{name} holds one of {tuple(self.tokenizer.all_special_tokens)}: leave it out")
        ids = self.tokenizer([text], padding="max_length", max_length=self.max_tokens, return_tensors="pt")
        tokens, mask = (ids[part].to(self.device) for part in ("input_ids", "attention_mask"))
        if tokens.shape[1] > self.max_tokens:
            raise InputError(
                f"{name} is {tokens.shape[1]} tokens long: this model reads at most {self.max_tokens}"
            )
        if len(self._known) == REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[text] = found = (self.model.get_text_features(tokens, attention_mask=mask), mask)
        return found
