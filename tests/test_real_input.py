"""Real photographs through the command line: every size, orientation and colour mode, with each preset."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from freeda.cli import app

DATA = Path(os.environ.get("FREEDA_DATA", Path(__file__).parents[2] / "shared" / "data")) / "coco-sample"
PHOTOS = sorted((DATA / "images").glob("*.jpg"))
CLASSES = ["person", "cat", "sky", "grass", "road", "table", "animal"]

pytestmark = pytest.mark.skipif(not PHOTOS, reason=f"no photographs in {DATA} (set FREEDA_DATA)")


def _segment_all(out: Path, *more: str) -> None:
    arguments = ["segment", *map(str, PHOTOS), "--classes", ", ".join(CLASSES), "--out", str(out), *more]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    for photo in PHOTOS:
        with Image.open(photo) as picture:
            size = ImageOps.exif_transpose(picture).size
        with Image.open(out / f"{photo.stem}.labels.png") as labels:
            assert labels.size == size and labels.mode == "P"
            assert np.asarray(labels).max() < len(CLASSES)
        with Image.open(next(out.glob(f"{photo.stem}.overlay.*"))) as overlay:
            overlay.load()
        written = json.loads((out / f"{photo.stem}.json").read_text())
        shares = [c["share"] for c in written["classes"]]
        assert [c["name"] for c in written["classes"]] == CLASSES and sum(shares) == pytest.approx(
            1, abs=1e-3
        )


def test_every_photograph_with_the_miniature(tmp_path: Path) -> None:
    _segment_all(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_photograph_with_models_of_vit_b_shape(tmp_path: Path, tiny_tokenizer: Any) -> None:
    """Random weights of the true sizes, saved locally, stand in for the hub's."""
    import torch
    from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model

    from freeda.bank.format import Pair, caption_digest, shard_name, write_shard
    from freeda.bank.manifest import finish_bank
    from freeda.encoders import model_identity
    from freeda.presets import find_preset

    torch.manual_seed(0)
    ends = {"bos_token_id": tiny_tokenizer.bos_token_id, "eos_token_id": tiny_tokenizer.eos_token_id}
    text = {"vocab_size": len(tiny_tokenizer), "pad_token_id": tiny_tokenizer.pad_token_id, **ends}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "patch_size": 16}
    vision["num_attention_heads"] = 12
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=512)).save_pretrained(
        tmp_path / "clip"
    )
    tiny_tokenizer.save_pretrained(tmp_path / "clip")
    Dinov2Model(Dinov2Config(image_size=518, patch_size=14)).save_pretrained(tmp_path / "dense")
    (tmp_path / "mine.json").write_text(json.dumps({"base": "vit-b", "clip": "clip", "dense": "dense"}))
    preset = find_preset(tmp_path / "mine.json")
    rng = np.random.default_rng(0)
    captions = [(str(i), f"a {name}") for i, name in enumerate(CLASSES)]
    keys = rng.normal(size=(len(CLASSES), 512))
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    pairs = [
        Pair(name, caption, caption[2:], ((2, len(caption)),), 0, key.astype(np.float16),
             rng.normal(size=768).astype(np.float16), 0.3, 0.4, 0.2)
        for (name, caption), key in zip(captions, keys, strict=True)
    ]  # fmt: skip
    info = {
        "settings": {},
        "digest": caption_digest(captions),
        "captions": 7,
        "pictures": 7,
        "rejected": {},
        "failed": [],
    }
    write_shard(tmp_path / "bank" / shard_name(0), pairs, info)
    finish_bank(tmp_path / "bank", 1, {"preset": preset.name, "models": model_identity(preset), "seed": 0})
    _segment_all(tmp_path / "out", "--model", str(tmp_path / "mine.json"), "--bank", str(tmp_path / "bank"))
