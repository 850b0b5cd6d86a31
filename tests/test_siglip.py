"""SigLIP and SigLIP 2 in the place of CLIP: the numbers of transformers' own processors and models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from freeda.collection.pairs import NounKeys
from freeda.encoders import load_encoders, model_identity
from freeda.errors import InputError, ModelError
from freeda.model import load
from freeda.options import CollectOptions
from freeda.presets import PRESETS, ModelSource, Preset
from hub import Repo, serve

SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = ("siglip", "siglip2")


def save_siglip(folder: Path, kind: str, length: int = 16) -> Path:
    """A model of random weights and its tokenizer.json, as its repository has them."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    plain = "a photo of the cat dog sofa tree house sky water large ."
    words = ["<pad>", "<eos>", "<unk>", *plain.split()]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": length}
    vision = {**SMALL, "patch_size": 8}
    if kind == "siglip":
        vision["image_size"] = 32
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
    else:
        vision["num_patches"] = 16
        config = transformers.Siglip2Config(text_config=text, vision_config=vision)
        model = transformers.Siglip2Model(config)
    for name, weight in model.named_parameters():  # so that outputs differ clearly
        if weight.ndim > 1 and "norm" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def siglip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_siglip(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def preset(siglip: Path, tiny_preset: Preset) -> Preset:
    return replace(tiny_preset, clip=ModelSource(str(siglip)), clip_size=None)


@pytest.fixture(scope="module")
def encoder(preset: Preset) -> Any:
    return load_encoders(preset, "cpu").clip


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / x.norm(dim=-1, keepdim=True)


@torch.inference_mode()
def test_texts(encoder: Any) -> None:
    """Full length, lower case, read at the last place; a text means the same alone and in company."""
    texts = ["a photo of the cat", "Sofa", "the large house of the dog"]
    found = encoder.encode_text(texts)
    ids = encoder.tokenizer(
        [t.lower() for t in texts], padding="max_length", max_length=16, return_tensors="pt"
    )["input_ids"]
    assert ids.shape == (3, 16)
    model = encoder.model
    hidden = model.text_model(input_ids=ids).last_hidden_state[:, -1]
    torch.testing.assert_close(found, model.text_model.head(hidden), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoder.encode_text(texts[1:2])[0], found[1], atol=1e-5, rtol=1e-4)
    short = model.text_model(input_ids=ids[:1, :6]).pooler_output  # what batch-wise padding would give
    assert not torch.allclose(short, found[:1], atol=1e-3)


@pytest.mark.parametrize("size", [(32, 32), (20, 50)])
@torch.inference_mode()
def test_pictures(encoder: Any, size: tuple[int, int]) -> None:
    """As transformers' own processor prepares a picture of the model's size."""
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    y = torch.nn.functional.interpolate(x, (32, 32), mode="bicubic", align_corners=False)
    pixels = (y if size != (32, 32) else x) * 2 - 1
    if encoder.model.config.model_type == "siglip2":
        own = Siglip2ImageProcessorPil(
            do_resize=False, do_rescale=False, do_normalize=False, patch_size=8, max_num_patches=16
        )
        given = dict(own([p.numpy() for p in pixels], return_tensors="pt"))
    else:
        given = {"pixel_values": pixels}
    seen = encoder.model.vision_model(**given)
    torch.testing.assert_close(encoder.encode_image(x), unit(seen.pooler_output), atol=1e-5, rtol=1e-4)
    patches = encoder.encode_patches(x)
    assert patches.shape == (2, 4, 4, encoder.dim)
    for b, i, j in ((0, 0, 0), (1, 2, 3)):
        alone = encoder.model.vision_model.head(seen.last_hidden_state[b, 4 * i + j][None, None])[0]
        torch.testing.assert_close(patches[b, i, j], unit(alone), atol=1e-5, rtol=1e-4)


def test_bad_input(encoder: Any, preset: Preset, siglip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is 18 tokens long: this model reads at most 16"):
        encoder.encode_text(["a " * 17])
    with pytest.raises(InputError, match="mean something else"):
        encoder.encode_text(["a cat <eos>"])
    with pytest.raises(InputError, match="key is 'token': only a CLIP reads it from a caption"):
        NounKeys(encoder, CollectOptions(key="token"))
    for file in siglip.iterdir():
        if file.name != "tokenizer.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="tokenizer"):
        load_encoders(replace(preset, clip=ModelSource(str(tmp_path))), "cpu")


def test_a_photograph(preset: Preset, encoder: Any) -> None:
    """From a list of words and a bank with SigLIP's keys to labels; a bank of CLIP's is refused."""
    model = load(preset, device="cpu")
    assert model.encoders.identity["clip_dim"] == encoder.dim == model_identity(preset)["clip_dim"] == 24

    class Keys:
        prototypes = np.random.default_rng(0).normal(size=(6, 24)).astype(np.float16)

        def __len__(self) -> int:
            return 6

        def search(self, queries: Any, k: int) -> Any:
            keys = unit(encoder.encode_text(["cat", "dog", "sofa", "tree", "sky", "water"])).numpy()
            scores = queries @ keys.T
            order = np.argsort(-scores, axis=1)[:, :k]
            return np.take_along_axis(scores, order, axis=1), order

    model = load(preset, Keys(), device="cpu")
    image = np.random.default_rng(3).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    found = model.segment(image, ["cat", "sky"], k=1, templates=("a photo of the {}.",))
    assert found.labels.shape == (60, 70) and set(np.unique(found.labels)) <= {0, 1}
    words = found.vocabulary
    assert words is not None
    expected = unit(encoder.encode_text(["a photo of the cat.", "a photo of the sky."]))
    np.testing.assert_allclose(words.text_embeddings, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_from_the_hub(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_preset: Preset
) -> None:
    """From a fresh cache, then without a network; what the presets' CLIP takes is not asked of it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = Repo(save_siglip(tmp_path / "repo", kind))
    (repo.folder / "preprocessor_config.json").write_text("{}")
    dense, usual = replace(tiny_preset, name="own"), PRESETS["vit-b"]
    with serve({"models/google/some-siglip": repo}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + template)
        online = load(replace(usual, dense=dense.dense, dense_size=28), clip="google/some-siglip").encoders
        assert "google/some-siglip/preprocessor_config.json" not in hub.fetched()
    again = load(replace(usual, dense=dense.dense, dense_size=28), clip="google/some-siglip").encoders
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(again.clip.encode_image(x), online.clip.encode_image(x))
    # Not by CLIP's colours: a preset's mean and standard deviation are those of its own model.
    assert again.clip._pixels.mean.flatten().tolist() == [0.5] * 3  # type: ignore[attr-defined]
    assert again.identity["clip"]["id"] == "google/some-siglip"
