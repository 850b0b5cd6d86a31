"""Whose options count, what the truth's labels are, and where a data set comes from."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evaluation.sets import Noise
from freeda.errors import InputError
from freeda.evaluation.dataset import Origin, find_origin
from freeda.evaluation.job import evaluate
from freeda.evaluation.subject import (
    FreedaLabeller,
    check_options,
    label_names,
    protocol_changes,
    protocol_options,
)
from freeda.evaluation.table import DATASETS
from freeda.miniature.dataset import SCENES, Scenes
from freeda.miniature.scenes import CLASSES
from freeda.miniature.trial import held_out
from freeda.model import FreeDA
from freeda.options import SegmentOptions, Superpixels, parse_settings, to_dict
from freeda.presets import PRESETS
from freeda.segment.vocabulary import Vocabulary


class Backed(Noise):
    background = True
    changes = {"background": "local", "superpixels": Superpixels(scale=20.0, sigma=0.5, min_size=5)}  # noqa: RUF012


def test_the_user_wins_over_the_protocol_and_it_over_the_preset() -> None:
    preset = PRESETS["miniature"]
    options = protocol_options(preset, Backed())
    assert (
        options.k == preset.segment.k and options.background == "local" and options.superpixels.scale == 20.0
    )
    assert protocol_changes(preset, Backed(), options) == {}
    mine = parse_settings(["k=7", "superpixels.scale=50", "background=constant", "local_weight=0"], options)
    told = protocol_changes(preset, Backed(), mine)
    assert told == {
        "k": [preset.segment.k, 7],
        "superpixels.scale": [20.0, 50.0],
        "background": ["local", "constant"],
        "local_weight": [preset.segment.local_weight, 0.0],
    }
    json.dumps(told)


@pytest.mark.parametrize("name", DATASETS)
def test_the_table_is_what_is_used(name: str) -> None:
    class Known(Noise):
        changes = DATASETS[name].changes
        background = DATASETS[name].background

    options = protocol_options(PRESETS["vit-l"], Known())
    assert (
        options.superpixels == DATASETS[name].superpixels and options.k == 350 and options.short_side == 448
    )
    check_options(Known(), options)


def test_labels_that_the_truth_lacks_are_refused() -> None:
    usual = PRESETS["miniature"].segment
    for changes, says in (
        ({"background": "local"}, "background='local'"),
        ({"others": "rest"}, "others='rest'"),
    ):
        with pytest.raises(InputError, match=f"'noise' has no background, so {says}"):
            check_options(Noise(), usual.with_changes(**changes))
        check_options(Backed(), usual.with_changes(**changes))
    check_options(Noise(), usual)
    assert label_names(Backed()) == ("cat", "dog", "tree", "background")
    assert label_names(Noise()) == ("cat", "dog", "tree")


def test_others_and_background_are_one_in_the_truth(tiny_model: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 160, 3), dtype=np.uint8)
    image[:, :60] //= 4
    image[50:, 80:] = image[50:, 80:] // 4 + 190
    rest = {"others": "rest", "other_words": ("house", "boat", "water", "sky", "grass")}
    words = tiny_model.vocabulary(["cat", "dog", "tree"], **rest)
    unsure = float(np.median(tiny_model.segment(image, words).confidence))
    rule = {"background": "constant", "background_threshold": unsure}
    own = tiny_model.segment(image, words, **rule)
    assert own.names[3:] == ("rest", "background") and {3, 4} < set(np.unique(own.labels).tolist())
    labels = FreedaLabeller(tiny_model, words, tiny_model.options.with_changes(**rest, **rule), 4)(image)
    np.testing.assert_array_equal(labels, np.where(own.labels == 4, 3, own.labels))


def test_a_measurement_is_freeda_s_own_labels(tmp_path: Path, tiny_model: Any) -> None:
    data = Backed(5)
    result = evaluate(data, out=tmp_path, model=tiny_model, device="cpu", report=False)
    again = tiny_model.vocabulary(list(data.classes))
    matrix = np.zeros((4, 4), int)
    for i in range(5):
        labels = tiny_model.segment(data.read_image(i), again, **Backed.changes).labels
        for p, t in zip(labels.ravel().tolist(), data.read_truth(i).ravel().tolist(), strict=True):
            if t != 255:
                matrix[t, p] += 1
    np.testing.assert_array_equal(result.counts.matrix, matrix)
    assert result.labels[-1] == "background" and result.settings["protocol_changes"] == {}
    assert result.settings["options"] == to_dict(tiny_model.options.with_changes(**Backed.changes))
    kept = (tmp_path / "vocabulary.npz").read_bytes()
    evaluate(data, out=tmp_path, model=tiny_model, device="cpu", report=False, limit=2)
    assert (tmp_path / "vocabulary.npz").read_bytes() == kept
    with pytest.raises(InputError, match=r"options\.k was 5, now 6"):
        evaluate(
            data,
            out=tmp_path,
            model=tiny_model,
            device="cpu",
            report=False,
            options=protocol_options(tiny_model.preset, data).with_changes(k=6),
        )


def test_begun_anew_nothing_of_before_is_left(tmp_path: Path, tiny_model: Any) -> None:
    """The vocabulary of other options, above all: all figures depend on it."""
    for out, k in (("twice", 5), ("twice", 1), ("once", 1)):
        options = tiny_model.options.with_changes(k=k)
        given = {"model": tiny_model, "options": options, "device": "cpu", "report": False}
        evaluate(Noise(2), out=tmp_path / out, resume=False, **given)
        words = Vocabulary.load(tmp_path / out / "vocabulary.npz")
        np.testing.assert_array_equal(
            words.prototypes, tiny_model.vocabulary(list(words.names), k=k).prototypes
        )


def test_a_run_goes_on_only_with_what_its_labels_depend_on(tmp_path: Path, tiny_model: Any) -> None:
    """Another bank, other models, another precision, other images: each by itself is told, and refused."""

    class OtherBank:
        identity, search = "other", None

        def __len__(self) -> int:
            return len(tiny_model.bank)

    class OtherImages(Noise):
        def digest(self) -> str:
            return "other"

    def begin(dataset: Any = None, bank: Any = tiny_model.bank, **encoders: Any) -> None:
        model = FreeDA(tiny_model.preset, replace(tiny_model.encoders, **encoders), clock=tiny_model.clock)
        evaluate(dataset or Noise(1), out=tmp_path, model=model, bank=bank, device="cpu", report=False)

    begin()
    others: list[tuple[str, dict[str, Any]]] = [
        ("bank was ", {"bank": OtherBank()}),
        ("models.* was ", {"identity": {**tiny_model.encoders.identity, "clip_dim": 7}}),
        ("dtype was 'float32', now 'bfloat16'", {"dtype": torch.bfloat16}),
        ("samples_digest was ", {"dataset": OtherImages(1)}),
    ]
    for says, given in others:
        with pytest.raises(InputError, match=rf"was begun with other settings \({says}"):
            begin(**given)
    begin()


def test_no_bank_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FreeDA's score needs a bank"):
        published = SegmentOptions(method="freeda")
        evaluate(Noise(), out=tmp_path / "o", model="vit-b", device="cpu", options=published)
    assert not (tmp_path / "o").exists()


def test_the_miniature_is_the_demo_s() -> None:
    scenes, drawn = Scenes(3, 5), held_out(3, 5)
    assert len(Scenes()) == SCENES == 200 and scenes.classes == CLASSES
    for i, scene in enumerate(drawn):
        np.testing.assert_array_equal(scenes.read_image(i), scene.image)
        np.testing.assert_array_equal(scenes.read_truth(i), scene.labels)
    assert scenes.sample_name(4) == "scene-3-4"
    assert scenes.digest() == Scenes(3, 9).digest() != Scenes(4, 5).digest()
    again = Origin(**json.loads(json.dumps(asdict(scenes.origin)))).open()
    assert len(again) == 5 and again.digest() == scenes.digest()


def test_the_miniature_measures_what_the_demo_does(tmp_path: Path) -> None:
    import freeda
    from freeda.miniature import trial

    model = freeda.load("miniature", device="cpu")
    scenes = held_out(0, 6)
    encoded = [model.encode(scene.image) for scene in scenes]
    prototypes = trial.true_prototypes(model.encoders, scenes)
    expected = trial.measure(model, scenes, encoded, prototypes)
    result = evaluate("miniature", out=tmp_path, limit=6, device="cpu", report=False, model=model)
    assert result.miou == expected.miou["full"]
    found = dict(zip(result.labels, result.counts.per_class_iou().tolist(), strict=True))
    assert repr(found) == repr(expected.per_class["full"])


def test_origins(tmp_path: Path) -> None:
    assert len(find_origin("Miniature", limit=7).open()) == 7
    assert find_origin("miniature", split="12", limit=1).open().sample_name(0) == "scene-12-0"
    assert find_origin("VOC", tmp_path).arguments == {
        **{"name": "voc20", "data": str(tmp_path), "split": None, "classes": None}
    }
    given = find_origin("folder", tmp_path, "val", tmp_path / "names.txt").arguments
    assert (given["split"], given["classes"]) == ("val", str(tmp_path / "names.txt"))
    for given, says in (
        ({"name": "voc20"}, "needs the folder of its files: --data DIR"),
        ({"name": "voc22", "data": tmp_path}, "'voc22' is no data set"),
        ({"name": "miniature", "data": tmp_path}, "data is "),
        ({"name": "miniature", "classes": tmp_path}, "classes is "),
        ({"name": "miniature", "split": "val"}, "number of a seed"),
        ({"name": "miniature", "split": "-1"}, "number of a seed"),
        ({"name": "miniature", "limit": 0}, "0 scenes"),
        ({"name": "voc20", "data": tmp_path}, "JPEGImages"),
    ):
        with pytest.raises(InputError, match=says):
            find_origin(**given).open()  # type: ignore[arg-type]
