"""The cross-attention layers of a UNet: which can be watched, and how one shows what it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import ModelError

# What these compute is softmax(QK^T) V over the text alone, with the layer's own projections, each in its own
# way. Compared by exact type: what derives from one may compute something else.
_PLAIN = (
    *("AttnProcessor", "AttnProcessor2_0", "SlicedAttnProcessor", "XFormersAttnProcessor"),
    *("AttnProcessorNPU", "XLAFlashAttnProcessor2_0"),
)
_FUSED = "FusedAttnProcessor2_0"  # key and value come from one projection

Receiver = Callable[[int, Any, torch.Tensor, torch.Tensor, torch.Tensor | None], None]
"""Called with index, layer, query, key and mask as an attention to the text ends."""


def watched_layers(unet: Any, blocks: str) -> list[Any]:
    """The `attn2` modules of those blocks ("down-up", "down", "up", "all"), in order.

    Raises ModelError where there is none, or where one cannot be watched, and says why.
    """
    chosen = [
        *(unet.down_blocks if blocks != "up" else ()),
        *(unet.up_blocks if blocks != "down" else ()),
        *([unet.mid_block] if blocks == "all" and unet.mid_block is not None else ()),
    ]
    found = [
        module
        for block in chosen
        for name, module in block.named_modules()
        if name.rsplit(".", 1)[-1] == "attn2" and hasattr(module, "processor")
    ]
    if not found:
        where = {"down-up": "down and up blocks", "all": "blocks"}.get(blocks, f"{blocks} blocks")
        raise ModelError(
            f"{type(unet).__name__} has no cross-attention in its {where}: words cannot be found"
        )
    for attn in found:
        _check(attn)
    watched = set(found)
    for module in unet.modules():
        compiled = getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod")
        if compiled and not watched.isdisjoint(module.modules()):
            raise ModelError(
                f"{type(module).__name__} was compiled as a whole, so that its attention cannot be watched: "
                "leave it as it is and set the option compile, which compiles all parts but those watched"
            )
    return found


def _check(attn: Any) -> None:
    kind = type(attn.processor)
    known = kind.__module__ == "diffusers.models.attention_processor" and kind.__name__ in (*_PLAIN, _FUSED)
    if not known:
        raise ModelError(
            f"the UNet's attention processor {kind.__name__} may attend to more than the text: words cannot "
            "be found; unload what set it (an IP adapter, say) or call unet.set_default_attn_processor()"
        )
    if attn.norm_q is not None or attn.norm_k is not None:
        raise ModelError(
            "the UNet normalises its queries or keys after projecting them, which no Stable Diffusion does: "
            "words cannot be found"
        )


class Layer:
    """One cross-attention under watch: what it projects during a call is passed on as the call ends."""

    def __init__(self, attn: Any, index: int, receive: Receiver) -> None:
        self._attn, self._index, self._receive = attn, index, receive
        self._fused = type(attn.processor).__name__ == _FUSED
        self._to_text = False
        self._mask: torch.Tensor | None = None
        self._query: torch.Tensor | None = None
        self._key: torch.Tensor | None = None

    def watch(self) -> list[Any]:
        """Hooks the layer and its projections, whatever they are (a LoRA wraps them); returns the handles."""
        attn = self._attn
        return [
            attn.register_forward_pre_hook(self._begin, with_kwargs=True),
            attn.to_q.register_forward_hook(self._see_query),
            (attn.to_kv if self._fused else attn.to_k).register_forward_hook(self._see_key),
            attn.register_forward_hook(self._end),
        ]

    def _begin(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # Without a text the block attends to itself at this place.
        self._to_text = (args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")) is not None
        self._mask = args[2] if len(args) > 2 else kwargs.get("attention_mask")
        self._query = self._key = None

    def _see_query(self, module: Any, args: tuple[Any, ...], out: torch.Tensor) -> None:
        self._query = out

    def _see_key(self, module: Any, args: tuple[Any, ...], out: torch.Tensor) -> None:
        self._key = out.chunk(2, -1)[0] if self._fused else out

    def _end(self, module: Any, args: tuple[Any, ...], out: Any) -> None:
        query, key, mask = self._query, self._key, self._mask
        self._query = self._key = self._mask = None  # nothing outlives the call
        if not self._to_text:
            return
        if query is None or key is None:
            raise ModelError("an attention layer did not project its query and key: it cannot be watched")
        self._receive(self._index, self._attn, query, key, mask)
