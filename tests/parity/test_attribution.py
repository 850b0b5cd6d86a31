"""Attribution maps equal DAAM's own on the small pipeline of the parity folder (FREEDA_PARITY)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

FOLDER = (
    Path(os.environ.get("FREEDA_PARITY", Path(__file__).parents[3] / "shared" / "parity")) / "attribution"
)
CASES: list[dict[str, Any]] = (
    json.loads((FOLDER / "cases.json").read_text()) if (FOLDER / "cases.json").is_file() else []
)

pytestmark = pytest.mark.skipif(not CASES, reason=f"no parity cases in {FOLDER} (set FREEDA_PARITY)")


@pytest.fixture(scope="module")
def pipe() -> Any:
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        FOLDER / "pipeline",
        torch_dtype=torch.float32,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        use_safetensors=True,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("index", range(len(CASES)))
def test_maps_equal_daam(pipe: Any, index: int) -> None:
    import torch

    from freeda.collect.attention import AttentionCapture
    from freeda.collect.masks import word_map
    from freeda.collect.tokens import span_columns, token_offsets

    case = CASES[index]
    golden = np.load(FOLDER / f"case{index}.npz", allow_pickle=False)
    columns = list(range(len(golden["token_maps"])))  # from the start token to the first end token
    with AttentionCapture(pipe.unet, [columns]) as capture:
        image = pipe(
            case["prompt"],
            num_inference_steps=case["num_inference_steps"],
            guidance_scale=case["guidance_scale"],
            height=case["height"],
            width=case["width"],
            generator=torch.Generator("cpu").manual_seed(case["seed"]),
        ).images[0]
    maps = capture.maps()[0]
    np.testing.assert_allclose(maps.numpy(), golden["token_maps"], rtol=0, atol=1e-4)

    offsets = token_offsets(pipe.tokenizer, case["prompt"])
    for word in case["words"]:
        spans = [m.span() for m in re.finditer(rf"\b{re.escape(word)}\b", case["prompt"])]
        found = word_map(maps, columns, span_columns(offsets, spans)).numpy()
        np.testing.assert_allclose(found, golden[f"word_{word}"], rtol=0, atol=1e-4)

    picture = np.asarray(Image.open(FOLDER / f"case{index}.png").convert("RGB"), np.int16)
    difference = np.abs(np.asarray(image, np.int16) - picture)
    assert difference.max() <= 1  # other builds may differ by one grey level


def test_maps_equal_daam_in_a_batch_too(pipe: Any) -> None:
    """DAAM draws one prompt at a time; what else is in the batch changes nothing."""
    import torch

    from freeda.collect.attention import AttentionCapture

    case, golden = CASES[0], np.load(FOLDER / "case0.npz", allow_pickle=False)
    columns = list(range(len(golden["token_maps"])))
    with AttentionCapture(pipe.unet, [[2], columns]) as capture:
        pipe(
            ["a small boat", case["prompt"]],
            num_inference_steps=case["num_inference_steps"],
            guidance_scale=case["guidance_scale"],
            height=case["height"],
            width=case["width"],
            generator=[torch.Generator("cpu").manual_seed(s) for s in (case["seed"] + 1, case["seed"])],
        )
    np.testing.assert_allclose(capture.maps()[1].numpy(), golden["token_maps"], rtol=0, atol=1e-4)
