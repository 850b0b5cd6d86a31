"""What the studio says of a picture is what the library says of it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.app.photographs import samples

from .conftest import Visitor

SCENE = Path(__file__).resolve().parents[2] / "docs" / "scene.png"


def test_labels_are_the_librarys(visitor: Visitor, model: Any) -> None:
    first = samples()[0]
    state, picture = visitor.idle(), visitor.first()
    assert state["words"] == first.words and state["pictures"][0]["state"] == "labelled"
    result = model.segment(first.image, first.words)
    regions, labels = visitor.map(picture)
    np.testing.assert_array_equal(labels, result.labels)
    np.testing.assert_array_equal(regions, result.regions)
    told = visitor.labels(picture)
    assert {one["name"]: one["share"] for one in told["classes"]} == pytest.approx(result.shares)
    for one in told["regions"]:
        inside = regions == one["region"]
        assert one["share"] == pytest.approx(inside.mean())
        assert one["number"] == np.bincount(result.labels[inside]).argmax() + 1 and not one["corrected"]
    assert [one["caveat"] for one in state["classes"]] == [""] * 4 and state["warnings"] == []


def test_other_words_and_settings(visitor: Visitor, model: Any) -> None:
    picture, image = visitor.first(), samples()[0].image
    visitor.labels(picture)
    settings = {"others": True, "local_weight": 0.3, "k": 5, "scale": 30.0}
    state = visitor.words("sunset, water=sea", settings=settings, colours={"water": "#0102ff"})
    assert [one["name"] for one in state["classes"]] == ["sunset", "water", "everything else"]
    assert state["classes"][1]["colour"] == "#0102ff" and state["settings"] == settings
    from dataclasses import replace

    superpixels = replace(model.options.superpixels, scale=30.0)
    changes = {"others": "everything else", "local_weight": 0.3, "k": 5, "superpixels": superpixels}
    result = model.segment(image, "sunset, water=sea", **changes)
    np.testing.assert_array_equal(visitor.map(picture)[1], result.labels)
    version = visitor.labels(picture)["version"]
    assert version > 1
    kept = visitor.ask("GET", f"{visitor.at}/pictures/{picture}/map.png?version={version}")
    visitor.words("water, sunset", settings={**settings, "scale": 30.0})
    assert visitor.labels(picture)["version"] == version + 1
    assert visitor.ask("GET", f"{visitor.at}/pictures/{picture}/map.png?version={version}") == kept
    visitor.words("sunset, night")
    visitor.labels(picture)
    visitor.ask("GET", f"{visitor.at}/pictures/{picture}/map.png?version={version}", status=409)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("tree, Tree", "given twice"),
        (", ".join(f"w{i}" for i in range(201)), "201 words: at most 200"),
        ("x" * 8001, "8,001 characters: at most 8,000"),
        ("tree\x00", "U+0000"),
    ],
)
def test_bad_words_change_nothing(visitor: Visitor, words: str, says: str) -> None:
    before = visitor.idle()
    assert says in visitor.words(words, 400)["detail"]
    assert visitor.state() == before


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 2.5}, "settings.k: "),
        ({"local_weight": 1.5}, "from 0 to 1"),
        ({"scale": "x"}, "scale"),
        ({"what": 1}, "what"),
    ],
)
def test_bad_settings(visitor: Visitor, settings: Any, says: str) -> None:
    assert says in visitor.words("tree", 400, settings=settings)["detail"]
    colour = visitor.words("tree", 400, colours={"tree": "red"})
    assert "expected #rrggbb" in colour["detail"]


def test_the_stateless_endpoint(visitor: Visitor, model: Any) -> None:
    form = {"words": "sunset, water, house, tree"}
    told = visitor.ask("POST", "/api/segment", data=form, files={"image": ("a.png", SCENE.read_bytes())})
    result = model.segment(SCENE, form["words"])
    assert (told["width"], told["height"]) == (512, 512) and told["warnings"] == []
    assert {one["name"]: one["share"] for one in told["classes"]} == pytest.approx(result.shares)
    labels = Image.open(io.BytesIO(base64.b64decode(told["labels"].split(",")[1])))
    np.testing.assert_array_equal(np.asarray(labels), result.labels)
    assert labels.mode == "P"
    for words, says in (("tree, tree", "twice"), (" ", "at least one word")):
        files = {"image": ("a.png", SCENE.read_bytes())}
        answer = visitor.ask("POST", "/api/segment", data={"words": words}, files=files, status=400)
        assert says in answer["detail"]
    assert [p.name for p in visitor.studio.place.iterdir() if p.is_file()] == []  # nothing is kept


def test_why(visitor: Visitor, model: Any) -> None:
    picture = visitor.first()
    told = visitor.ask("POST", f"{visitor.at}/pictures/{picture}/explain", {"x": 150, "y": 250})
    ours = model.segment(samples()[0].image, samples()[0].words).explain(150, 250)
    assert told["label"] == ours.label and told["margin"] == pytest.approx(ours.margin)
    assert [one["name"] for one in told["scores"]] == [one.name for one in ours.scores]
    assert f"{ours.margin:.3f} ahead of {ours.scores[1].name}" in told["sentence"]
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(told["region"].split(",")[1]))))
    np.testing.assert_array_equal(mask, ours.region)
    first = told["references"][0]["nearest"]
    assert [one["caption"] for one in first] == [one.caption for one in ours.references[0].nearest[:4]]
    outside = visitor.ask("POST", f"{visitor.at}/pictures/{picture}/explain", {"x": 9999, "y": 1}, 400)
    assert "wide" in outside["detail"]
    form = {"words": samples()[0].words, "x": "150", "y": "250"}
    alone = visitor.ask("POST", "/api/explain", data=form, files={"image": ("a.png", SCENE.read_bytes())})
    assert alone["scores"] == told["scores"]


def test_what_the_models_do_not_know_is_told(visitor: Visitor) -> None:
    visitor.send(samples()[1].image, name="mine.png")
    state = visitor.words("sunset, bear")
    mine = next(one for one in state["pictures"] if one["name"] == "mine.png")
    visitor.labels(mine["id"])
    state = visitor.idle()
    assert [one["caveat"] for one in state["classes"]] == ["", "not in this bank; answered by mushroom"]
    assert "drawn scenes, not photographs" in state["warnings"][0]


def test_a_photograph_that_was_taken_upright(visitor: Visitor, tmp_path: Path) -> None:
    image, turned = Image.fromarray(samples()[0].image[:, :300]), Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=turned, quality=95)
    visitor.send((tmp_path / "a.jpg").read_bytes(), name="a.jpg")
    row = next(one for one in visitor.idle()["pictures"] if one["name"] == "a.jpg")
    assert (row["width"], row["height"]) == (300, 512)
    assert visitor.map(row["id"])[0].shape == (512, 300)
    shown = Image.open(io.BytesIO(visitor.ask("GET", f"{visitor.at}/pictures/{row['id']}/image")))
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(image)).mean() < 5
    labels = Image.open(io.BytesIO(visitor.export(kind="labels", picture=row["id"]).content))
    assert labels.size == (300, 512)


def test_no_words_yet(visitor: Visitor) -> None:
    """Regions are there to be clicked, and words come from corrections."""
    visitor.words("")
    picture = visitor.first()
    told = visitor.labels(picture)
    assert told["classes"] == [] and {one["number"] for one in told["regions"]} == {0}
    answer = visitor.correct(picture, kind="region", regions=[0], word="sunset")
    assert answer["state"]["words"] == "sunset"
    assert {one["number"] for one in answer["labels"]["regions"]} == {1}
    why = visitor.ask("POST", f"{visitor.at}/pictures/{picture}/explain", {"x": 1, "y": 1})
    assert why["sentence"].startswith("It is the only word")
