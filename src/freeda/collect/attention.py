"""Attribution maps of words: the cross-attention of a denoising UNet, added up while it draws (DAAM).

Source of the formula: Tang et al., "What the DAAM" (arXiv 2210.04885), in the behaviour of its reference
implementation: cross-attention of the down and up blocks, the mid block and maps at 1/8 of the latent side
left out, the conditional half of the guidance batch only, summed over time steps in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import ModelError

_LEFT_OUT = 3  # halvings of the latent side: 2 ** 3 = 8


class AttentionCapture:
    """Watches a UNet2DConditionModel while its pipeline draws a batch, without touching what it computes.

    `columns[i]` holds the text positions wanted for picture i of the batch. Only those columns are kept, so
    memory grows with the number of wanted words, not with the text length:

        with AttentionCapture(pipe.unet, [[5, 6], [3]]) as capture:
            pipe(["a ...", "two ..."], generator=...)
        maps = capture.maps()          # maps[i]: (len(columns[i]), h, w)

    Every attention keeps its own processor for its output; the scores are worked out a second time beside it.
    The processors are put back on leaving, after an exception too. One instance serves one batch.
    """

    def __init__(self, unet: Any, columns: Sequence[Sequence[int]]) -> None:
        if not columns:
            raise ValueError("columns must name at least one picture")
        self._unet = unet
        self._columns = [list(c) for c in columns]
        self._layers = _cross_attentions(unet)
        self._originals: list[tuple[Any, Any]] = []
        self._hook: Any = None
        self._batch = 0
        self._latent: tuple[int, int] = (0, 0)
        self._sums: dict[int, torch.Tensor] = {}
        self._shapes: dict[int, tuple[int, int]] = {}
        self.device: torch.device = torch.device("cpu")

    def __enter__(self) -> AttentionCapture:
        self._hook = self._unet.register_forward_pre_hook(self._see_sample, with_kwargs=True)
        try:
            for index, attn in enumerate(self._layers):
                original = attn.processor
                self._originals.append((attn, original))
                attn.set_processor(_Watching(original, self, index))
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for attn, original in self._originals:
            attn.set_processor(original)
        self._originals.clear()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @torch.no_grad()
    def maps(self) -> list[torch.Tensor]:
        """Per picture, its columns' maps: (len(columns[i]), h, w) float32 >= 0 at the latent's size.

        Each is the mean over layers and heads of that head's attention, up-sampled bicubically
        (align_corners=False) to the latent's size and clamped at 0; summed over time steps, not normalised.
        Raises ModelError if nothing was captured (the pipeline did not run, or has no such layer).
        """
        if not self._sums:
            raise ModelError(
                "no cross-attention was captured: the pipeline did not run its UNet, or the UNet has none"
            )
        total: torch.Tensor | None = None
        heads = 0
        for index, acc in self._sums.items():
            n, c, h, _ = acc.shape
            level = acc.reshape(n * c, h, *self._shapes[index])
            level = F.interpolate(level, self._latent, mode="bicubic", align_corners=False).clamp_(min=0)
            summed = level.sum(1).reshape(n, c, *self._latent)
            total = summed if total is None else total + summed
            heads += h
        assert total is not None
        return [total[i, : len(c)] / heads for i, c in enumerate(self._columns)]

    def _see_sample(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before every UNet call: the batch and latent size, which only its input tells."""
        sample = args[0] if args else kwargs["sample"]
        n = len(self._columns)
        # diffusers puts the unconditional half first; without guidance there is one row per picture.
        if sample.shape[0] not in (n, 2 * n):
            raise ModelError(
                f"the UNet was given {sample.shape[0]} latents for {n} captions: expected {n} "
                f"without guidance or {2 * n} with it"
            )
        self._batch = sample.shape[0]
        self._latent = (sample.shape[-2], sample.shape[-1])
        self.device = sample.device

    def add(
        self,
        index: int,
        attn: Any,
        hidden: torch.Tensor,
        text: torch.Tensor | None,
        mask: torch.Tensor | None,
        temb: torch.Tensor | None,
    ) -> None:
        """Adds one layer's attention of one time step; called by the watching processors."""
        if text is None:  # a block that attends to itself at this place
            return
        n = len(self._columns)
        if hidden.shape[0] != self._batch or text.shape[0] != self._batch:
            raise ModelError(
                "the UNet's attention batch does not match its latents: this pipeline cannot be watched"
            )
        positions = math.prod(hidden.shape[2:]) if hidden.ndim == 4 else hidden.shape[1]
        shape, halvings = _level(positions, self._latent)
        if halvings == _LEFT_OUT:
            return
        width = max(1, max(len(c) for c in self._columns))
        wanted = torch.tensor([c + [0] * (width - len(c)) for c in self._columns], device=hidden.device)
        if int(wanted.max()) >= text.shape[1]:
            raise ModelError(
                f"text position {int(wanted.max())} was asked for, but the text has {text.shape[1]}"
            )
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, text.shape[1], self._batch)
            mask = mask.view(self._batch, attn.heads, -1, text.shape[1])[-n:]
        scores = _scores(attn, hidden[-n:], text[-n:], mask, temb if temb is None else temb[-n:])
        heads = scores.shape[1]
        # The softmax runs over all text positions; the wanted columns are taken afterwards.
        at = wanted[:, None, None, :].expand(n, heads, positions, width)
        kept = scores.softmax(-1).gather(-1, at).permute(0, 3, 1, 2)  # (n, columns, heads, positions)
        if index in self._sums:
            self._sums[index] += kept
        else:
            self._sums[index] = kept.contiguous()
            self._shapes[index] = shape


class _Watching:
    """An attention processor that shows its inputs to the capture and leaves the work to the original."""

    def __init__(self, original: Any, capture: AttentionCapture, index: int) -> None:
        self._original, self._capture, self._index = original, capture, index

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        out = self._original(
            attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs
        )
        with torch.no_grad():
            self._capture.add(self._index, attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return out


def _cross_attentions(unet: Any) -> list[Any]:
    """The `attn2` modules of the down and up blocks, in order; the mid block's are left out."""
    found = [
        module
        for block in (*unet.down_blocks, *unet.up_blocks)
        for name, module in block.named_modules()
        if name.rsplit(".", 1)[-1] == "attn2"
    ]
    if not found:
        raise ModelError(
            f"{type(unet).__name__} has no cross-attention in its down and up blocks: words cannot be found"
        )
    return found


def _level(positions: int, latent: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """(height, width) of a layer with that many positions, and how often the latent was halved for it."""
    height, width = latent
    for halvings in range(16):
        if height * width == positions:
            return (height, width), halvings
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    raise ModelError(
        f"an attention layer has {positions} positions, which no halving of a {latent} latent gives"
    )


def _scores(
    attn: Any, hidden: torch.Tensor, text: torch.Tensor, mask: torch.Tensor | None, temb: torch.Tensor | None
) -> torch.Tensor:
    """QK^T * scale (+ mask) as diffusers' Attention forms it: (n, heads, positions, text) float32."""
    if attn.spatial_norm is not None:
        hidden = attn.spatial_norm(hidden, temb)
    if hidden.ndim == 4:
        hidden = hidden.flatten(2).transpose(1, 2)
    if attn.group_norm is not None:
        hidden = attn.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
    if attn.norm_cross:
        text = attn.norm_encoder_hidden_states(text)
    query, key = (
        x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (attn.to_q(hidden), attn.to_k(text))
    )
    if attn.norm_q is not None:
        query = attn.norm_q(query)
    if attn.norm_k is not None:
        key = attn.norm_k(key)
    scores = (query * attn.scale) @ key.transpose(-1, -2)
    return scores.float() if mask is None else scores.float() + mask.float()
