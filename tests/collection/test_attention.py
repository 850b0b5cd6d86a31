"""The capture against a slow reference, its innocence (same pictures), and its cleaning up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from freeda.collection.attention import AttentionCapture, _level
from freeda.collection.shard import CollectModels
from freeda.errors import ModelError
from freeda.options import CollectOptions

TEXTS = ["a red stop sign in front of a house", "two people ride horses", "a cat"]


def draw(
    pipe: Any, texts: Sequence[str], guidance: float, size: tuple[int, int] = (128, 128), steps: int = 2
) -> Any:
    generators = [torch.Generator("cpu").manual_seed(i) for i in range(len(texts))]
    return pipe(
        list(texts),
        height=size[0],
        width=size[1],
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=generators,
        output_type="np",
    ).images


def reference(pipe: Any, texts: Sequence[str], guidance: float, size: tuple[int, int]) -> torch.Tensor:
    """DAAM's maps of every text position, (n, text positions, h, w), by loops over all that attn2 saw."""
    latent = (size[0] // 8, size[1] // 8)
    seen: dict[str, list[tuple[Any, torch.Tensor, torch.Tensor]]] = {}

    def watch(name: str) -> Any:
        def hook(attn: Any, args: Any, kwargs: Any) -> None:
            seen.setdefault(name, []).append((attn, args[0], kwargs["encoder_hidden_states"]))

        return hook

    hooks = [
        m.register_forward_pre_hook(watch(name), with_kwargs=True)
        for name, m in pipe.unet.named_modules()
        if name.endswith("attn2") and not name.startswith("mid_block")
    ]
    try:
        draw(pipe, texts, guidance, size)
    finally:
        for hook in hooks:
            hook.remove()
    n, maps = len(texts), []
    for calls in seen.values():
        side = round((latent[0] * latent[1] / calls[0][1].shape[1]) ** 0.5)
        if side == 8:
            continue
        h, w = -(-latent[0] // side), -(-latent[1] // side)
        heads = calls[0][0].heads
        for head in range(heads):
            total = torch.zeros(n, calls[0][2].shape[1], h * w)
            for attn, hidden, text in calls:
                q, k = attn.to_q(hidden), attn.to_k(text)
                d = q.shape[-1] // heads
                for i in range(n):
                    row = i if guidance <= 1 else n + i
                    one = q[row, :, head * d : (head + 1) * d] @ k[row, :, head * d : (head + 1) * d].T
                    total[i] += (one / d**0.5).softmax(-1).T
            maps.append(F.interpolate(total.view(n, -1, h, w), latent, mode="bicubic").clamp(min=0))
    return torch.stack(maps).mean(0)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (72, 72)])
@torch.no_grad()
def test_equals_the_slow_reference(
    tiny_models: CollectModels, guidance: float, size: tuple[int, int]
) -> None:
    pipe = tiny_models.generator.pipe
    columns = [[4, 1, 2], [], [3]]
    with AttentionCapture(pipe.unet, columns) as capture:
        draw(pipe, TEXTS, guidance, size)
    expected = reference(pipe, TEXTS, guidance, size)
    for i, (found, wanted) in enumerate(zip(capture.maps(), columns, strict=True)):
        assert found.shape == (len(wanted), size[0] // 8, size[1] // 8) and found.dtype == torch.float32
        torch.testing.assert_close(found, expected[i, wanted], atol=1e-5, rtol=1e-5)


def test_attention_of_all_positions_adds_up_to_the_steps(tiny_models: CollectModels) -> None:
    pipe = tiny_models.generator.pipe
    with AttentionCapture(pipe.unet, [list(range(32))]) as capture:
        draw(pipe, TEXTS[:1], 2.0, steps=3)
    torch.testing.assert_close(capture.maps()[0].sum(0), torch.full((16, 16), 3.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_the_picture_is_bit_identical(tiny_models: CollectModels, guidance: float) -> None:
    pipe = tiny_models.generator.pipe
    plain = draw(pipe, TEXTS, guidance)
    with AttentionCapture(pipe.unet, [[1], [2], [3]]):
        watched = draw(pipe, TEXTS, guidance)
    assert np.array_equal(plain, watched)


def test_batch_and_alone_agree(tiny_models: CollectModels, tiny_preset: Any) -> None:
    options = replace(tiny_preset.collect, guidance=3.0)
    columns = [[1, 2], [3], [1]]
    draw_ = tiny_models.generator.draw
    together = draw_(TEXTS, [7, 8, 9], columns, options)
    for i, text in enumerate(TEXTS):
        alone = draw_([text], [7 + i], [columns[i]], options)
        assert np.abs(alone.images[0].astype(int) - together.images[i].astype(int)).max() <= 1
        torch.testing.assert_close(alone.maps[0], together.maps[i], atol=1e-5, rtol=1e-5)


def test_errors(tiny_models: CollectModels, tiny_preset: Any) -> None:
    pipe = tiny_models.generator.pipe
    with pytest.raises(ModelError, match="did not run"), AttentionCapture(pipe.unet, [[1]]) as capture:
        capture.maps()
    with pytest.raises(ModelError, match="2 latents for 3 captions"), AttentionCapture(pipe.unet, [[1]] * 3):
        draw(pipe, TEXTS[:1], 2.0)
    with pytest.raises(ModelError, match="position 40"), AttentionCapture(pipe.unet, [[40]]):
        draw(pipe, TEXTS[:1], 1.0)
    with pytest.raises(ModelError, match="no cross-attention"):
        AttentionCapture(
            torch.nn.ModuleDict({"down_blocks": torch.nn.ModuleList(), "up_blocks": torch.nn.ModuleList()}),
            [[1]],
        )


def test_memory_does_not_grow_with_the_text(tiny_models: CollectModels) -> None:
    pipe = tiny_models.generator.pipe
    with AttentionCapture(pipe.unet, [[1], [2]]) as capture:
        draw(pipe, TEXTS[:2], 2.0, steps=1)
    assert all((acc.shape[0], acc.shape[3]) == (2, 1) for acc in capture._sums.values())


@pytest.mark.parametrize(
    ("positions", "latent", "expected"),
    [
        (4096, (64, 64), ((64, 64), 0)),
        (256, (64, 64), ((16, 16), 2)),
        (64, (64, 64), ((8, 8), 3)),
        (4, (16, 16), ((2, 2), 3)),
        (16, (16, 16), ((4, 4), 2)),
        (15, (9, 17), ((3, 5), 2)),
        (6, (12, 8), ((3, 2), 2)),
    ],
)
def test_levels(positions: int, latent: tuple[int, int], expected: tuple[tuple[int, int], int]) -> None:
    assert _level(positions, latent) == expected


def test_a_level_that_is_none() -> None:
    with pytest.raises(ModelError, match="17 positions"):
        _level(17, (64, 64))


def test_options_are_the_pipelines(tiny_models: CollectModels) -> None:
    drawn = tiny_models.generator.draw(["a cat"], [1], [[1]], CollectOptions(size=64, steps=1, guidance=1.0))
    assert drawn.images.shape == (1, 64, 64, 3) and drawn.images.dtype == np.uint8
    assert drawn.maps[0].shape == (1, 8, 8)
