"""Word maps multiplied by self-attention, against the sum written out from stored queries and keys."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from freeda.collection import attention
from freeda.collection.attention import AttentionCapture
from freeda.collection.generator import _PLAINLY
from freeda.errors import InputError, ModelError
from freeda.options import Attribution, CollectOptions
from pipelines import FAMILIES, apart_pipeline, draw, small_pipeline

TEXTS = ["a cat on the sofa", "a dog"]
COLUMNS = [[2, 5], [1, 2]]


@pytest.fixture(scope="module", params=[*FAMILIES, "sigma"])
def pipe(request: pytest.FixtureRequest, tiny_tokenizer: Any) -> Any:
    apart = request.param == "sigma"
    return apart_pipeline("sigma") if apart else small_pipeline(request.param, tiny_tokenizer)


def denoiser(pipe: Any) -> Any:
    return pipe.transformer if hasattr(pipe, "transformer") else pipe.unet


def stored(pipe: Any, **given: Any) -> tuple[dict[str, list[Any]], list[Any]]:
    """Each attention's (module, query, key) of every step, by its name; the text's mask of every step."""
    kept: dict[str, list[Any]] = {}
    masks: list[Any] = []
    last: dict[str, Any] = {}
    hooks = []
    for name, module in denoiser(pipe).named_modules():
        if name.rsplit(".", 1)[-1] in ("attn1", "attn2"):
            place = kept.setdefault(name, [])

            def see_query(m: Any, a: Any, out: Any, name: str = name) -> None:
                last[name] = out

            def see_key(
                m: Any, a: Any, out: Any, name: str = name, of: Any = module, place: Any = place
            ) -> None:
                place.append((of, last[name], out))

            hooks += [
                module.to_q.register_forward_hook(see_query),
                module.to_k.register_forward_hook(see_key),
            ]
    hooks.append(
        denoiser(pipe).register_forward_pre_hook(
            lambda m, a, k: masks.append(k.get("encoder_attention_mask")), with_kwargs=True
        )
    )
    try:
        draw(pipe, TEXTS, **given)
    finally:
        for hook in hooks:
            hook.remove()
    return kept, masks


def softmaxes(attn: Any, q: torch.Tensor, k: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """(heads, positions, keys) of one picture; keys that are not real have none."""
    made = []
    for head in range(attn.heads):
        d = q.shape[-1] // attn.heads
        scores = q[:, head * d : head * d + d] @ k[:, head * d : head * d + d].T / math.sqrt(d)
        if real is not None:
            scores[:, ~real.bool()] = -1e9
        e = (scores - scores.amax(1, keepdim=True)).exp()
        made.append(e / e.sum(1, keepdim=True))
    return torch.stack(made)


def reference(
    pipe: Any, latent: tuple[int, int], how: Attribution, most: int, **given: Any
) -> list[torch.Tensor]:
    kept, masks = stored(pipe, **given)

    def grid(positions: int) -> tuple[int, int, int]:
        h, w, level = *latent, 0
        while h * w != positions:
            h, w, level = (h + 1) // 2, (w + 1) // 2, level + 1
        return h, w, level

    selves = {name: calls for name, calls in kept.items() if name.endswith("attn1") and "mid_" not in name}
    sizes = [calls[0][1].shape[1] for calls in selves.values()]
    finest = max(s for s in sizes if s <= most)
    h, w, _ = grid(finest)
    out = []
    for i, wanted in enumerate(COLUMNS):
        spread = torch.zeros(finest, finest)
        heads = 0
        for calls in selves.values():
            if calls[0][1].shape[1] != finest:
                continue
            for attn, q, k in calls:
                row = len(q) - len(TEXTS) + i
                spread += softmaxes(attn, q[row], k[row], None).sum(0)
                heads += attn.heads
        spread /= heads
        levels: dict[int, list[torch.Tensor]] = {}
        for name, calls in kept.items():
            if not name.endswith("attn2") or "mid_" in name:
                continue
            lh, lw, level = grid(calls[0][1].shape[1])
            if level in how.left_out:
                continue
            total: Any = 0
            for step, (attn, q, k) in enumerate(calls):
                row = len(q) - len(TEXTS) + i
                real = None if masks[step] is None else masks[step][row]
                total = total + softmaxes(attn, q[row], k[row], real)[:, :, wanted]
            maps = total.permute(0, 2, 1).reshape(-1, len(wanted), lh, lw)
            if (lh, lw) != (h, w):
                maps = F.interpolate(maps, (h, w), mode="bicubic")
            levels.setdefault(level, []).extend(maps.clamp(min=0))
        mixed: Any = 0
        weights = {0: 0.1, 1: 0.1, 2: 0.5, 3: 0.3}
        for level, maps in levels.items():
            mean = torch.stack(maps).mean(0)
            for c in range(len(wanted)):
                mean[c] = (mean[c] - mean[c].min()) / (mean[c].max() - mean[c].min())
            mixed = mixed + weights[level] * mean
        mixed = mixed / sum(weights[level] for level in levels)
        spread_out = torch.stack([(spread @ m.reshape(-1)).reshape(h, w) for m in mixed])
        if (h, w) != latent:
            spread_out = F.interpolate(spread_out[None], latent, mode="bicubic")[0].clamp(min=0)
        out.append(spread_out)
    return out


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize(
    ("size", "most", "left_out"), [((128, 128), 4096, ()), ((96, 160), 4096, (3,)), ((128, 96), 60, (2,))]
)
@torch.no_grad()
def test_against_the_reference(
    pipe: Any,
    guidance: float,
    size: tuple[int, int],
    most: int,
    left_out: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention, "MOST_PLACES", most)
    how = Attribution(propagation="self", left_out=left_out)
    extra = _PLAINLY if hasattr(pipe, "transformer") else {}
    given = {"guidance": guidance, "size": size, **extra}
    latent = (size[0] // 8, size[1] // 8)
    expected = reference(pipe, latent, how, most, **given)
    with AttentionCapture(denoiser(pipe), COLUMNS, how) as capture:
        watched = draw(pipe, TEXTS, **given)
    assert (watched == draw(pipe, TEXTS, **given)).all()
    for found, one in zip(capture.maps(), expected, strict=True):
        assert found.shape == one.shape and found.shape[1:] == latent and float(found.max()) <= 1.2
        torch.testing.assert_close(found, one, atol=1e-4, rtol=1e-3)


def test_some_steps_and_what_is_refused(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = small_pipeline("sd1", tiny_tokenizer)
    late, counted = Attribution(propagation="self", from_step=0.5), []
    for how, calls in (
        (late, 3),
        (Attribution(propagation="self"), None),
    ):  # PNDM takes one more than the steps
        with AttentionCapture(pipe.unet, COLUMNS, how, calls=calls) as capture:
            draw(pipe, TEXTS)
        counted.append(capture._spreads)
        rows = capture._spread.sum(-1) / capture._spreads
        torch.testing.assert_close(rows, torch.ones_like(rows), atol=1e-4, rtol=0)
    assert 3 * counted[0] == 2 * counted[1] > 0
    with pytest.raises(InputError, match=r"compile is on, but attribution.propagation is 'self'"):
        CollectOptions(compile=True, attribution=Attribution(propagation="self"))
    pipe.unet.fuse_qkv_projections()
    with pytest.raises(ModelError, match="fused self-attention cannot be watched"):
        AttentionCapture(pipe.unet, COLUMNS, Attribution(propagation="self"))
    pipe.unet.unfuse_qkv_projections()
    monkeypatch.setattr(attention, "MOST_PLACES", 1)
    with AttentionCapture(pipe.unet, COLUMNS, Attribution(propagation="self")) as capture:
        draw(pipe, TEXTS)
    with pytest.raises(ModelError, match="no self-attention of at most 1 places"):
        capture.maps()
