"""SAM 3: planes and labels by the plainest code from the model's raw outputs; words asked for by pictures."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from commands import refused, run
from freeda import FreeDA, Segmentation
from freeda.encoders import load_detector, model_identity
from freeda.errors import BankError, InputError, ModelError
from freeda.model import load
from freeda.presets import PRESETS, ModelSource, Preset
from freeda.segment.planes import PROMPTS, best_prompt, tried
from freeda.show import write_image
from hub import Repo, serve
from sam3_model import save_sam3
from small_banks import kept, make_bank

SIZES = [(56, 56), (50, 70), (131, 40), (7, 9)]


def picture(*size: int) -> Any:
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[False, True], ids=["pictures", "video"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any
) -> Path:
    return save_sam3(tmp_path_factory.mktemp("sam3"), tiny_tokenizer, request.param)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    return save_sam3(tmp_path_factory.mktemp("sam3") / "some-sam3", tiny_tokenizer, True)


def of(folder: Path) -> Preset:
    return replace(PRESETS["sam3"], detector=ModelSource(str(folder)))


@pytest.fixture(scope="module")
def model(one: Path) -> FreeDA:
    return load(of(one), device="cpu")


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@cache
def raw_model(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, Sam3Model

    return AutoTokenizer.from_pretrained(folder), Sam3Model.from_pretrained(folder).eval()


@torch.inference_mode()
def raw_plane(folder: Path, image: Any, prompt: str) -> Any:
    """(16, 16) float64 of the whole model in one call, as its page shows it; prepared by Pillow's processor
    of another model with the same settings."""
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    half = [0.5] * 3
    prepare = SiglipImageProcessorPil(
        size={"height": 56, "width": 56}, resample=Image.Resampling.BILINEAR, image_mean=half, image_std=half
    )
    x = torch.as_tensor(np.asarray(prepare(Image.fromarray(image))["pixel_values"]))
    tokenizer, network = raw_model(folder)
    text = tokenizer([prompt], padding="max_length", max_length=32, return_tensors="pt")
    found = network(pixel_values=x, input_ids=text["input_ids"], attention_mask=text["attention_mask"])
    out = np.zeros((16, 16))
    for query in range(5):
        score = sigmoid(found.pred_logits[0, query])
        out = np.maximum(out, score * sigmoid(found.pred_masks[0, query]))
    return np.maximum(out, sigmoid(found.semantic_seg[0, 0])) * sigmoid(found.presence_logits[0, 0])


def resized(plane: Any, size: tuple[int, int]) -> Any:
    """Bilinear between the centres of pixels, the edge repeated outward."""
    at = [np.clip((np.arange(n) + 0.5) * 16 / n - 0.5, 0, 15) for n in size]
    rows = np.stack([np.interp(at[0], np.arange(16), column) for column in plane.T], axis=1)
    return np.stack([np.interp(at[1], np.arange(16), row) for row in rows])


@pytest.mark.parametrize("size", SIZES)
def test_labels(folder: Path, size: tuple[int, int]) -> None:
    """Scores are the planes, of a class's words the best; the label is the word with the highest."""
    model, image = load(of(folder), device="cpu"), picture(*size)
    words = {"cat": ("cat",), "dog": ("dog", "a red car"), "tree": ("tree",)}
    planes = {w: resized(raw_plane(folder, image, w), size) for own in words.values() for w in own}
    expected = np.stack([np.max([planes[word] for word in own], axis=0) for own in words.values()])
    scene = model.encode(image)
    found = model.segment(scene, "cat, dog=a red car, tree")
    np.testing.assert_allclose(found.scores(), expected, atol=2e-5)
    ordered = np.sort(expected, axis=0)
    sure = ordered[-1] - ordered[-2] > 1e-4
    assert sure.mean() > 0.9 and (found.labels == expected.argmax(axis=0))[sure].all()
    np.testing.assert_allclose(found.confidence, expected.max(axis=0), atol=2e-5)
    # Words of the same photograph are another pass of the detector, nothing else; and others as before.
    assert np.array_equal(model.segment(scene, ["tree"]).scores()[0], found.scores(["tree"])[0])
    assert found.scene is not None and found.scene.seen is None
    again = model.segment(found.scene, ["sky", "cat"])
    assert np.array_equal(again.scores(["cat"]), found.scores(["cat"]))


def test_half_precision(model: FreeDA, one: Path) -> None:
    image, half = picture(50, 70), load(of(one), device="cpu", dtype="float16")
    scene = half.encode(image)
    assert scene.seen[0].dtype == torch.float16
    near = model.segment(image, ["cat", "dog"]).scores()
    np.testing.assert_allclose(half.segment(scene, ["cat", "dog"]).scores(), near, atol=0.1)


def test_the_photograph_is_seen_once(model: FreeDA, monkeypatch: pytest.MonkeyPatch) -> None:
    network = model.encoders.clip.model  # type: ignore[attr-defined]
    seen, passes = [], []
    real_look, real_pass = network.get_vision_features, network.forward
    monkeypatch.setattr(network, "get_vision_features", lambda x: seen.append(x) or real_look(x))
    monkeypatch.setattr(network, "forward", lambda **how: passes.append(how) or real_pass(**how))
    scene = model.encode(picture(30, 40))
    for words in (["cat", "dog"], ["sky", "tree", "grass"]):
        model.segment(scene, words)
    assert len(seen) == 1 and len(passes) == 5


def test_rules(model: FreeDA, tmp_path: Path) -> None:
    """Others, a background, votes and refinement as anywhere; a file keeps the planes of its words."""
    image = picture(50, 70)
    plain = model.segment(image, ["cat", "dog"])
    best = plain.confidence
    level = float(np.median(best))
    with_rest = model.segment(image, ["cat", "dog"], background="constant", background_threshold=level)
    assert with_rest.names == ("cat", "dog", "background")
    assert (with_rest.mask("background") == (best < np.float32(level)))[abs(best - level) > 1e-5].all()
    named = model.segment(image, ["cat"], others="all else", other_words=("sky", "tree"))
    assert named.vocabulary is not None and named.vocabulary.prompts == ("cat", "sky", "tree")
    expected = model.segment(image, ["sky", "tree"]).confidence
    np.testing.assert_allclose(named.scores(["all else"])[0], expected, atol=1e-6)
    for changes in ({"region_vote": True}, {"refine": "pamr", "refine_dilations": (1, 2)}):
        assert model.segment(image, ["cat", "dog"], **changes).labels.shape == (50, 70)  # type: ignore[arg-type]
    kept = Segmentation.load_npz(named.save_npz(tmp_path / "kept.npz"))
    assert np.array_equal(kept.scores(), named.scores()) and kept.models == named.models
    with pytest.raises(InputError, match="these scores are of cat, sky, tree, and of no other words"):
        kept.relabel(model.vocabulary(["dog", "sky", "tree"]))
    assert kept.vocabulary is not None
    assert "background" in kept.relabel(kept.vocabulary, background="constant").names
    with pytest.raises(InputError, match="option 'local_weight' means nothing to SAM 3"):
        kept.relabel(kept.vocabulary, local_weight=0.5)
    told = plain.explain(3, 4)
    assert told.references == () and "no references to show" in str(told) and told.only_global == ""
    assert not any("global" in line for line in told.sentences())
    assert [one.local_score for one in told.scores] == [None, None]
    assert told.scores[0].score == pytest.approx(best[4, 3])
    assert told.draw().ndim == 3 and json.dumps(told.to_dict())


def test_what_means_nothing(model: FreeDA, one: Path, tiny_bank: Path) -> None:
    image = picture(20, 30)
    for changes in ({"k": 3}, {"short_side": 100}, {"templates": ("a {}",)}, {"synonyms": "mean"}):
        with pytest.raises(InputError, match=f"option '{next(iter(changes))}' means nothing to SAM 3, whose"):
            model.segment(image, ["cat"], **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="regions mean nothing to SAM 3"):
        model.segment(image, ["cat"], regions=np.zeros((20, 30), int))
    for given in ({"clip": "a/b"}, {"dense": "a/b"}, {"generator": "a/b"}):
        with pytest.raises(InputError, match=f"{next(iter(given))} means nothing to preset 'sam3'"):
            load(of(one), device="cpu", **given)
    with pytest.raises(InputError, match="regions means nothing to preset 'sam3'"):
        load(of(one), device="cpu", regions="eomt")
    with pytest.raises(BankError, match="keeps no pictures, and SAM 3 takes nothing else of a bank"):
        load(of(one), tiny_bank, "cpu")
    with pytest.raises(
        InputError, match=r"class.*|word 'a a.*is \d+ tokens long: this model reads at most 32"
    ):
        model.segment(image, ["a " * 40])
    with pytest.raises(InputError, match="coverage needs a bank"):
        model.coverage(["cat"])
    scene = load("miniature", device="cpu").encode(image)
    with pytest.raises(InputError, match="this vocabulary was made with CLIP"):
        load("miniature", device="cpu").segment(scene, model.vocabulary(["cat"]))


def test_proofs(tmp_path: Path, one: Path, tiny_tokenizer: Any) -> None:
    """Weights that are missing, or heed nothing, are refused; so is what is no SAM 3."""
    from safetensors.torch import load_file, save_file

    weights = load_file(one / "model.safetensors")
    for case, says in (
        ("missing", r"SAM 3: .*the weights lack detr_decoder.presence_head.layer1.weight"),
        ("deaf", "SAM 3's text model gives the same whatever"),
        ("blind", "SAM 3, shown pictures, gives the same whatever"),
    ):
        at = tmp_path / case
        at.mkdir()
        for file in one.iterdir():
            (at / file.name).write_bytes(file.read_bytes())
        changed = dict(weights)
        for name in weights:
            if case == "missing" and "presence_head" in name and "layer1.weight" in name:
                del changed[name]
            if (
                case == "deaf" and name.endswith("text_projection.weight") and "text_encoder" not in name
            ) or (case == "blind" and "vision_encoder.backbone.embeddings.patch_embeddings" in name):
                changed[name] = torch.zeros_like(weights[name])
        save_file(changed, at / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelError, match=says):
            load_detector(of(at), "cpu")
    with pytest.raises(ModelError, match=r"SAM 3: .*is a model of type clip, not a SAM 3"):
        (tmp_path / "deaf" / "config.json").write_text('{"model_type": "clip"}')
        load_detector(of(tmp_path / "deaf"), "cpu")


def test_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: Path) -> None:
    """By the preset's own id: from a fresh cache, then without a network; a refusal says how to get in."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = Repo(tmp_path / "repo")
    repo.folder.mkdir()
    for file in one.iterdir():
        (repo.folder / file.name).write_bytes(file.read_bytes())
    for junk in ("sam3.pt", "README.md", "LICENSE"):
        (repo.folder / junk).write_bytes(b"nobody needs this")
    repo.refuses = (403, "GatedRepo")
    image = picture(50, 70)
    with serve({"models/facebook/sam3": repo}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        template = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + template)
        with pytest.raises(
            ModelError, match=r"it is gated: accept its terms at .*/facebook/sam3 and set HF_"
        ):
            load("sam3", device="cpu")
        repo.refuses = None
        online = load("sam3", device="cpu").segment(image, ["cat", "dog"])
        fetched = {name.rsplit("/", 1)[1] for name in hub.fetched()}
    assert {"config.json", "model.safetensors"} <= fetched and not fetched & {
        "sam3.pt",
        "README.md",
        "LICENSE",
    }
    assert not any("dinov2" in asked or "clip-vit" in asked for asked in hub.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = load("sam3", device="cpu")
    assert np.array_equal(again.segment(image, ["cat", "dog"]).scores(), online.scores())
    assert again.identity == {**model_identity(PRESETS["sam3"]), "score": "planes"}
    assert online.models["clip"]["id"] == "facebook/sam3" and again.to("cpu").identity == again.identity
    with pytest.raises(ModelError, match="SAM 3: other/sam3 is not in the local cache and HF_HUB_OFFLINE"):
        load(replace(PRESETS["sam3"], detector=ModelSource("other/sam3")), device="cpu")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    nouns = ["cat"] * 3 + ["dog"] * 12 + ["tree"]
    return make_bank(tmp_path_factory.mktemp("pictures"), [[kept(noun, i) for i, noun in enumerate(nouns)]])


@pytest.mark.slow
def test_prompts_by_pictures(model: FreeDA, one: Path, pictures: Any) -> None:
    """The prompt whose plane overlaps the masks best, of pictures spread over the word's rows."""
    with_bank, detector = load(of(one), pictures.path, "cpu"), model.encoders.clip
    expected = {}
    for word, rows in (("cat", range(3)), ("dog", [3, 4, 6, 7, 9, 10, 12, 14])):
        means = []
        for prompt in (template.format(word) for template in PROMPTS):
            each = []
            for row in rows:
                pair = pictures.row(row)
                image = np.array(Image.open(io.BytesIO(pair["image"])).convert("RGB"))
                mask = np.array(Image.open(io.BytesIO(pair["mask"]))).astype(float)
                plane = resized(raw_plane(one, image, prompt), mask.shape)
                each.append(np.minimum(plane, mask).sum() / np.maximum(plane, mask).sum())
            means.append((prompt, np.mean(each)))
        found = [(t.prompt, t.iou) for t in tried(detector, pictures, word)]  # type: ignore[arg-type]
        assert [prompt for prompt, _ in found] == [prompt for prompt, _ in means]
        np.testing.assert_allclose([iou for _, iou in found], [iou for _, iou in means], atol=1e-4)
        expected[word] = max(means, key=lambda one: one[1])[0]
    assert best_prompt(detector, pictures, "sofa") == "sofa"  # type: ignore[arg-type]
    words = with_bank.vocabulary(["cat", "dog", "sofa"])
    assert words.names == ("cat", "dog", "sofa")
    assert words.prompts == (expected["cat"], expected["dog"], "sofa")
    assert set(expected.values()) - {"cat", "dog"}, "the models of this test choose no other prompt"
    image = picture(30, 30)
    asked = model.segment(image, list(words.prompts)).scores()
    assert np.array_equal(with_bank.segment(image, words).scores(), asked)
    rest = with_bank.vocabulary(["sofa"], others="rest", other_words=("cat", "dog"))
    assert rest.prompts == ("sofa", "cat", "dog")  # what nobody named is not tried
    assert words.digest() != model.vocabulary(["cat", "dog", "sofa"]).digest()


def test_on_the_command_line(tmp_path: Path, one: Path, pictures: Any, tiny_bank: Path) -> None:
    preset = tmp_path / "own.json"
    preset.write_text(json.dumps({"base": "sam3", "detector": str(one)}))
    for name in ("a", "b"):
        write_image(tmp_path / "photos" / f"{name}.png", picture(50, 70))
    photo, out = tmp_path / "photos" / "a.png", tmp_path / "out"
    about = ("--model", preset, "--classes", "cat, dog=tree, sofa", "--device", "cpu")
    more = ("segment", tmp_path / "photos", *about, "--out", out)
    done = run(*more, "--export", "coco", "--npz", "--explain", "5,6", "--set", "region_vote=true")
    assert done.exit_code == 0 and "labels are those of own/some-sam3, which was trained on" in done.output, (
        done.output,
        done.exception,
    )
    assert done.output.count("no references to show") == 2
    assert {"a.labels.png", "a.overlay.jpg", "a.json", "a.npz", "a.explain-5-6.png"} <= {
        file.name for file in out.iterdir()
    }
    record = json.loads((out / "a.json").read_text())
    assert record["models"]["clip"]["id"] == "own/some-sam3" and record["models"]["score"] == "planes"
    assert "2 already there" in run(*more, "--set", "region_vote=true").output
    done = run(*more, "--bank", pictures.path)
    assert done.exit_code == 0 and "by the bank's pictures words are asked for as" in done.output, done.output
    assert "it has none of sofa" in done.output and "2 labelled" in done.output
    for given, says in (
        (("--set", "k=3"), "option 'k' means nothing to SAM 3, whose options are others, other_words"),
        (("--k", 3), "option 'k' means nothing to SAM 3"),
        (("--local-weight", 0.5), "option 'local_weight' means nothing to SAM 3"),
        (("--regions", "eomt"), "regions means nothing to preset 'own'"),
        (("--grow",), "--grow means nothing to --model"),
        (("--draw", "lcm"), "--draw means nothing to --model"),
        (("--index", "approximate"), "--index means nothing to --model"),
        (("--batch-size", 2), "--batch-size means nothing to --model"),
        (("--bank", tiny_bank), f"{tiny_bank}: keeps no pictures"),
    ):
        refused(run("segment", photo, *about, "--out", tmp_path / "no", *given), says)
    refused(run("collect", "--words", photo, "--out", tmp_path / "no", "--model", preset), "only labels")
    preset.write_text(json.dumps({"base": "sam3", "detector": str(one), "clip": "a/b"}))
    refused(
        run("segment", photo, *about, "--out", tmp_path / "no"), "['clip'] mean nothing on the base 'sam3'"
    )
    preset.write_text(json.dumps({"base": "sam3", "detector": str(one)}))
    (tmp_path / "photos" / "c.png").write_text("no picture")
    done = run(*more, "--save-vocabulary", tmp_path / "kept.npz", "--bank", pictures.path)
    assert done.exit_code == 1 and "2 already there, 1 failed" in done.output, done.output
    kept_words = ("--vocabulary", tmp_path / "kept.npz", *about[:2], *about[4:], "--out", out)
    assert "2 already there, 1 failed" in run("segment", tmp_path / "photos", *kept_words).output
    how = (
        "--device",
        "cpu",
        "--out",
        tmp_path / "measured",
        "--model",
        preset,
        "--limit",
        1,
        "--bank",
        pictures.path,
    )
    done = run("evaluate", "miniature", *how)
    assert done.exit_code == 0 and "labels are those of own/some-sam3, which was trained" in done.output, done
    assert r"| trained\_on\_masks | own/some-sam3 |" in (tmp_path / "measured" / "report.md").read_text()
