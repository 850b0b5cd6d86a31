"""Every family of Stable Diffusion: maps against a slow reference that stores everything, same pictures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from freeda.collection.attention import AttentionCapture
from freeda.collection.generator import Generator, load_generator
from freeda.collection.tokens import token_offsets
from freeda.errors import ModelError
from freeda.options import Attribution, CollectOptions
from freeda.presets import ModelSource
from pipelines import FAMILIES, draw, reference_maps, small_pipeline

TEXTS = ["a red stop sign in front of a house", "two people ride horses", "a cat"]
COLUMNS = [[4, 1, 2], [], [3]]
# The reference's own attention rounds otherwise than the library's, and the steps after go on from there.
NEAR = {"atol": 1e-4, "rtol": 1e-3}
OPTIONS = CollectOptions(size=128, steps=2, guidance=3.0)


@pytest.fixture(scope="module", params=FAMILIES)
def pipe(request: pytest.FixtureRequest, tiny_tokenizer: Any) -> Any:
    return small_pipeline(request.param, tiny_tokenizer)


@pytest.fixture(scope="module")
def sd1(tiny_tokenizer: Any) -> Any:
    return small_pipeline("sd1", tiny_tokenizer)


def captured(
    pipe: Any,
    texts: Sequence[str],
    columns: Sequence[Sequence[int]],
    how: Attribution | None = None,
    **given: Any,
) -> list[torch.Tensor]:
    known = {k: given.pop(k) for k in ("calls", "words") if k in given}
    with AttentionCapture(pipe.unet, columns, how, **known) as capture:
        draw(pipe, texts, **given)
    return capture.maps()


def word_positions(pipe: Any, texts: Sequence[str]) -> list[list[int]]:
    return [[i for i, (a, b) in enumerate(token_offsets(pipe.tokenizer, t)) if b > a] for t in texts]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (64, 72)])
@torch.no_grad()
def test_maps_equal_the_reference(pipe: Any, guidance: float, size: tuple[int, int]) -> None:
    found = captured(pipe, TEXTS, COLUMNS, guidance=guidance, size=size)
    expected = reference_maps(pipe, TEXTS, guidance, size, 2)
    for i, wanted in enumerate(COLUMNS):
        assert found[i].shape == (len(wanted), size[0] // 8, size[1] // 8)
        torch.testing.assert_close(found[i], expected[i, wanted], **NEAR)


@pytest.mark.parametrize("steps", [1, 5])
@torch.no_grad()
def test_any_number_of_steps(pipe: Any, steps: int) -> None:
    found = captured(pipe, TEXTS[:1], [[1, 3]], size=(64, 64), steps=steps)
    expected = reference_maps(pipe, TEXTS[:1], 3.0, (64, 64), steps)
    torch.testing.assert_close(found[0], expected[0, [1, 3]], **NEAR)


CHOICES = [
    {"blocks": "down"},
    {"blocks": "up"},
    {"blocks": "all", "left_out": ()},
    {"left_out": (0, 3)},
    {"left_out": (1, 2)},
    {"heads": "max"},
    {"normalisation": "step"},
    {"normalisation": "head"},
    {"normalisation": "words"},
    {"from_step": 0.5},
    {"to_step": 0.4},
    {"from_step": 0.25, "to_step": 0.75, "heads": "max", "normalisation": "step", "blocks": "up"},
]


@pytest.mark.parametrize("changes", CHOICES, ids=str)
@torch.no_grad()
def test_options_equal_the_reference(tiny_tokenizer: Any, changes: dict[str, Any]) -> None:
    _, plain = reference_of(tiny_tokenizer, Attribution())
    how = Attribution(**changes)
    found, expected = reference_of(tiny_tokenizer, how)
    for i in range(len(TEXTS)):
        torch.testing.assert_close(found[i], expected[i, : found[i].shape[0]], **NEAR)
    assert not torch.allclose(expected, plain, atol=1e-3), "the option changes nothing"


_DONE: dict[Attribution, Any] = {}


def reference_of(tokenizer: Any, how: Attribution) -> Any:
    """What was captured of the start and all words in the sd2 pipeline's four steps, and the reference."""
    if how not in _DONE:
        pipe = small_pipeline("sd2", tokenizer)
        words = word_positions(pipe, TEXTS)
        most = max(len(w) for w in words) + 1
        columns = [list(range(most))] * len(TEXTS)
        given = {"guidance": 3.0, "size": (128, 96), "steps": 4}
        found = captured(pipe, TEXTS, columns, how, calls=4, words=words, **given)
        _DONE[how] = found, reference_maps(pipe, TEXTS, *given.values(), how, words)  # type: ignore[arg-type]
    return _DONE[how]


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_pictures_are_bit_identical(pipe: Any, guidance: float) -> None:
    plain = draw(pipe, TEXTS, guidance)
    with AttentionCapture(pipe.unet, COLUMNS):
        watched = draw(pipe, TEXTS, guidance)
    assert np.array_equal(plain, watched)


def test_maps_do_not_depend_on_the_batch(pipe: Any) -> None:
    generator = Generator(pipe)
    columns = [[1, 2], [3], [1, 2, 3, 4, 5]]
    together = generator.draw(TEXTS, [7, 8, 9], columns, OPTIONS)
    for order in ([0], [1], [2], [2, 0], [1, 2, 0]):
        some = generator.draw(
            [TEXTS[i] for i in order], [7 + i for i in order], [columns[i] for i in order], OPTIONS
        )
        for place, i in enumerate(order):
            torch.testing.assert_close(some.maps[place], together.maps[i], atol=1e-5, rtol=1e-5)
            assert np.abs(some.images[place].astype(int) - together.images[i]).max() <= 1


def test_nothing_as_large_as_all_attention_ever_exists(pipe: Any) -> None:
    """Beside plain drawing, no tensor is made that has all text positions for every place."""

    class Sizes(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.seen: Counter[tuple[int, ...]] = Counter()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            made = out if isinstance(out, tuple) else (out,)
            self.seen.update(tuple(x.shape) for x in made if isinstance(x, torch.Tensor))
            return out

    text = len(token_offsets(pipe.tokenizer, "a cat"))
    with Sizes() as plain:
        draw(pipe, TEXTS)
    with Sizes() as watched, AttentionCapture(pipe.unet, COLUMNS) as capture:
        draw(pipe, TEXTS)
    more = watched.seen - plain.seen
    places = {acc.shape[2] for acc in capture._sums.values()} - {text}
    assert more and max(places) >= 64
    assert not [s for s in more if len(s) > 2 and s[-1] == text and s[-2] in places]
    assert all(acc.shape[0] == 3 and acc.shape[3] == 3 for acc in capture._sums.values())  # pictures, columns


def test_a_checkpoint_is_loaded_by_its_own_class(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    generator = load_generator(ModelSource(str(tmp_path)), "cpu")
    assert type(generator.pipe) is type(pipe)
    drawn = generator.draw(TEXTS[:1], [5], [[1, 3]], replace(OPTIONS, width=96))
    assert drawn.images.shape == (1, 128, 96, 3) and drawn.maps[0].shape == (2, 16, 12)
    ours = Generator(pipe).draw(TEXTS[:1], [5], [[1, 3]], replace(OPTIONS, width=96))
    # What is loaded may lie otherwise in memory, and be rounded otherwise.
    assert np.abs(drawn.images.astype(int) - ours.images).max() <= 1


@pytest.mark.parametrize("name", ["StableDiffusionInpaintPipeline", "FluxPipeline", ["own.py", "Own"], None])
def test_other_classes_are_refused(sd1: Any, tmp_path: Path, name: Any) -> None:
    sd1.save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": name}))
    with pytest.raises(
        ModelError, match="must be one of StableDiffusionPipeline, StableDiffusionXL"
    ) as error:
        load_generator(ModelSource(str(tmp_path)), "cpu")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_two_tokenizers_must_agree(tiny_tokenizer: Any, tmp_path: Path) -> None:
    from copy import deepcopy

    pipe = small_pipeline("sdxl", tiny_tokenizer)
    pipe.tokenizer_2 = deepcopy(tiny_tokenizer)
    pipe.tokenizer_2.model_max_length = 20
    pipe.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="two tokenizers cut a caption differently"):
        load_generator(ModelSource(str(tmp_path)), "cpu")


def test_torch_s_own_format_is_read_as_tensors_and_nothing_else(sd1: Any, tmp_path: Path) -> None:
    sd1.save_pretrained(tmp_path, safe_serialization=False)
    load_generator(ModelSource(str(tmp_path)), device="cpu")
    torch.save({"weights": Path("anything but a tensor")}, tmp_path / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"generator: .* cannot be loaded"):
        load_generator(ModelSource(str(tmp_path)), "cpu")


@pytest.mark.parametrize("kind", ["AttnProcessor", "sliced", "fused"])
def test_the_librarys_other_processors_work(pipe: Any, kind: str) -> None:
    from diffusers.models.attention_processor import AttnProcessor

    expected = captured(pipe, TEXTS, COLUMNS)
    before = pipe.unet.attn_processors
    try:
        if kind == "AttnProcessor":
            pipe.unet.set_attn_processor(AttnProcessor())
        elif kind == "sliced":
            pipe.unet.set_attention_slice(1)
        else:
            pipe.unet.fuse_qkv_projections()
        assert {type(p) for p in pipe.unet.attn_processors.values()} != {type(p) for p in before.values()}
        found = captured(pipe, TEXTS, COLUMNS)
    finally:
        if kind == "fused":
            pipe.unet.unfuse_qkv_projections()
        pipe.unet.set_attn_processor(before)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **NEAR)


def test_unknown_processors_are_refused_before_drawing(sd1: Any) -> None:
    from diffusers.models.attention_processor import (
        AttnProcessor2_0,
        CustomDiffusionAttnProcessor2_0,
        IPAdapterAttnProcessor2_0,
    )

    class Mine(AttnProcessor2_0):  # type: ignore[misc]
        pass

    class AttnProcessor:  # a known name from elsewhere
        pass

    unet = sd1.unet
    attn = unet.up_blocks[1].attentions[0].transformer_blocks[0].attn2
    before = attn.processor
    adapter = IPAdapterAttnProcessor2_0(hidden_size=16, cross_attention_dim=16)
    custom = CustomDiffusionAttnProcessor2_0(hidden_size=16, cross_attention_dim=16)
    for other in (Mine(), AttnProcessor(), adapter, custom):
        attn.set_processor(other)
        try:
            with pytest.raises(ModelError, match=f"processor {type(other).__name__} may attend"):
                AttentionCapture(unet, [[1]])
            AttentionCapture(unet, [[1]], Attribution(blocks="down"))  # the layer is not asked for
        finally:
            attn.set_processor(before)
    AttentionCapture(unet, [[1]])


@pytest.mark.parametrize("where", ["pipeline", "capture"])
def test_hooks_go_also_after_an_error(pipe: Any, where: str) -> None:
    unet = pipe.unet

    def hooks() -> list[int]:
        return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()]

    before, processors = hooks(), dict(unet.attn_processors)
    wanted = [[1]] if where == "pipeline" else [[40]]
    error = RuntimeError if where == "pipeline" else ModelError
    with pytest.raises(error), AttentionCapture(unet, wanted):
        assert hooks() != before
        assert unet.attn_processors == processors  # never touched
        if where == "capture":
            draw(pipe, TEXTS[:1])  # position 40 is not there: raised inside an attention
        raise RuntimeError("stop")
    assert hooks() == before and unet.attn_processors == processors


class _LowRank(torch.nn.Module):
    """A projection with a low-rank addition, as LoRA wraps it."""

    def __init__(self, inner: torch.nn.Linear) -> None:
        super().__init__()
        self.inner = inner
        self.down = torch.nn.Linear(inner.in_features, 2, bias=False)
        self.up = torch.nn.Linear(2, inner.out_features, bias=False)

    def forward(self, x: torch.Tensor, *_: Any) -> torch.Tensor:
        return self.inner(x) + 3 * self.up(self.down(x))


@torch.no_grad()
def test_wrapped_projections_are_seen(tiny_tokenizer: Any) -> None:
    pipe = small_pipeline("sd1", tiny_tokenizer)
    plain = captured(pipe, TEXTS, COLUMNS)
    for name, module in pipe.unet.named_modules():
        if name.endswith("attn2"):
            module.to_q, module.to_k = _LowRank(module.to_q), _LowRank(module.to_k)
    found = captured(pipe, TEXTS, COLUMNS)
    expected = reference_maps(pipe, TEXTS, 3.0, (128, 128), 2)
    torch.testing.assert_close(found[0], expected[0, COLUMNS[0]], **NEAR)
    assert not torch.allclose(found[0], plain[0], atol=1e-3)


needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="LoRA needs peft, which is not installed")


@pytest.fixture
def lora(pipe: Any, tmp_path: Path) -> Path:
    """A small LoRA of the queries, keys and values of every attention, in diffusers' own format."""
    torch.manual_seed(5)
    weights = {
        f"{name}.lora.{part}.weight": 0.3 * torch.randn(shape)
        for name, module in pipe.unet.named_modules()
        if name.rsplit(".", 1)[-1] in ("to_q", "to_k", "to_v")
        for part, shape in (("down", (2, module.in_features)), ("up", (module.out_features, 2)))
    }
    type(pipe).save_lora_weights(tmp_path / "lora", unet_lora_layers=weights)
    return tmp_path / "lora"


@needs_peft
@torch.no_grad()
def test_lora_works_wrapped_and_merged(pipe: Any, lora: Path, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    source = ModelSource(str(tmp_path / "pipe"))
    plain = load_generator(source, "cpu")
    wrapped = load_generator(source, "cpu")
    wrapped.pipe.load_lora_weights(str(lora))
    merged = load_generator(source, "cpu", lora=ModelSource(str(lora)))
    bare, one, two = (g.draw(TEXTS, [1, 2, 3], COLUMNS, OPTIONS) for g in (plain, wrapped, merged))
    expected = reference_maps(wrapped.pipe, TEXTS, 3.0, (128, 128), 2)
    found = captured(wrapped.pipe, TEXTS, COLUMNS)
    torch.testing.assert_close(found[0], expected[0, COLUMNS[0]], **NEAR)
    torch.testing.assert_close(one.maps[0], two.maps[0], **NEAR)
    assert not torch.allclose(one.maps[0], bare.maps[0], atol=1e-3)
    assert not any("lora" in name for name, _ in merged.pipe.unet.named_modules())


def test_a_lora_without_its_package(sd1: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sd1.save_pretrained(tmp_path)
    monkeypatch.setattr("freeda.collection.generator.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the package peft"):
        load_generator(ModelSource(str(tmp_path)), "cpu", lora=ModelSource("some/lora"))
