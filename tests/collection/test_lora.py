"""A LoRA is merged whole or refused by name: one that changes nothing, one of several, another family's."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from freeda.collection.generator import merge_lora
from freeda.collection.job import generator_of
from freeda.errors import InputError, ModelError
from freeda.presets import ModelSource, Preset, find_preset
from pipelines import small_pipeline

pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="LoRA needs peft, which is not installed")
NAME = "pytorch_lora_weights.safetensors"


def weights(module: Any, kinds: tuple[str, ...], scale: float = 0.3, prefix: str = "") -> dict[str, Any]:
    """A LoRA of rank 2 of the layers of these names, in diffusers' own format."""
    torch.manual_seed(5)
    return {
        f"{prefix}{name}.lora.{part}.weight": scale * torch.randn(shape)
        for name, layer in module.named_modules()
        if name.rsplit(".", 1)[-1] in kinds
        for part, shape in (("down", (2, layer.in_features)), ("up", (layer.out_features, 2)))
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A folder of LoRAs, good and bad, of the small pipeline."""
    folder = tmp_path_factory.mktemp("loras")
    sd1, sdxl = small_pipeline("sd1", tiny_tokenizer), small_pipeline("sdxl", tiny_tokenizer)
    of_unet = weights(sd1.unet, ("to_q", "to_k"), prefix="unet.")
    of_text = weights(sd1.text_encoder, ("q_proj", "v_proj"), prefix="text_encoder.")
    of_text = {
        name.replace("lora.down", "lora_A").replace("lora.up", "lora_B"): tensor
        for name, tensor in of_text.items()
    }
    of_xl = weights(sdxl.unet, ("to_q", "to_k"), prefix="unet.")
    for name, tensors in {
        "good": of_unet,
        "text": of_text,
        "zero": {name: 0 * tensor for name, tensor in of_unet.items()},
        "nowhere": {name.replace("unet.", "unet.no_"): tensor for name, tensor in of_unet.items()},
        "partly": {**of_unet, **{name.replace("to_q", "to_r"): t for name, t in of_unet.items()}},
        "transformer": {name.replace("unet.", "transformer."): tensor for name, tensor in of_unet.items()},
        "sdxl": of_xl,
        "kohya": {
            f"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.{end}": torch.ones(shape)
            for end, shape in (("lora_down.weight", (2, 8)), ("lora_up.weight", (8, 2)), ("alpha", ()))
        },
        "model": {"conv.weight": torch.ones(2, 2)},
    }.items():
        (folder / name).mkdir()
        save_file({key: tensor.clone() for key, tensor in tensors.items()}, folder / name / NAME)
    shutil.copytree(folder / "good", folder / "two")
    shutil.copy(folder / "zero" / NAME, folder / "two" / "another.safetensors")
    (folder / "empty").mkdir()
    (folder / "damaged").mkdir()
    (folder / "damaged" / NAME).write_bytes(b"nothing of the kind")
    return folder


@pytest.fixture
def pipe(tiny_tokenizer: Any) -> Any:
    return small_pipeline("sd1", tiny_tokenizer)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("zero", "changes no weight of this generator"),
        ("nowhere", "is no LoRA of this generator, a StableDiffusionPipeline"),
        ("partly", r"is no LoRA of this generator.*20 of its 60 layers have no place"),
        ("transformer", "is no LoRA of this generator.*layers have no place"),
        ("sdxl", "is no LoRA of this generator.*size mismatch"),
        ("kohya", "is no LoRA of this generator"),
        ("model", "is no LoRA of this generator"),
        ("two", f'holds 2 LoRAs \\(another.safetensors, {NAME}\\).*"weight_name": "another.safetensors"'),
        ("empty", "cannot be loaded"),
        ("damaged", "is damaged .*has to be copied anew"),
    ],
)
def test_a_lora_that_cannot_be_is_refused_by_name(
    pipe: Any, place: Path, name: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=says) as error:
        merge_lora(pipe, ModelSource(str(place / name)))
    assert str(error.value).startswith("LoRA: ") and str(place / name) in str(error.value)
    assert "\n" not in str(error.value) and "\\n" not in str(error.value)
    said = capfd.readouterr()
    assert "unsuccessful" not in said.err + said.out  # the libraries say nothing beside it


def test_a_lora_is_in_the_weights(tiny_tokenizer: Any, place: Path) -> None:
    def merged(name: str, weight_name: str | None = None) -> Any:
        pipe = small_pipeline("sd1", tiny_tokenizer)
        merge_lora(pipe, ModelSource(str(place / name), weight_name=weight_name))
        return pipe

    def changed(one: Any, other: Any) -> tuple[int, int]:
        """Tensors of the UNet and of the text encoder that differ."""
        pairs = [[getattr(p, part).state_dict() for p in (one, other)] for part in ("unet", "text_encoder")]
        assert all(set(mine) == set(theirs) for mine, theirs in pairs)
        of_unet, of_text = (sum(not torch.equal(a[n], b[n]) for n in a) for a, b in pairs)
        return of_unet, of_text

    plain, good = small_pipeline("sd1", tiny_tokenizer), merged("good")
    assert changed(good, plain) == (40, 0)
    assert changed(merged("text"), plain) == (0, 4)
    assert changed(merged("two", NAME), good) == (0, 0)
    with pytest.raises(ModelError, match="changes no weight"):
        merged("two", "another.safetensors")
    with pytest.raises(ModelError, match=r"it lacks third\.safetensors"):
        merged("two", "third.safetensors")


def test_a_file_of_several_in_a_preset(tmp_path: Path, place: Path) -> None:
    def preset(lora: Any, part: str = "lora") -> Preset:
        (tmp_path / "p.json").write_text(json.dumps({"base": "vit-b", part: lora}))
        return find_preset(tmp_path / "p.json")

    found = preset({"id": str(place / "two"), "weight_name": NAME})
    assert found.lora == ModelSource(str(place / "two"), weight_name=NAME)
    assert generator_of(found)["lora"] == f"p/two@main/{NAME}"  # a bank made with the other file is another
    assert generator_of(preset(str(place / "good")))["lora"] == "p/good@main"
    with pytest.raises(InputError, match="weight_name is 3: it must be a text"):
        preset({"id": "some/model", "weight_name": 3})
    with pytest.raises(InputError, match="generator has a weight_name: only a LoRA takes one"):
        preset({"id": "some/model", "weight_name": NAME}, "generator")


def test_a_lora_runs_out_of_memory_as_anything_does(
    pipe: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(type(pipe), "load_lora_weights", fail)
    with pytest.raises(ModelError, match="can't allocate memory") as error:
        merge_lora(pipe, ModelSource(str(place / "good")))
    assert "no LoRA of this" not in str(error.value)
