"""Drawing: sizes, schedulers, memory savers, compiling, refusals; the options that make it all of a piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from freeda.collection.attention import AttentionCapture, watched_layers
from freeda.collection.generator import FAMILIES, SCHEDULERS, Generator, compile_parts, uncaptured_parts
from freeda.errors import InputError, ModelError
from freeda.options import PACE, Attribution, CollectOptions, from_dict, parse_settings, to_dict
from freeda.options.checks import kinds
from freeda.precision import drawing_dtype
from freeda.presets import Preset, find_preset
from pipelines import small_pipeline

OPTIONS = CollectOptions(size=64, steps=3, guidance=3.0)
TEXTS, SEEDS, COLUMNS = ["a red cat", "two people ride horses"], [3, 4], [[1, 3], [2]]


@pytest.fixture
def generator(tiny_tokenizer: Any) -> Generator:
    return Generator(small_pipeline("sd1", tiny_tokenizer))


def test_pictures_need_not_be_square(generator: Generator) -> None:
    drawn = generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, size=72, width=120))
    assert drawn.images.shape == (2, 72, 120, 3) and drawn.images.dtype == np.uint8
    assert [tuple(m.shape) for m in drawn.maps] == [(2, 9, 15), (1, 9, 15)]


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_schedulers(generator: Generator, name: str) -> None:
    """Each draws its own pictures, the same in any batch, and leaves the checkpoint's own as it was."""
    options = replace(OPTIONS, scheduler=name, guidance=1.0)
    own = generator.pipe.scheduler
    before = generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, guidance=1.0))
    together = generator.draw(TEXTS, SEEDS, COLUMNS, options)
    kind, changes = SCHEDULERS[name]
    used = generator.pipe.scheduler
    assert type(used).__name__ == kind and all(used.config[k] == v for k, v in changes.items())
    assert used.config.beta_end == own.config.beta_end  # the checkpoint's noise, another way to take it away
    assert not np.array_equal(before.images, together.images)
    for i in range(2):
        alone = generator.draw(TEXTS[i : i + 1], SEEDS[i : i + 1], COLUMNS[i : i + 1], options)
        assert np.abs(alone.images[0].astype(int) - together.images[i]).max() <= 1
        torch.testing.assert_close(alone.maps[0], together.maps[i], atol=1e-5, rtol=1e-5)
    again = generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, guidance=1.0))
    assert generator.pipe.scheduler is own and np.array_equal(before.images, again.images)


def test_a_scheduler_keeps_the_kind_of_prediction(tiny_tokenizer: Any) -> None:
    generator = Generator(small_pipeline("sd2", tiny_tokenizer))
    generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, scheduler="dpm++"))
    assert generator.pipe.scheduler.config.prediction_type == "v_prediction"


def test_steps_that_count_are_told_by_the_scheduler(generator: Generator) -> None:
    """The checkpoint's PNDM scheduler calls the UNet once more than it takes steps: shares are of calls."""
    generator.pipe.scheduler.set_timesteps(3)
    assert len(generator.pipe.scheduler.timesteps) == 4

    def drawn(low: float, high: float) -> torch.Tensor:
        how = Attribution(from_step=low, to_step=high, left_out=(1, 2, 3))
        return generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, attribution=how)).maps[0]

    # Maps of the latent's size are neither enlarged nor clamped, so that parts add up to the whole.
    torch.testing.assert_close(drawn(0, 0.5) + drawn(0.5, 1), drawn(0, 1), atol=1e-5, rtol=1e-5)
    assert float(drawn(0, 0.25).sum() / drawn(0, 1).sum()) < 0.5  # one call of four
    with pytest.raises(InputError, match="none of 4 steps"):
        drawn(0.26, 0.3)


def test_a_step_more_than_expected_is_told(generator: Generator) -> None:
    watched = AttentionCapture(generator.pipe.unet, [[1]], Attribution(to_step=0.5), calls=2)
    with pytest.raises(ModelError, match="more often than the 2 times"), watched:
        generator.pipe("a cat", num_inference_steps=3, height=64, width=64)


def test_what_the_capture_must_be_told(generator: Generator) -> None:
    with pytest.raises(ValueError, match="calls"):
        AttentionCapture(generator.pipe.unet, [[1]], Attribution(to_step=0.5))
    with pytest.raises(ValueError, match="words"):
        AttentionCapture(generator.pipe.unet, [[1]], Attribution(normalisation="words"))
    with pytest.raises(ValueError, match="at least one picture"):
        AttentionCapture(generator.pipe.unet, [])


def test_words_are_found_by_the_generator(generator: Generator) -> None:
    """Among the words alone, all words' attention adds up to one a step and head (PNDM: four calls)."""
    how = Attribution(normalisation="words", left_out=(1, 2, 3))
    options = replace(OPTIONS, attribution=how)
    maps = generator.draw(["red cat"], [1], [[1, 2]], options).maps[0]
    torch.testing.assert_close(maps.sum(0), torch.full((8, 8), 4.0), atol=1e-4, rtol=0)


def test_half_precision_adds_up_in_float32(tiny_tokenizer: Any) -> None:
    """All positions' attention is one a step and head; rounded to bfloat16 it would miss that by far."""
    generator = Generator(small_pipeline("sd2", tiny_tokenizer).to(torch.bfloat16))
    how = Attribution(left_out=(1, 2, 3))
    drawn = generator.draw(TEXTS[:1], SEEDS[:1], [range(32)], replace(OPTIONS, attribution=how))
    assert drawn.maps[0].dtype == torch.float32
    torch.testing.assert_close(drawn.maps[0].sum(0), torch.full((8, 8), 3.0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["vae_slicing", "vae_tiling"])
def test_the_vae_saves_memory(generator: Generator, name: str) -> None:
    plain = generator.draw(TEXTS, SEEDS, COLUMNS, OPTIONS)
    vae = generator.pipe.vae
    saving = generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, **{name: True}))
    assert vae.use_slicing == (name == "vae_slicing") and vae.use_tiling == (name == "vae_tiling")
    assert np.abs(saving.images.astype(int) - plain.images).max() <= (1 if name == "vae_slicing" else 255)
    generator.draw(TEXTS, SEEDS, COLUMNS, OPTIONS)
    assert not vae.use_slicing and not vae.use_tiling
    del vae.use_slicing, vae.use_tiling
    with pytest.raises(InputError, match=f"AutoencoderTiny knows no {name[4:]}: leave {name} off"):
        generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, **{name: True}))


def on_stand_in(monkeypatch: pytest.MonkeyPatch, generator: Generator) -> list[str]:
    """Have an offloading generator take the CPU for the accelerator that is not here; what it asked for."""
    accelerate = pytest.importorskip("accelerate")
    kind, asked = type(generator.pipe), list[str]()
    whole = kind.enable_model_cpu_offload

    def model(pipe: Any, device: torch.device) -> None:
        asked.append(f"model {device}")
        whole(pipe, device="cpu")

    def sequential(pipe: Any, device: torch.device) -> None:
        asked.append(f"sequential {device}")
        # What diffusers does itself, which calls the CPU "cpu:0", at which accelerate stumbles.
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                accelerate.cpu_offload(part, torch.device("cpu"), offload_buffers=len(part._parameters) > 0)

    monkeypatch.setattr(kind, "enable_sequential_cpu_offload", sequential)
    monkeypatch.setattr(kind, "enable_model_cpu_offload", model)
    generator._device = torch.device("cuda")
    return asked


def test_offloaded_weights_draw_the_same(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = generator.draw(TEXTS, SEEDS, COLUMNS, OPTIONS)
    asked = on_stand_in(monkeypatch, generator)
    for kind in ("model", "sequential", "sequential", "none"):
        if kind == "none":
            generator._device = torch.device("cpu")
        drawn = generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, offload=kind))
        assert np.array_equal(drawn.images, plain.images)
        assert all(torch.equal(a, b) for a, b in zip(drawn.maps, plain.maps, strict=True))
        away = {p.device.type for p in generator.pipe.unet.parameters()}
        assert away == {"meta" if kind == "sequential" else "cpu"} and generator.dtype == torch.float32
    # After a picture the library itself sends the parts of "model" away again.
    assert asked[0] == "model cuda" and asked[-1] == "sequential cuda" and asked.count(asked[-1]) == 1


def test_offloading_needs_an_accelerator_and_its_package(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    offloading = replace(OPTIONS, offload="model")
    monkeypatch.setattr("freeda.collection.generator.find_spec", lambda name: None)
    generator.draw(TEXTS, SEEDS, COLUMNS, offloading)  # on a CPU there is nothing to do
    assert not hasattr(generator.pipe.unet, "_hf_hook")
    generator = Generator(generator.pipe, torch.device("cuda"))
    with pytest.raises(InputError, match="offload 'model' needs the package accelerate: pip install"):
        generator.draw(TEXTS, SEEDS, COLUMNS, offloading)


@pytest.mark.parametrize(
    ("dtype", "device", "drawn"),
    [
        (None, "cpu", torch.float32),
        (None, "cuda", torch.float16),
        (None, "cuda:1", torch.float16),
        (None, "mps", torch.float16),
        ("float32", "cuda", torch.float32),
        ("bfloat16", "mps", torch.bfloat16),
        ("float16", "cpu", torch.float16),
        ("auto", "mps", torch.float16),
    ],
)
def test_what_is_drawn_in(
    tiny_preset: Preset, monkeypatch: pytest.MonkeyPatch, dtype: Any, device: str, drawn: torch.dtype
) -> None:
    """Half precision on an accelerator unasked; encoders only as told; one rule for all who work together."""
    from freeda.collection import shard
    from freeda.engines.processes import Processes

    assert drawing_dtype(dtype, torch.device(device)) == drawn
    given: dict[str, Any] = {}

    def encoders(preset: Any, on: Any, dtype: torch.dtype) -> Any:
        given["encoders"] = dtype
        return SimpleNamespace(clip=None, device=on, dtype=dtype)

    def generator(source: Any, on: Any, dtype: torch.dtype, lora: Any, offload: str) -> None:
        given["generator"], given["offload"] = dtype, offload

    monkeypatch.setattr(shard, "choose_device", torch.device)
    monkeypatch.setattr(shard, "load_encoders", encoders)
    monkeypatch.setattr(shard, "load_generator", generator)
    monkeypatch.setattr(shard, "NounKeys", lambda *_: None)
    shard.load_models(tiny_preset, replace(OPTIONS, offload="model"), device, dtype)
    assert given["generator"] == drawn and given["offload"] == "model"
    assert given["encoders"] == (torch.float32 if dtype is None else drawn)
    for kind, expected in ((torch.float32, drawing_dtype(None, torch.device(device))), (torch.bfloat16,) * 2):
        loaded = encoders(None, torch.device(device), kind)
        shard.with_generator(loaded, tiny_preset, OPTIONS)
        assert given["generator"] == expected

    engine = Processes("cpu", 1)
    engine.devices, engine.device = [device, device], device
    assert engine.drawing_dtype(dtype) == drawn
    engine.devices = [device, "cpu"]  # all of them make the same rows
    assert engine.drawing_dtype(dtype) == (torch.float32 if dtype is None else drawn)


@pytest.mark.parametrize(
    ("dtype", "device", "drawn"),
    [
        (None, "auto", torch.float32),  # it may come to have GPUs, or not
        (None, "cpu", torch.float32),
        (None, "cuda", torch.float16),
        ("float32", "cuda", torch.float32),
        ("auto", "cuda", torch.bfloat16),
    ],
)
def test_what_a_cluster_draws_in(dtype: Any, device: str, drawn: torch.dtype) -> None:
    pytest.importorskip("ray")
    from freeda.engines.on_ray import OnRay

    assert OnRay(device, 2, 1.0).drawing_dtype(dtype) == drawn


@pytest.fixture
def eager_compile(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch.compile without a code generator: what is traced and what is not is the same."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, *a, **k: real(f, backend="eager"))
    yield
    torch._dynamo.reset()


@pytest.mark.slow
def test_compiled_parts_are_watched_alike(tiny_tokenizer: Any, eager_compile: None) -> None:
    generator = Generator(small_pipeline("sdxl", tiny_tokenizer))
    plain = generator.draw(TEXTS, SEEDS, COLUMNS, OPTIONS)
    compiled = generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, compile=True))
    unet = generator.pipe.unet
    parts = [m for m in unet.modules() if m._compiled_call_impl is not None]
    watched = set(watched_layers(unet, "all"))
    assert {type(m).__name__ for m in parts} >= {"ResnetBlock2D", "Attention", "FeedForward"}
    assert all(watched.isdisjoint(m.modules()) for m in parts)
    weights = sum(p.numel() for m in parts for p in m.parameters())
    assert weights > 0.6 * sum(p.numel() for p in unet.parameters())
    assert np.abs(compiled.images.astype(int) - plain.images).max() <= 1
    for one, other in zip(plain.maps, compiled.maps, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_compiling_for_real(tiny_tokenizer: Any) -> None:
    generator = Generator(small_pipeline("sd1", tiny_tokenizer))
    plain = generator.draw(TEXTS, SEEDS, COLUMNS, OPTIONS)
    try:
        compiled = generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, compile=True))
    except InputError as error:
        pytest.skip(str(error))
    finally:
        torch._dynamo.reset()
    assert np.abs(compiled.images.astype(int) - plain.images).max() <= 1
    torch.testing.assert_close(plain.maps[0], compiled.maps[0], atol=1e-4, rtol=1e-4)


def test_parts_do_not_overlap_and_leave_no_block_out(tiny_tokenizer: Any) -> None:
    unet = small_pipeline("sdxl", tiny_tokenizer).unet
    watched = set(watched_layers(unet, "all"))
    parts = list(uncaptured_parts(unet, watched))
    inside = [m for part in parts for m in part.modules()]
    assert len(inside) == len(set(inside)) and not watched & set(inside)
    resnets = {m for m in unet.modules() if type(m).__name__ == "ResnetBlock2D"}
    assert resnets <= set(inside)


def test_compiling_is_refused_where_it_cannot_be(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no compiler\nlong story")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(InputError, match=r"does not work here \(no compiler\): leave the option compile off"):
        compile_parts(generator.pipe)


def test_a_unet_compiled_whole_is_refused(generator: Generator) -> None:
    unet = generator.pipe.unet
    with pytest.raises(ModelError, match="was compiled as a whole"):
        AttentionCapture(torch.compile(unet), [[1]])
    unet.down_blocks[0].compile()
    with pytest.raises(ModelError, match="CrossAttnDownBlock2D was compiled as a whole"):
        AttentionCapture(unet, [[1]])


def test_nan_is_told(generator: Generator) -> None:
    generator.pipe.vae.decoder.register_forward_hook(lambda module, args, out: out * float("nan"))
    with pytest.raises(ModelError, match=r"drew NaN for caption 'a red cat'.*float32"):
        generator.draw(TEXTS, SEEDS, COLUMNS, OPTIONS)


def test_what_diffusers_refuses_is_one_line(generator: Generator) -> None:
    with pytest.raises(InputError, match="the generator refuses: ") as error:
        generator.draw(TEXTS, SEEDS, COLUMNS, replace(OPTIONS, scheduler="lcm", steps=900))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size": 100}, "picture size 100 must be a multiple of 8"),
        ({"width": 0}, "picture size 0"),
        ({"width": 68}, "picture size 68"),
        ({"steps": 0}, "steps is 0: it must be at least 1"),
        ({"guidance": -1.0}, "guidance is -1.0"),
        ({"guidance": float("nan")}, "finite"),
        ({"scheduler": "fast"}, "scheduler is 'fast': it must be 'default', 'ddim'"),
        ({"compile": 1}, "compile is 1: it must be True or False"),
        ({"attribution": {"heads": "mean"}}, "it must be a Attribution"),
    ],
)
def test_bad_options(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CollectOptions(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"blocks": "mid"}, "attribution.blocks is 'mid'"),
        ({"left_out": (-1,)}, "an item of attribution.left_out is -1: it must be at least 0"),
        ({"left_out": (1.5,)}, "attribution.left_out"),
        ({"from_step": 0.5, "to_step": 0.5}, "from_step < to_step"),
        ({"to_step": 1.1}, "to_step 1.1"),
        ({"heads": "min"}, "attribution.heads is 'min'"),
        ({"normalisation": "none"}, "attribution.normalisation is 'none'"),
    ],
)
def test_bad_attribution(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Attribution(**changes)


def test_options_as_text_and_json(tmp_path: Path) -> None:
    settings = [
        "attribution.left_out=0,3",
        "attribution.heads=max",
        "scheduler=lcm",
        "width=64",
        "compile=yes",
    ]
    options = parse_settings(settings, OPTIONS)
    assert options.attribution == Attribution(left_out=(0, 3), heads="max")
    assert (options.scheduler, options.picture, options.compile) == ("lcm", (64, 64), True)
    assert from_dict(CollectOptions, json.loads(json.dumps(to_dict(options)))) == options
    assert set(PACE) < set(kinds(CollectOptions))
    collect = {"steps": 4, "scheduler": "lcm", "attribution": {"blocks": "up"}}
    preset = {"base": "vit-b", "generator": "a/b", "lora": {"id": "c/d", "revision": "e"}, "collect": collect}
    (tmp_path / "fast.json").write_text(json.dumps(preset))
    found = find_preset(tmp_path / "fast.json")
    assert found.collect == CollectOptions(steps=4, scheduler="lcm", attribution=Attribution(blocks="up"))
    assert found.lora is not None and (found.lora.id, found.lora.revision) == ("c/d", "e")
    preset["collect"] = {"attribution": {"block": "up"}}
    (tmp_path / "fast.json").write_text(json.dumps(preset))
    with pytest.raises(InputError, match=r"unknown collect\.attribution field 'block'"):
        find_preset(tmp_path / "fast.json")


def test_the_page_tells_of_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "collect.md").read_text("utf-8")
    assert all(f"`{name}`" in page for name in (*PACE, *FAMILIES))
    assert all(f"`{name}`" in page or f"scheduler={name}" in page for name in SCHEDULERS)
