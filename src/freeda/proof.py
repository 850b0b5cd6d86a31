"""Proofs that what was loaded is what it claims to be: a fitting tokenizer, models that heed their input."""

from __future__ import annotations

from typing import Any

import torch

from .errors import ModelError

_WORDS = ("cat", "sofa", "dog", "tree", "house", "sky", "water", "photo", "large", "a")
_SAME = 1e-6
"""Outputs of unit size that differ by no more are the same: rounding alone moves them as far."""


def check_tokenizer(tokenizer: Any, config: Any) -> None:
    """Raise ModelError unless a tokenizer fits the text model of that configuration.

    Its size, the token that a CLIP pools at, and common words of which two at least must come out as
    something, and different: a tokenizer whose files are missing may come up empty, and every text then is
    the same to the model.
    """
    reads, makes = int(config.vocab_size), len(tokenizer)
    if makes > reads or 2 * makes < reads:
        raise ModelError(
            f"the model reads {reads:,} tokens, but its tokenizer makes {makes:,}: files of the tokenizer "
            "are missing, or are another model's"
        )
    known = set(range(reads))
    words = [tuple(ids) for ids in tokenizer(list(_WORDS))["input_ids"]]
    end = tokenizer.eos_token_id
    ids = {*(i for word in words for i in word), end, tokenizer.bos_token_id, tokenizer.pad_token_id} - {None}
    if not ids <= known:
        raise ModelError(f"its tokenizer makes token {max(ids - known)}, the model reads {reads:,}")
    # Old configurations say 2, whatever the end token is: the model then pools at the largest id of a text.
    pooled = max(words[0]) if config.eos_token_id == 2 else config.eos_token_id
    at_end = getattr(config, "model_type", "clip_text_model") != "clip_text_model" or (
        pooled == end == words[0][-1]
    )
    if end is None or not at_end:
        raise ModelError(f"the model reads a text at token {pooled}, but its tokenizer ends one with {end}")
    if len({word for word in words if not {*word} <= {*tokenizer.all_special_ids}}) < 2:
        raise ModelError(f"its tokenizer cannot tell {', '.join(_WORDS)} from each other")


def check_heeds(outputs: torch.Tensor, what: str) -> None:
    """Raise ModelError where a model gave the same for two inputs, or NaN; `outputs` is (2, ...)."""
    found = outputs.detach().float().cpu()
    if not torch.isfinite(found).all():
        raise ModelError(f"{what} gives NaN or infinity: its weights are damaged, or its dtype is too narrow")
    size = found.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    if float((found[0] - found[1]).abs().max() / size) <= _SAME:
        raise ModelError(f"{what} gives the same whatever it is shown: its weights are not such a model's")


def probe_pictures(side: int, device: torch.device) -> torch.Tensor:
    """Two pictures (2, 3, side, side) of normalised values, as unlike as can be: flat, and noise."""
    noise = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    return torch.stack([torch.zeros_like(noise), noise]).to(device)
