"""Ours against the golden sets of FREEDA_PARITY, on any device: for the tests and for benchmarks/gpu.py."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from freeda.images import read_image
from freeda.options import TEMPLATES, SegmentOptions, Superpixels
from freeda.presets import ModelSource, Preset
from plain_bank import PlainBank

FOLDER = Path(os.environ.get("FREEDA_PARITY", Path(__file__).parents[2] / "shared" / "parity"))
ASKED = {
    "texts apart": 1e-5,
    "prototypes apart": 1e-5,
    "logits apart": 1e-3,  # they are stored as float16
    "labels equal": 0.999,  # a few pixels are ties
    "maps apart": 1e-4,
    "words apart": 1e-4,
    "grey levels apart": 1,  # other builds may differ by one
}
"""The agreement asked for: at most so far apart, at least so much equal."""


def missed(found: Mapping[str, Any]) -> dict[str, Any]:
    """What of a comparison does not agree as asked; NaN never does."""
    return {
        name: value
        for name, value in found.items()
        if name in ASKED and not (value >= ASKED[name] if "equal" in name else value <= ASKED[name])
    }


def read_cases(folder: Path) -> list[dict[str, Any]]:
    """The cases of a set; none where it is not there."""
    path = folder / "cases.json"
    return json.loads(path.read_text()) if path.is_file() else []


def apart(ours: Any, golden: Any) -> float:
    """The greatest absolute difference of two arrays of one shape."""
    assert ours.shape == golden.shape, f"{ours.shape} is not {golden.shape}"
    return float(np.abs(np.asarray(ours, np.float64) - golden).max())


class _Set:
    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder, self.device, self.cases = folder, device, read_cases(folder)

    def golden(self, index: int) -> dict[str, Any]:
        with np.load(self.folder / f"case{index}.npz", allow_pickle=False) as arrays:
            return dict(arrays)


class Online(_Set):
    """What the authors' inference code returns."""

    @cached_property
    def model(self) -> Any:
        from freeda.encoders import load_encoders
        from freeda.model import FreeDA

        half = (0.5, 0.5, 0.5)
        preset = Preset(
            name="parity",
            clip=ModelSource(str(self.folder / "clip")),
            dense=ModelSource(str(self.folder / "dino")),
            generator=ModelSource("none"),
            clip_size=128,
            dense_size=128,
            clip_mean=half,
            clip_std=half,
        )
        with np.load(self.folder / "bank.npz", allow_pickle=False) as arrays:
            bank = PlainBank(arrays["keys"], arrays["prototypes"])
        return FreeDA(preset, load_encoders(preset, self.device), bank)

    def compare(self, index: int) -> dict[str, Any]:
        """One case: text embeddings, prototypes, the logits of every window, the merged labels."""
        from freeda.segment.matching import AtomScores
        from freeda.segment.mosaic import join
        from freeda.segment.regions import SuperpixelRegions
        from freeda.segment.scene import encode_scene
        from freeda.segment.upsample import label_map
        from freeda.segment.window_encoding import Frame, encode_frames
        from freeda.segment.windows import Box, sliding_boxes

        case, golden = self.cases[index], self.golden(index)
        options = SegmentOptions(
            templates=TEMPLATES[case["templates"]],
            k=case["k"],
            local_weight=case["local_weight"],
            superpixels=Superpixels(**case["superpixels"]),
            short_side=None,
            window=case["window"],
            stride=case["stride"],
        )
        words = self.model._make_vocabulary(case["classes"], options)
        image = read_image(self.folder / case["image"])
        boxes = sliding_boxes(*image.shape[:2], options.window, options.stride)
        given = [tuple(golden[name]) for i in range(len(golden)) if (name := f"box_{i}") in golden]
        assert [tuple(b) for b in boxes] == given
        furthest, encoders = 0.0, self.model.encoders
        frame = Frame(image, boxes, SuperpixelRegions(options.superpixels))
        assert list(encode_frames(encoders, [frame], batch_size=3)) == [frame]
        for i, piece in enumerate(frame.encodings):
            h, w = piece.atoms.shape
            alone = join([replace(piece, box=Box(0, 0, h, w))], h, w)
            logits = AtomScores(alone, words, options).of(alone.atoms.ravel())
            furthest = np.maximum(furthest, apart(logits.T.reshape(-1, h, w), golden[f"logits_{i}"]))
        scores = AtomScores(encode_scene(encoders, image, options).mosaic, words, options)
        labels = label_map(scores, tuple(case["output_size"]))
        assert labels.shape == golden["labels"].shape
        return {
            "texts apart": apart(words.text_embeddings, golden["text_embeddings"]),
            "prototypes apart": apart(words.prototypes, golden["class_prototypes"]),
            "logits apart": float(furthest),
            "labels equal": float((labels == golden["labels"]).mean()),
        }


class Attribution(_Set):
    """What DAAM returns."""

    @cached_property
    def pipe(self) -> Any:
        from diffusers import StableDiffusionPipeline

        pipe = StableDiffusionPipeline.from_pretrained(
            self.folder / "pipeline",
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            use_safetensors=True,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(self.device)

    def compare(self, index: int, beside: str | None = None) -> dict[str, Any]:
        """One case: the maps of all tokens, those of its words, the picture.

        With `beside`, that prompt is drawn in the same batch. DAAM draws one prompt at a time; what else is
        in the batch changes nothing.
        """
        import torch

        from freeda.collection.attention import AttentionCapture
        from freeda.collection.masks import word_map
        from freeda.collection.tokens import span_columns, token_offsets

        case, golden = self.cases[index], self.golden(index)
        columns = list(range(len(golden["token_maps"])))  # from the start token to the first end token
        prompts, seeds, watched = [case["prompt"]], [case["seed"]], [columns]
        if beside is not None:
            prompts, seeds, watched = [beside, *prompts], [case["seed"] + 1, *seeds], [[2], *watched]
        with AttentionCapture(self.pipe.unet, watched) as capture:
            image = self.pipe(
                prompts,
                num_inference_steps=case["num_inference_steps"],
                guidance_scale=case["guidance_scale"],
                height=case["height"],
                width=case["width"],
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            ).images[-1]
        maps, words = capture.maps()[-1].cpu(), 0.0
        offsets = token_offsets(self.pipe.tokenizer, case["prompt"])
        for word in case["words"]:
            spans = [m.span() for m in re.finditer(rf"\b{re.escape(word)}\b", case["prompt"])]
            found = word_map(maps, columns, span_columns(offsets, spans))
            words = np.maximum(words, apart(found.numpy(), golden[f"word_{word}"]))
        picture = np.asarray(Image.open(self.folder / f"case{index}.png").convert("RGB"))
        return {
            "maps apart": apart(maps.numpy(), golden["token_maps"]),
            "words apart": float(words),
            "grey levels apart": apart(np.asarray(image), picture),
        }
