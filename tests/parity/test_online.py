"""Agreement with the authors' inference code: every case of FREEDA_PARITY/online is run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freeda.images import read_image
from freeda.options import TEMPLATES, SegmentOptions, Superpixels
from freeda.presets import ModelSource, Preset
from plain_bank import PlainBank

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("FREEDA_PARITY", ROOT.parent / "shared" / "parity")) / "online"
CASES: list[dict[str, Any]] = (
    json.loads((FOLDER / "cases.json").read_text()) if (FOLDER / "cases.json").exists() else []
)

pytestmark = pytest.mark.skipif(not CASES, reason=f"no golden outputs in {FOLDER} (set FREEDA_PARITY)")


def options_of(case: dict[str, Any]) -> SegmentOptions:
    return SegmentOptions(
        templates=TEMPLATES[case["templates"]],
        k=case["k"],
        local_weight=case["local_weight"],
        superpixels=Superpixels(**case["superpixels"]),
        short_side=None,
        window=case["window"],
        stride=case["stride"],
    )


@cache
def model() -> Any:
    from freeda.encoders import load_encoders
    from freeda.model import FreeDA

    half = (0.5, 0.5, 0.5)
    preset = Preset(
        name="parity",
        clip=ModelSource(str(FOLDER / "clip")),
        dense=ModelSource(str(FOLDER / "dino")),
        generator=ModelSource("none"),
        clip_size=128,
        dense_size=128,
        clip_mean=half,
        clip_std=half,
    )
    with np.load(FOLDER / "bank.npz") as arrays:
        bank = PlainBank(arrays["keys"], arrays["prototypes"])
    return FreeDA(preset, load_encoders(preset, device="cpu"), bank)


def case_arrays(index: int) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"case{index}.npz") as arrays:
        return dict(arrays)


@cache
def vocabulary(index: int) -> Any:
    return model()._make_vocabulary(CASES[index]["classes"], options_of(CASES[index]))


every_case = pytest.mark.parametrize("index", range(len(CASES)))


@every_case
def test_text_embeddings_and_prototypes(index: int) -> None:
    golden, ours = case_arrays(index), vocabulary(index)
    np.testing.assert_allclose(ours.text_embeddings, golden["text_embeddings"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.prototypes, golden["class_prototypes"], rtol=0, atol=1e-5)


@every_case
def test_logits_of_every_window(index: int) -> None:
    from freeda.segment.matching import AtomScores
    from freeda.segment.mosaic import join
    from freeda.segment.pieces import encode_pieces
    from freeda.segment.windows import Box, sliding_boxes

    case, golden, options = CASES[index], case_arrays(index), options_of(CASES[index])
    image = read_image(FOLDER / case["image"])
    boxes = sliding_boxes(*image.shape[:2], options.window, options.stride)
    expected = [tuple(golden[f"box_{i}"]) for i in range(sum(name.startswith("box_") for name in golden))]
    assert [tuple(b) for b in boxes] == expected
    for i, piece in enumerate(
        encode_pieces(model().encoders, image, boxes, options.superpixels, batch_size=3)
    ):
        h, w = piece.atoms.shape
        alone = join([replace(piece, box=Box(0, 0, h, w))], h, w)
        logits = AtomScores(alone, vocabulary(index), options).of(alone.atoms.ravel())
        logits = logits.T.reshape(-1, h, w)
        assert np.abs(logits - golden[f"logits_{i}"].astype(np.float32)).max() <= 1e-3


@every_case
def test_merged_labels(index: int) -> None:
    from freeda.segment.matching import AtomScores
    from freeda.segment.upsample import label_map

    case, golden, options = CASES[index], case_arrays(index), options_of(CASES[index])
    image = read_image(FOLDER / case["image"])
    scene = model().encode(
        image,
        **{
            name: getattr(options, name)
            for name in ("superpixels", "short_side", "window", "stride", "local_weight")
        },
    )
    labels = label_map(AtomScores(scene.mosaic, vocabulary(index), options), tuple(case["output_size"]))
    assert labels.shape == golden["labels"].shape
    assert (labels == golden["labels"]).mean() >= 0.999
