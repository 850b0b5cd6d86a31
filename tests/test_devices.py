"""The package on an accelerator, which a stand-in plays: it fails nowhere and answers as on the CPU."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

import standin
from collection.test_references import annotate
from commands import run, write_preset
from conftest import word_tokenizer
from freeda import demo, evaluate
from freeda.app.state import Settings
from freeda.app.studio import Studio
from freeda.bank import Bank
from freeda.bank.layered import GrownBank
from freeda.collection.generator import load_generator
from freeda.collection.job import collect
from freeda.encoders import load_encoders
from freeda.grow import grow
from freeda.model import FreeDA, load
from freeda.options import Attribution, CollectOptions, DenseClip, Naming, parse_settings
from freeda.precision import autocast
from freeda.presets import PRESETS, ModelSource, Preset
from freeda.profile import Clock
from freeda.references.add import add_images
from freeda.references.photographs import add_regions
from freeda.region_models import load_regions
from freeda.show import write_image
from freeda.show.export import png
from pipelines import apart_pipeline
from region_models import save_region_model
from sam3_model import save_sam3
from small_banks import kept, make_bank
from studies import ablations
from studies.axes import AXES, Variant
from test_siglip import save_siglip

CAPTIONS = ["a cat on a table", "a dog in the grass"]
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
Work = Callable[["Place"], Any]


@contextmanager
def machine(device: torch.device) -> Iterator[None]:
    """A machine with this device. Attention is computed in one way on all: each has a fast one of its own."""
    with pytest.MonkeyPatch.context() as patch, sdpa_kernel(SDPBackend.MATH):
        instead = {"choose_device": lambda _="auto": device, **loaders(device)}
        for module in [m for name, m in sys.modules.items() if name.startswith("freeda.")]:
            for name in instead.keys() & vars(module).keys():
                patch.setattr(module, name, instead[name])
        yield


@cache
def loaders(device: torch.device) -> dict[str, Any]:
    """The package's own, but that what was loaded once is given again."""
    known: dict[str, Any] = {}

    def once(load: Any, *about: Any, **more: Any) -> Any:
        name = repr((load, about, more))
        if name not in known:
            known[name] = load(*about, **more)
        return known[name]

    return {load.__name__: partial(once, load) for load in (load_encoders, load_generator)}


class Place:
    """What the works need: models, a bank of theirs, folders that are new each time they are asked for."""

    def __init__(self, folder: Path, preset: Preset, bank: Path) -> None:
        # The small world's own size: its scenes are labelled as well.
        segment = replace(PRESETS["miniature"].segment, k=5)
        self.preset = replace(preset, segment=segment, collect=replace(preset.collect, steps=1))
        self.bank, self._folder, self._number = bank, folder, count()
        self.annotated = annotate(folder / "annotated", 2)

    def new(self) -> Path:
        return self._folder / str(next(self._number))


@pytest.fixture
def place(tmp_path: Path, tiny_preset: Preset, tiny_bank: Path) -> Place:
    return Place(tmp_path, tiny_preset, tiny_bank)


def rows(bank: Bank | GrownBank) -> list[dict[str, Any]]:
    assert len(bank)
    return [bank.row(i) for i in range(len(bank))]


def segmenting(place: Place) -> Any:
    model = load(place.preset, place.bank)
    scene = model.encode(PHOTO, batch_size=2, short_side=48, window=48, stride=24)
    result = model.segment(scene, ["cat", "sky", "grass"], others="others")
    return result.labels, result.scores(), model.coverage(["cat", "sky"]), result.explain(5, 5).to_dict()


def naming(place: Place) -> Any:
    model = load(place.preset, place.bank)
    result = model.name(PHOTO, short_side=48, window=48, stride=24, naming=Naming(far=0.0))
    return result.labels, result.scores(), result.names, str(result.tree)


def without_a_bank(place: Place) -> Any:
    given = {"short_side": 48, "window": 48, "stride": 24}
    model = load(place.preset)
    results = [
        model.segment(PHOTO, ["cat", "sky"], regions=regions, dense_clip=DenseClip(attention=how), **given)
        for how, regions in (("regions", None), ("proxy", None), ("regions", Quarters()))
    ]
    return [(result.labels, result.scores()) for result in results]


def many(place: Place) -> Any:
    """Batches of several photographs, labelled and written beside the encoders; whatever the batch."""
    rng, out = np.random.default_rng(1), place.new()
    for i, size in enumerate([(60, 80), (48, 48), (100, 50), (48, 60), (90, 90)]):
        write_image(out / f"{i}.png", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    (out / "3a.png").write_text("no picture")
    model = load(place.preset, place.bank, regions=Quarters())
    given = {"short_side": 48, "window": 48, "stride": 24}
    found = list(model.segment_many(out, ["cat", "sky"], place.new(), batch_size=3, **given))
    assert [o.path.name for o in found] == ["0.png", "1.png", "2.png", "3.png", "3a.png", "4.png"]
    return [(sorted(o.files), None if o.result is None else o.result.labels) for o in found]


class Quarters:
    name, whole = "test/quarters", True

    def __call__(self, image: Any) -> Any:
        rows, columns = (np.arange(n) * 2 // n for n in image.shape[:2])
        return 2 * rows[:, None] + columns


def siglip(place: Place) -> Any:
    folder = place.new()
    clip = save_siglip(folder, "siglip2")
    x = torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(0))
    encoders = load_encoders(replace(place.preset, clip=ModelSource(str(clip)), clip_size=None))
    read = encoders.clip.encode_text(["a cat", "the sofa"])
    return [t.cpu().numpy() for t in (read, encoders.clip.encode_image(x), encoders.clip.encode_patches(x))]


def regions(place: Place) -> Any:
    found = []
    for kind in ("eomt", "mask2former", "oneformer", "sam2"):
        folder = save_region_model(place.new(), kind, word_tokenizer(), size={"height": 64, "width": 64})
        model = load_regions(replace(place.preset, regions=ModelSource(str(folder))))
        assert model is not None
        found.append(model(PHOTO))
    return found


def detecting(place: Place) -> Any:
    folder = save_sam3(place.new(), word_tokenizer())
    pictures = make_bank(place.new(), [[kept("cat", 0), kept("cat", 1)]])
    model = load(replace(PRESETS["sam3"], detector=ModelSource(str(folder))), pictures)
    result = model.segment(model.encode(PHOTO), ["cat", "sky=tree"], background="constant")
    return result.labels, result.scores(), result.vocabulary.prompts, result.explain(5, 5).to_dict()


def drawing_apart(place: Place) -> Any:
    found = []
    for kind in ("sigma", "sana1.5"):  # at their own size: diffusers makes other positions in float64
        apart_pipeline(kind).save_pretrained(folder := place.new())
        generator = load_generator(ModelSource(str(folder)))
        how = Attribution(propagation="self" if kind == "sigma" else "none")
        options = CollectOptions(size=128, steps=2, guidance=3.0, attribution=how)
        drawn = generator.draw(CAPTIONS[:2], [1, 2], [[1], [1, 2]], options)
        found += [drawn.images, *(one.cpu().numpy() for one in drawn.maps)]
    return found


def searching(place: Place) -> Any:
    model = write_preset(place.new().parent, place.preset)
    return run("bank", "search", place.bank, "cat", "--model", model).stdout


def collecting(*settings: str) -> Work:
    def work(place: Place) -> Any:
        options = parse_settings(["max_area=1", "min_area=0", *settings], place.preset.collect)
        return rows(collect(CAPTIONS, place.new(), place.preset, options=options))

    return work


def adding(place: Place) -> Any:
    return rows(add_images(place.annotated, place.new(), place.preset).bank)


def region_values(place: Place) -> Any:
    """Of drawn pictures, and of photographs."""
    options = parse_settings(["max_area=1", "min_area=0", "region_values=true"], place.preset.collect)
    bank = collect(CAPTIONS, place.new(), place.preset, options=options)
    add_regions(place.annotated / "images", bank.path, place.preset)
    regions = Bank.open(bank.path).regions
    assert regions is not None and "photographs" in regions.meta
    return rows(regions), regions.search(np.eye(24, dtype=np.float32)[:3], 5, "prototype")


def growing(place: Place) -> Any:
    return rows(grow(["cat"], place.new(), place.preset, images=2).layer)


def evaluating(place: Place) -> Any:
    found = evaluate("miniature", out=place.new(), model=place.preset, bank=place.bank, limit=1, report=False)
    return found.counts.arrays()


def page(place: Place) -> Any:
    studio = Studio(load(place.preset, place.bank))
    try:
        ws = studio.new()
        studio.add(ws, [("photo.png", io.BytesIO(png(Image.fromarray(PHOTO))))])
        studio.set_words(ws, "cat, sky", Settings(scale=30.0), {})
        (picture,) = ws.pictures.values()
        labels = studio.labels(ws, picture).composed.labels
        drawn = studio.drawing.draw(CAPTIONS[0], 3)
    finally:
        studio.close()
    return labels, drawn.image, drawn.words[0][1].mask


def telling_the_story(place: Place) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "PRESETS", {"miniature": place.preset})
        report = demo.run_demo(place.new(), captions=2, scenes=1)
    return {name: told for name, told in report.items() if name != "seconds"}


def ablating_masks(place: Place) -> Any:
    variants = Variant("usual"), Variant("changed", offline=("attribution.heads=max", "key=caption"))
    axes = [replace(axis, variants=variants, usual="usual") for axis in AXES if axis.key == "masks"]
    return [found.rows for found in ablations.measure(axes, [0], 2, 1, place.new(), place.preset)]


def ablating(place: Place) -> Any:
    axes, kept = [axis for axis in AXES if axis.key == "sources"], place.new()
    found = ablations.measure(axes, [0], 2, 1, kept, place.preset)
    for part in kept.rglob("sources-*.json"):
        part.unlink()
    found += ablations.measure(axes, [0], 2, 1, kept, place.preset)  # with the pictures read from their files
    return [one.rows for one in found]


@pytest.mark.parametrize(
    "work",
    [
        segmenting,
        naming,
        many,
        siglip,
        regions,
        without_a_bank,
        detecting,
        searching,
        collecting("key=caption", "map_range=percentiles", "attribution.normalisation=words"),
        collecting("key=token", "steps=2", "attribution.to_step=0.5", "scheduler=euler"),
        collecting("attribution.propagation=self", "attribution.left_out="),
        drawing_apart,
        adding,
        region_values,
        growing,
        evaluating,
        page,
        telling_the_story,
        ablating_masks,
        ablating,
    ],
)
def test_it_answers_as_on_the_processor(work: Work, place: Place) -> None:
    with machine(torch.device("cpu")):
        expected = work(place)
    standin.operations.clear()
    with machine(standin.DEVICE):
        found = work(place)
    np.testing.assert_equal(found, expected)
    assert {"aten::linear", "aten::addmm"} & {*standin.operations}
    assert [name for name in sorted(standin.operations) if not standin.apple_has(name)] == []


def test_the_stand_in_refuses_what_a_device_refuses() -> None:
    here, there = torch.rand(3, 4), torch.rand(3, 4).to(standin.DEVICE)
    for refused in (
        lambda: there.numpy(),
        lambda: np.asarray(there),
        lambda: np.isfinite(there),
        lambda: np.array([there[0, 0], there[1, 1]]),
        lambda: there.double(),
        lambda: there.sum(dtype=torch.float64),
        lambda: torch.zeros(3).double().to(standin.DEVICE),
        lambda: torch.tensor([1.0], dtype=torch.float64, device=standin.DEVICE),
        lambda: there + here,
        lambda: here @ there.T,
        lambda: torch.cat([there, here]),
        lambda: torch.stack([there.sum(), here.sum()]),
        lambda: here[torch.tensor([0]).to(standin.DEVICE)],
        lambda: there.index_select(0, torch.tensor([0])),
        lambda: there.index_add_(0, torch.tensor([0]), there[:1]),
        lambda: torch.nn.functional.embedding(torch.tensor([0]), there),
        lambda: torch.nn.Linear(4, 4)(there),
    ):
        with pytest.raises((TypeError, RuntimeError)):
            refused()
    assert there.device == standin.DEVICE and there.tolist() == there.cpu().tolist()
    assert float(there[0, 0]) == there[0, 0].item() and bool((there >= 0).all())
    assert (there * here.sum() + there[torch.tensor([0, 1, 2])]).device == standin.DEVICE
    there[1] = here[0]
    here.copy_(there)
    assert torch.equal(here[1], here[1].double().float()) and not hasattr(here, "held")
    assert torch.arange(3, device="standin").tolist() == [0, 1, 2]
    assert standin.apple_has("aten::histc") and not standin.apple_has("aten::segment_reduce")


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_stage_ends_when_the_models_device_has_computed_it(
    kind: str, tiny_model: FreeDA, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(getattr(torch, kind), "synchronize", lambda *of: waited.append(of))
    device = torch.device(kind, 1 if kind == "cuda" else 0)
    model = FreeDA(tiny_model.preset, replace(tiny_model.encoders, device=device), clock=Clock())
    with model.clock("stage"):
        assert not waited
    assert waited == [(device,) if kind == "cuda" else ()]


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_float32_asks_nothing_that_any_device_warns_of(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cast = autocast(torch.device(kind), torch.float32)
    assert not cast._enabled and cast.fast_dtype is torch.float16  # of bfloat16 older Macs warn even so
