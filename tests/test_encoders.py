"""Encoders: pre-processing, padding, precision, and what is said when weights are not to be had."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from freeda.encoders import Encoders, load_encoders, model_identity
from freeda.errors import InputError, MachineError, ModelError
from freeda.precision import choose_device, choose_dtype, fast_dtype
from freeda.presets import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD, ModelSource, Preset

TEXTS = ["a cat", "a photo of the large wooden table with a red stop sign", "sky", "two dogs", ""]


def normalise(x: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    return torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)


@torch.inference_mode()
def test_text_equals_padding_to_the_full_length(tiny_encoders: Encoders) -> None:
    clip = tiny_encoders.clip
    tokens = clip.tokenizer(TEXTS, padding="max_length", max_length=clip.max_tokens, return_tensors="pt")
    full = clip.model.get_text_features(**tokens)
    full = full if isinstance(full, torch.Tensor) else full.pooler_output
    torch.testing.assert_close(clip.encode_text(TEXTS), full, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_text_keeps_its_order_in_any_batch(tiny_encoders: Encoders, batch_size: int) -> None:
    clip = tiny_encoders.clip
    together = clip.encode_text(TEXTS, batch_size=batch_size)
    alone = torch.cat([clip.encode_text([text]) for text in TEXTS])
    assert together.shape == (len(TEXTS), clip.dim)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_no_text_and_too_much_text(tiny_encoders: Encoders) -> None:
    assert tiny_encoders.clip.encode_text([]).shape == (0, tiny_encoders.clip.dim)
    with pytest.raises(InputError, match=r"'cat cat.*tokens long: this model reads at most 32"):
        tiny_encoders.clip.encode_text(["cat " * 40])


@pytest.mark.parametrize("size", [(32, 32), (20, 45), (1, 1), (90, 33)])
@torch.inference_mode()
def test_image_embedding(tiny_encoders: Encoders, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    y = F.interpolate(x, (32, 32), mode="bicubic", align_corners=False) if size != (32, 32) else x
    seen = tiny_encoders.clip.model.get_image_features(pixel_values=normalise(y, CLIP_MEAN, CLIP_STD))
    seen = seen if isinstance(seen, torch.Tensor) else seen.pooler_output
    ours = tiny_encoders.clip.encode_image(x)
    torch.testing.assert_close(ours, F.normalize(seen, dim=-1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.norm(dim=-1), torch.ones(2))


@pytest.mark.parametrize("size", [(28, 28), (20, 45), (1, 1)])
@torch.inference_mode()
def test_dense_features(tiny_encoders: Encoders, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    y = F.interpolate(x, (28, 28), mode="bilinear", align_corners=False) if size != (28, 28) else x
    y = normalise(y, IMAGENET_MEAN, IMAGENET_STD)
    tokens = tiny_encoders.dense.model(pixel_values=y).last_hidden_state
    ours = tiny_encoders.dense.encode(x)
    assert ours.shape == (2, 4, 4, 24) and ours.dtype == torch.float32
    torch.testing.assert_close(ours[1, 2, 3], tokens[1, 1 + 2 * 4 + 3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (40, 32), (9, 70)])
@torch.inference_mode()
def test_clip_patches_by_hand(tiny_encoders: Encoders, size: tuple[int, int]) -> None:
    """The final layer norm written out, then the projection, then unit length; row by row."""
    clip, x = tiny_encoders.clip, torch.rand(2, 3, *size)
    patches = clip.encode_patches(x)
    y = F.interpolate(x, (32, 32), mode="bicubic", align_corners=False) if size != (32, 32) else x
    vision, norm = clip.model.vision_model, clip.model.vision_model.post_layernorm
    tokens = vision(pixel_values=normalise(y, CLIP_MEAN, CLIP_STD)).last_hidden_state
    assert patches.shape == (2, 4, 4, clip.dim) and tokens.shape[1] == 17
    for b, i, j in ((0, 0, 0), (0, 1, 3), (1, 3, 0), (1, 3, 3)):
        token = tokens[b, 1 + 4 * i + j]
        token = (token - token.mean()) / (token.var(correction=0) + norm.eps).sqrt()
        seen = clip.model.visual_projection.weight @ (token * norm.weight + norm.bias)
        torch.testing.assert_close(patches[b, i, j], seen / seen.norm(), atol=1e-5, rtol=1e-4)


def test_damaged_text_weights_are_told(tiny_encoders: Encoders) -> None:
    clip = copy.copy(tiny_encoders.clip)
    clip.model = copy.deepcopy(clip.model)
    clip.model.text_projection.weight.fill_(torch.nan)
    for read in (lambda: clip.encode_text(["cat"]), lambda: clip.encode_tokens("cat")):
        with pytest.raises(ModelError, match="NaN or infinity: its weights are damaged"):
            read()


def test_special_tokens_in_a_text_are_refused(tiny_encoders: Encoders) -> None:
    clip = tiny_encoders.clip
    text = f"a cat {clip.tokenizer.eos_token} and a dog"
    for read in (lambda: clip.encode_text(["cat", text]), lambda: clip.encode_tokens(text)):
        with pytest.raises(InputError, match="mean something else"):
            read()


def test_register_tokens_are_dropped(tiny_preset: Preset, tmp_path: Path) -> None:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    config = Dinov2WithRegistersConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=7,
        num_register_tokens=3,
    )
    Dinov2WithRegistersModel(config).save_pretrained(tmp_path)
    dense = load_encoders(replace(tiny_preset, dense=ModelSource(str(tmp_path))), device="cpu").dense
    x = torch.rand(1, 3, 28, 28)
    with torch.inference_mode():
        tokens = dense.model(pixel_values=normalise(x, IMAGENET_MEAN, IMAGENET_STD)).last_hidden_state
    assert tokens.shape[1] == 1 + 3 + 16
    torch.testing.assert_close(dense.encode(x).reshape(16, 24), tokens[0, 4:], atol=1e-5, rtol=1e-4)


def test_half_precision_weights_come_up_in_the_asked_dtype(tiny_preset: Preset, tmp_path: Path) -> None:
    folders = {}
    for name in ("clip", "dense"):
        folders[name] = tmp_path / name
        shutil.copytree(getattr(tiny_preset, name).id, folders[name])
        weights = load_file(folders[name] / "model.safetensors")
        halves = {k: v.half() if v.is_floating_point() else v for k, v in weights.items()}
        save_file(halves, folders[name] / "model.safetensors", metadata={"format": "pt"})
    preset = replace(
        tiny_preset, clip=ModelSource(str(folders["clip"])), dense=ModelSource(str(folders["dense"]))
    )
    for dtype in (torch.float32, torch.bfloat16):
        loaded = load_encoders(preset, device="cpu", dtype=dtype)
        for model in (loaded.clip.model.vision_model, loaded.dense.model):
            kinds = {type(m): m.weight.dtype for m in model.modules() if hasattr(m, "weight")}
            assert kinds.pop(torch.nn.Linear) == kinds.pop(torch.nn.Conv2d) == dtype
            assert set(kinds.values()) == {torch.float32}  # norms and embeddings
        assert loaded.dense.encode(torch.rand(1, 3, 28, 28)).dtype == torch.float32
        assert loaded.clip.encode_text(["cat"]).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_and_leaves_text_alone(
    tiny_preset: Preset, tiny_encoders: Encoders, dtype: str
) -> None:
    half = load_encoders(tiny_preset, device="cpu", dtype=dtype)
    x = torch.rand(2, 3, 40, 40)
    limit = {"bfloat16": 3e-2, "float16": 4e-3}[dtype]
    for ours, full in (
        (half.dense.encode(x), tiny_encoders.dense.encode(x)),
        (half.clip.encode_image(x), tiny_encoders.clip.encode_image(x)),
        (half.clip.encode_patches(x), tiny_encoders.clip.encode_patches(x)),
    ):
        error = float((ours - full).norm() / full.norm())
        assert ours.dtype == torch.float32 and 0 < error < limit
    assert torch.equal(half.clip.encode_text(TEXTS), tiny_encoders.clip.encode_text(TEXTS))


@torch.inference_mode()
def test_half_precision_rounds_less_than_a_model_wholly_in_it(
    tiny_preset: Preset, tiny_encoders: Encoders
) -> None:
    x = torch.rand(2, 3, 28, 28)
    full = tiny_encoders.dense.encode(x)
    ours = load_encoders(tiny_preset, device="cpu", dtype="bfloat16").dense.encode(x)
    whole = copy.deepcopy(tiny_encoders.dense.model).to(torch.bfloat16)
    y = normalise(x, IMAGENET_MEAN, IMAGENET_STD).to(torch.bfloat16)
    plain = whole(pixel_values=y).last_hidden_state[:, 1:].float().reshape(full.shape)
    assert (ours - full).norm() < (plain - full).norm()


def test_the_automatic_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_units, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has_units: has, raising=False)
        assert choose_dtype("auto") is choose_dtype("auto", torch.device("cpu")) is expected
    chips = {torch.device("cuda"): (9, 0), torch.device("cuda:1"): (7, 5)}  # a machine may have both
    monkeypatch.setattr(torch.cuda, "get_device_capability", chips.get)
    assert [fast_dtype(chip) for chip in chips] == [torch.bfloat16, torch.float16]
    assert fast_dtype(torch.device("mps")) is torch.float16


def test_identity_names_models_without_paths(tiny_preset: Preset, tiny_encoders: Encoders) -> None:
    identity = model_identity(tiny_preset)
    assert identity == tiny_encoders.identity
    assert (identity["clip_dim"], identity["dense_dim"]) == (20, 24)
    assert identity["clip"]["id"].startswith("tiny/") and identity["clip"]["id"].count("/") == 1


def test_devices_and_dtypes() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    assert choose_dtype("bfloat16") is torch.bfloat16 and choose_dtype(torch.float16) is torch.float16
    with pytest.raises(InputError, match="unknown device 'toaster'"):
        choose_device("toaster")
    with pytest.raises(InputError, match="unknown dtype 'int8'"):
        choose_dtype("int8")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="not available"):
            choose_device("cuda")


def broken(tmp_path: Path, kind: str, tiny_preset: Preset) -> Preset:
    folder = tmp_path / "broken-model"
    if kind == "not in the cache":
        return replace(tiny_preset, dense=ModelSource("nobody/no-such-model"))
    if kind == "no folder":
        return replace(tiny_preset, dense=ModelSource(str(folder)))
    if kind == "empty folder":
        folder.mkdir()
        return replace(tiny_preset, dense=ModelSource(str(folder)))
    if kind == "no tokenizer":
        shutil.copytree(tiny_preset.clip.id, folder, ignore=shutil.ignore_patterns("tokenizer*"))
        return replace(tiny_preset, clip=ModelSource(str(folder)))
    if kind == "wrong model":
        return replace(tiny_preset, clip=tiny_preset.dense)
    shutil.copytree(tiny_preset.dense.id, folder)
    file = folder / "model.safetensors"
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    if kind == "no weights":
        file.unlink()
    if kind == "missing tensor":
        weights: dict[str, Any] = load_file(file)
        weights.pop(next(k for k in weights if "layernorm.weight" in k))
        save_file(weights, file, metadata={"format": "pt"})
    return replace(tiny_preset, dense=ModelSource(str(folder)))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (
            "not in the cache",
            "nobody/no-such-model is not in the local cache.*once with a network",
        ),
        ("no folder", "there is no folder .*broken-model"),
        ("empty folder", "broken-model"),
        ("no tokenizer", "CLIP: .*broken-model cannot be loaded: it lacks tokenizer.json"),
        ("wrong model", "CLIP"),
        (
            "truncated",
            "dense encoder: .*model.safetensors is damaged .*: .*broken-model.* has to be copied anew",
        ),
        ("no weights", "dense encoder: .*broken-model cannot be loaded: it lacks model.safetensors"),
        ("missing tensor", "lack layernorm.weight"),
    ],
)
def test_weights_that_cannot_be_had(kind: str, says: str, tiny_preset: Preset, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        load_encoders(broken(tmp_path, kind, tiny_preset), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_mask_token_may_be_missing(tiny_preset: Preset, tiny_encoders: Encoders, tmp_path: Path) -> None:
    """It serves training only, and some releases are saved without."""
    shutil.copytree(tiny_preset.dense.id, tmp_path / "dense")
    file = tmp_path / "dense" / "model.safetensors"
    weights: dict[str, Any] = load_file(file)
    weights.pop("embeddings.mask_token")
    save_file(weights, file, metadata={"format": "pt"})
    dense = load_encoders(replace(tiny_preset, dense=ModelSource(str(file.parent))), device="cpu").dense
    x = torch.rand(1, 3, 28, 28)
    assert torch.equal(dense.encode(x), tiny_encoders.dense.encode(x))


def test_inputs_that_do_not_fit_the_patches(tiny_preset: Preset) -> None:
    with pytest.raises(ModelError, match="dense_size 30 is not a multiple"):
        load_encoders(replace(tiny_preset, dense_size=30), device="cpu")


def test_memory_that_runs_out_at_loading_is_not_the_files_fault(
    tiny_preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told to delete a model because the device is too small for it."""
    from transformers import AutoModel

    def fail(*_: Any, **__: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(AutoModel, "from_pretrained", fail)
    with pytest.raises(MachineError, match=r"CLIP: .* memory ran out .*a smaller model") as caught:
        load_encoders(tiny_preset, device="cpu")
    assert "delete" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "gives", "says"),
    [
        ("clip", lambda x: x.new_ones(len(x), 4), "not of length 1"),
        ("clip", lambda x: x.new_ones(len(x)), r"gave \(2,\): expected a tensor of shape \(2, 4\)"),
        ("dense", lambda x: x.new_ones(len(x), 4, 3, 3), r"gave \(2, 4, 3, 3\): expected .* \(2, 3, 3, 4\)"),
        ("dense", lambda x: x.numpy(), "gave a ndarray"),
    ],
)
def test_what_an_encoder_gives_is_checked(part: str, gives: Any, says: str) -> None:
    """Wherever it is used: for photographs, drawn pictures and references alike."""
    own: Any = SimpleNamespace(name="own", dim=4, grid=3, encode=gives, encode_image=gives)
    encoders = Encoders(own, own, torch.device("cpu"), torch.float32)
    with pytest.raises(ModelError, match=says):
        (encoders.embed if part == "clip" else encoders.patches)(torch.rand(2, 3, 9, 9))
