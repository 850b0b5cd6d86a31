"""Region models: masks as transformers' own processors and the plainest code make them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from commands import refused, run, write_preset
from freeda import region_models
from freeda.errors import InputError, ModelError
from freeda.model import load
from freeda.model_files import REGION_MODELS
from freeda.presets import PRESETS, REGIONS, ModelSource, Preset, find_preset
from freeda.region_models import FAMILIES, GOOD, SAME, SHIFT, STABLE, load_regions, stability, unlike
from freeda.segment.regions import nearest, paint
from freeda.show import write_image
from hub import Repo, serve
from region_models import KINDS, save_region_model

EDGES = {"size": {"shortest_edge": 48, "longest_edge": 64}}
COLOURS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.2, 0.25]}
SIZES = [(64, 64), (50, 70), (131, 40)]


def picture(*size: int) -> Any:
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)


def cutter(folder: Path, preset: Preset, dtype: str = "float32") -> Any:
    return load_regions(replace(preset, regions=ModelSource(str(folder))), "cpu", dtype)


def enlarged(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def test_known_kinds() -> None:
    assert tuple(FAMILIES) == REGION_MODELS == KINDS
    assert tuple(REGIONS) == ("sam2", "eomt", "mask2former", "oneformer")


@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("settings", [{}, {**EDGES, **COLOURS}, {"size": {"height": 64, "width": 64}}])
@torch.inference_mode()
def test_queries(kind: str, settings: Any, tmp_path: Path, tiny_preset: Preset, tiny_tokenizer: Any) -> None:
    """Pixels of the library's processor; the surest masks on top, those under 0.5 dropped."""
    from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
    from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

    found = cutter(save_region_model(tmp_path / kind, kind, tiny_tokenizer, **settings), tiny_preset)
    assert found.name == f"{tiny_preset.name}/{kind}" and found.whole
    how = {"size": {"height": 64, "width": 64}, **settings}
    vit = kind.startswith("eomt")
    if vit and how["size"] == EDGES["size"]:
        how |= {"size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": True}
    own = EomtImageProcessorPil(**how) if vit else Mask2FormerImageProcessorPil(**how)
    given = {"size_divisor": 1} if kind == "oneformer" else {}
    task = tiny_tokenizer("the task is panoptic", padding="max_length", max_length=20)
    tokens = torch.tensor(task["input_ids"]) * torch.tensor(task["attention_mask"])
    for size in SIZES:
        image = picture(*size)
        x = own(image, return_tensors="pt", **given)["pixel_values"]
        if isinstance(x, list):
            x = torch.stack([torch.as_tensor(one) for one in x])
        seen = found.model(pixel_values=x, **({"task_inputs": tokens[None]} if kind == "oneformer" else {}))
        scores = seen.class_queries_logits[0].softmax(-1)[:, :-1].max(-1).values
        sure = scores >= 0.5
        logits = seen.masks_queries_logits[0]
        if vit and "do_pad" in how:
            height, width = round(64 * size[0] / max(size)), round(64 * size[1] / max(size))
            logits = enlarged(logits, (64, 64))[:, :height, :width]
        seen_size = (height, width) if vit and "do_pad" in how else x.shape[-2:]
        small = min(size[0], seen_size[0]), min(size[1], seen_size[1])
        expected = paint((enlarged(logits, small) > 0).numpy()[sure], scores.numpy()[sure])
        expected = expected[nearest(small[0], size[0])[:, None], nearest(small[1], size[1])]
        assert sure.sum() > 0 and (expected >= 0).any()
        assert (found(image) != expected).mean() < 0.002, (kind, size)  # rounding where a logit is near 0


@pytest.mark.parametrize("kind", KINDS[4:])
@torch.inference_mode()
def test_a_grid_of_points(
    kind: str, tmp_path: Path, tiny_preset: Preset, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAM 2, point by point: good and stable masks, no box twice; also from a repository made for video."""
    monkeypatch.setattr(region_models, "POINTS", side := 10)
    found = cutter(save_region_model(tmp_path / kind, kind, tiny_tokenizer, **COLOURS), tiny_preset)
    image = picture(50, 70)
    mean, std = (torch.tensor(COLOURS[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
    small = np.array(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))
    x = (torch.from_numpy(small).permute(2, 0, 1) / 255 - mean) / std
    seen = found.model.get_image_embeddings(x[None])
    logits, scores = [], []
    for row in range(side):
        for column in range(side):
            at = torch.tensor([[[[(column + 0.5) * 64 / side, (row + 0.5) * 64 / side]]]])
            said = found.model(image_embeddings=seen, input_points=at, multimask_output=True)
            for mask, score in zip(said.pred_masks[0, 0], said.iou_scores[0, 0], strict=True):
                inner, outer = (mask > SHIFT).sum(), (mask > -SHIFT).sum()
                if score > GOOD and outer and inner / outer > STABLE:
                    logits.append(mask)
                    scores.append(float(score))
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou_of_boxes(logits[i] > 0, logits[j] > 0) <= SAME for j in kept):
            kept.append(i)
    assert len(kept) < len(scores) < 3 * side**2
    expected = paint((enlarged(torch.stack(logits)[kept], (50, 64)) > 0).numpy(), np.array(scores)[kept])
    expected = expected[:, nearest(64, 70)]
    assert len(np.unique(expected)) > 1
    assert np.array_equal(found(image), expected)


@pytest.mark.parametrize("count", [0, 1, 40])
def test_no_box_twice(count: int) -> None:
    rng = np.random.default_rng(count)
    masks = torch.zeros(count, 20, 30, dtype=torch.bool)
    for mask in masks:
        top, left = rng.integers(0, 12), rng.integers(0, 20)
        mask[top : top + rng.integers(3, 9), left : left + rng.integers(3, 9)] = True
        mask[top + 1, left + 1] = False  # a box, not a mask, is compared
    scores = torch.from_numpy(rng.integers(0, 6, count) / 5)
    kept: list[int] = []
    for i in sorted(range(count), key=lambda i: -float(scores[i])):
        if all(iou_of_boxes(masks[i], masks[j]) <= SAME for j in kept):
            kept.append(i)
    assert unlike(masks, scores).tolist() == kept and (count < 40 or 1 < len(kept) < count)


def test_stability() -> None:
    logits = torch.randn(7, 9, 11, generator=torch.Generator().manual_seed(0)) * 3 + 2
    logits[0] = -5
    expected = [
        float((one > SHIFT).sum()) / float((one > -SHIFT).sum()) if (one > -SHIFT).any() else 0.0
        for one in logits
    ]
    np.testing.assert_allclose(stability(logits), expected, rtol=1e-6)


def iou_of_boxes(a: torch.Tensor, b: torch.Tensor) -> float:
    cells = []
    for mask in (a, b):
        ys, xs = (np.flatnonzero(mask.any(dim=1 - axis).numpy()) for axis in (0, 1))
        cells.append({(y, x) for y in range(ys[0], ys[-1] + 1) for x in range(xs[0], xs[-1] + 1)})
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


@pytest.mark.parametrize("kind", ["eomt", "mask2former", "sam2"])
def test_half_precision(kind: str, tmp_path: Path, tiny_preset: Preset, tiny_tokenizer: Any) -> None:
    folder = save_region_model(tmp_path / kind, kind, tiny_tokenizer)
    half, full = (cutter(folder, tiny_preset, dtype)(picture(50, 70)) for dtype in ("bfloat16", "float32"))
    assert half.shape == full.shape and ((half >= 0) == (full >= 0)).mean() > 0.8


def test_what_is_no_region_model(
    tmp_path: Path, tiny_preset: Preset, tiny_dense: Path, tiny_tokenizer: Any
) -> None:
    with pytest.raises(ModelError, match="is a model of type dinov2, not a region model"):
        cutter(tiny_dense, tiny_preset)
    folder = save_region_model(tmp_path / "own", "eomt", tiny_tokenizer)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "criterion" not in k}, folder / "model.safetensors")
    assert cutter(folder, tiny_preset) is not None  # the loss is of no use here
    save_file({k: v for k, v in weights.items() if "class_predictor" not in k}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="the weights lack class_predictor"):
        cutter(folder, tiny_preset)
    save_file({k: v * 0 for k, v in weights.items()}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="region model gives the same whatever it is shown"):
        cutter(folder, tiny_preset)


def test_in_a_preset(tmp_path: Path, tiny_preset: Preset, tiny_tokenizer: Any, tiny_bank: Path) -> None:
    """By name, id or folder; "superpixels" goes without; what results remember; `to` reads it again."""
    folder = save_region_model(tmp_path / "some-eomt", "eomt", tiny_tokenizer)
    (tmp_path / "own.json").write_text('{"base": "plus-l", "regions": "some-eomt"}')
    assert find_preset(tmp_path / "own.json").regions == ModelSource(str(folder))
    for given, expected in (("null", None), ('"superpixels"', None), ('"sam2"', REGIONS["sam2"])):
        (tmp_path / "own.json").write_text(f'{{"base": "plus-l", "regions": {given}}}')
        assert find_preset(tmp_path / "own.json").regions == expected
    with pytest.raises(InputError, match=r"regions is 'eomtt' \(did you mean 'eomt'\?\): use one of"):
        load(tiny_preset, tiny_bank, "cpu", regions="eomtt")
    with pytest.raises(ModelError, match="region model: there is no folder /nowhere"):
        load(tiny_preset, tiny_bank, "cpu", regions="/nowhere")
    model = load(tiny_preset, tiny_bank, "cpu", regions=folder)
    image = picture(50, 70)
    scene = model.encode(image)
    assert scene.models["regions"] == model.identity["regions"] == f"{tiny_preset.name}/some-eomt"
    assert np.array_equal(model.to("cpu").encode(image).regions(), scene.regions())
    whole = load_regions(model.preset, "cpu")
    assert whole is not None and len(np.unique(whole(image))) == len(np.unique(scene.regions()))
    plain = load(model.preset, tiny_bank, "cpu", regions="superpixels")
    assert plain.regions is None and "regions" not in plain.identity
    with pytest.raises(InputError, match=r"regions is <.*it has no 'name'"):
        load(tiny_preset, tiny_bank, "cpu", regions=len)


@pytest.mark.parametrize("kind", KINDS[2:])
def test_from_the_hub(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_preset: Preset, tiny_tokenizer: Any
) -> None:
    """From a fresh cache, then without a network; only what is read is fetched."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = Repo(save_region_model(tmp_path / "repo", kind, tiny_tokenizer, **EDGES, **COLOURS))
    for junk in ("sam2_hiera_large.pt", "150_16.pth", "README.md"):
        (repo.folder / junk).write_bytes(b"nobody needs this")
    image, preset = picture(50, 70), replace(tiny_preset, regions=ModelSource("someone/masks"))
    with serve({"models/someone/masks": repo}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + template)
        online = load_regions(preset, "cpu")
        fetched = {name.rsplit("/", 1)[1] for name in hub.fetched()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json"} <= fetched
    assert not fetched & {"sam2_hiera_large.pt", "150_16.pth", "README.md"}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load_regions(preset, "cpu")
    assert online is not None and again is not None and again.name == "someone/masks"
    assert np.array_equal(online(image), again(image))
    with pytest.raises(ModelError, match="region model: other/masks is not in the local cache and HF_HUB"):
        load_regions(replace(tiny_preset, regions=ModelSource("other/masks")), "cpu")


@pytest.mark.parametrize("name", ["plus-l", "plus-b"])
def test_plus(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_clip: Path, tiny_tokenizer: Any
) -> None:
    """The presets as they are, their models tiny: from a fresh cache, then without a network."""
    import transformers as t

    preset = PRESETS[name]
    assert preset.regions is not None
    tiny = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    kinds = {"plus-l": (t.RadioConfig, t.RadioModel), "plus-b": (t.Dinov2WithRegistersConfig,)}
    config, *model = kinds[name]
    of = {"patch_size": 16, "max_img_size": 512} if model else {"patch_size": 14, "image_size": 518}
    dense = (model or [t.Dinov2WithRegistersModel])[0](config(**tiny, **of))
    dense.save_pretrained(tmp_path / "dense")
    save_region_model(tmp_path / "masks", "eomt", tiny_tokenizer, **EDGES)
    repos = {
        f"models/{preset.clip.id}": Repo(tiny_clip),
        f"models/{preset.dense.id}": Repo(tmp_path / "dense"),
    }
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serve({**repos, f"models/{preset.regions.id}": Repo(tmp_path / "masks")}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + template)
        online = load(name, device="cpu").encode(picture(50, 60))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load(name, device="cpu").encode(picture(50, 60))
    assert online.models["regions"] == preset.regions.id and online.regions().max() >= 0
    assert online.regions().shape == (336, 403) and len(online.mosaic.embeddings) == 2
    assert np.array_equal(online.regions(), again.regions())
    assert np.array_equal(online.mosaic.features, again.mosaic.features)


def test_on_the_command_line(
    tmp_path: Path, tiny_preset: Preset, tiny_bank: Path, tiny_tokenizer: Any
) -> None:
    """A model is told of once and not taken for superpixels in a rerun; maps fit their one photograph."""
    folder = save_region_model(tmp_path / "some-eomt", "eomt", tiny_tokenizer)
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png", picture(50, 70))
    about = ("--model", write_preset(tmp_path, tiny_preset), "--bank", tiny_bank, "--classes", "cat, dog")
    photo, more = tmp_path / "a.png", (*about, "--out", tmp_path / "out", "--device", "cpu", "--k", 3)
    done = run("segment", photo, tmp_path / "b.png", *more, "--regions", folder)
    assert done.exit_code == 0 and done.output.count("which was trained on masks") == 1, done.output
    assert "tiny/some-eomt" in done.output
    for regions, told in ((folder, "already there"), ("superpixels", "labelled")):
        done = run("segment", photo, tmp_path / "b.png", *more, "--regions", regions)
        assert f"2 {told}" in done.output, done.output
    values = np.arange(3500).reshape(50, 70) // 1750 * 300
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "map.png")
    np.save(tmp_path / "map.npy", values - 1)
    labels = []
    for given in ("map.png", "map.npy"):
        done = run("segment", photo, *more, "--regions", tmp_path / given, "--set", "region_vote=true")
        assert done.exit_code == 0 and "trained on masks" not in done.output, done.output
        labels.append(np.asarray(Image.open(tmp_path / "out" / "a.labels.png")))
    assert (labels[0][:25] == labels[0][0, 0]).all() and (labels[0][25:] == labels[0][25, 0]).all()
    np.save(tmp_path / "float.npy", values / 2)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "small.png")
    for given, says in (
        ("float.npy", "float.npy: holds float64 of 50 x 70, expected whole numbers of 50 x 70"),
        ("small.png", "small.png: holds int64 of 9 x 9, expected whole numbers of 50 x 70"),
        ("objects.npy", "objects.npy: this mask cannot be read"),
        ("no.png", "no.png: no such file"),
    ):
        refused(run("segment", photo, *more, "--regions", tmp_path / given), says)
    two = run("segment", photo, tmp_path / "b.png", *more, "--regions", tmp_path / "map.png")
    refused(two, "map.png: a map of regions belongs to one photograph, and 2 are given")
    how = ("--limit", 1, "--device", "cpu", "--out", tmp_path / "measured", *about[:4])
    done = run("evaluate", "miniature", *how, "--regions", folder)
    assert done.exit_code == 0 and "regions are those of tiny/some-eomt" in done.output, done.output
    assert r"| trained\_on\_masks | tiny/some-eomt |" in (tmp_path / "measured" / "report.md").read_text()
