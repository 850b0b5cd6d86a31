"""What the page asks of the models: the same as the library answers, within its bounds."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.app import files
from freeda.app.engine import Engine, Knobs, safe_stem, samples
from freeda.app.limits import Limits
from freeda.app.view import labels_view
from freeda.errors import InputError
from freeda.images import read_image
from freeda.segment import vocabulary
from freeda.segment.vocabulary import WordEmbedder
from freeda.show import overlay, write_image


@pytest.fixture
def engine(model: Any) -> Engine:
    return Engine(model, Limits(megapixels=1, words=5, letters=200, scenes=2))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "secret-folder" / "photo.png"
    path.parent.mkdir()
    Image.fromarray(samples()[0].image).save(path)
    return path


def test_labels_are_the_librarys(engine: Engine, model: Any, photo: Path) -> None:
    engine.open("me", photo, "photo.png")
    for words, knobs, changes in (
        ("sunset, water", Knobs(), {}),
        ("sunset; water=sea\ntree,,", Knobs(0.5, 7, 100.0), {"local_weight": 0.5, "k": 7}),
        ("house", Knobs(scale=20.0), {}),
        ("house", Knobs(others=True), {"others": "everything else"}),
    ):
        opened = engine.label("me", words, knobs)
        found = opened.result
        assert found is not None
        hint = "house is the only word, so it gets every pixel: tick Everything else under Settings"
        assert labels_view(opened)["hint"] == (hint if found.names == ("house",) else "")
        names = {"sunset": [], "water": ["sea"], "tree": []} if ";" in words else words.split(", ")
        cut = model.options.superpixels
        if knobs.scale is not None:
            changes["superpixels"] = type(cut)(**{**vars(cut), "scale": knobs.scale})
        expected = model.segment(photo, names, **changes)
        np.testing.assert_array_equal(found.labels, expected.labels)
        assert found.names == expected.names


def test_what_must_be_known_of_picture_and_words(engine: Engine, photo: Path, tmp_path: Path) -> None:
    """Also after the photograph was cut anew, and in the file to download."""
    first, bear = samples()[0], "not in this bank; answered by mushroom"
    own = write_image(tmp_path / "own.png", first.picture)
    for image, drawn in ((first.picture, True), (photo, False), (own, True), (first.image, False)):
        opened = engine.open("me", image, "x.png")
        for knobs in (Knobs(), Knobs(scale=30.0)):
            view = labels_view(engine.label("me", "sunset, bear", knobs))
            assert ("drawn scenes" in view["caveat"]) is not drawn and bool(view["caveat"]) is not drawn
            assert [one["caveat"] for one in view["classes"]] == ["", bear]
        result, strengths = opened.result, np.full(2, 0.5, np.float32)
        assert result is not None
        file = files.write_result(opened, result, "overlay", tmp_path, result.palette, strengths)
        legend = overlay(result.image, result.labels, result.names, caveats=result.caveats)
        assert read_image(file).shape == legend.shape
        assert legend.shape != overlay(result.image, result.labels, result.names).shape
    told = engine.segment(photo, "sunset, bear", Knobs()).caveats
    assert len(told.lines()) == 2 and engine.segment(own, "sunset", Knobs()).caveats.lines() == []


def test_a_photograph_is_encoded_once(engine: Engine, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = []
    encode = engine.model.encode
    monkeypatch.setattr(engine.model, "encode", lambda *a, **k: times.append(1) or encode(*a, **k))
    engine.open("me", photo, "photo.png")
    for words in ("sunset", "sunset, water", "tree"):
        engine.label("me", words, Knobs(local_weight=0.3, k=5))
    assert len(times) == 1
    before = engine.result("me")
    assert engine.label("me", "tree", Knobs(local_weight=0.3, k=5)).turn == 3
    assert engine.result("me")[1] is before[1]  # asked for already: what was said of it still holds
    engine.label("me", "tree", Knobs(scale=30.0))
    engine.label("me", "house", Knobs(scale=30.0))
    assert len(times) == 2


def test_words_are_read_once(engine: Engine, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    read = engine.model.encoders.clip.encode_text
    monkeypatch.setattr(
        engine.model.encoders.clip,
        "encode_text",
        lambda texts, **how: asked.extend(texts) or read(texts, **how),
    )
    engine.open("me", photo, "photo.png")
    engine.label("me", "zebra crossing, windmill", Knobs())
    first = len(asked)
    engine.label("me", "windmill, zebra crossing, gate", Knobs())
    n = len(engine.model.options.templates)
    assert (first, len(asked)) == (2 * n, 3 * n)


def test_not_all_words_are_kept_for_ever(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    embed = WordEmbedder(model.encoders.clip)
    monkeypatch.setattr(vocabulary, "REMEMBERED", 3)
    templates = ("a {}",)
    first = embed(["a", "b", "c", "d", "e"], templates)  # more than are kept, and all of them answered
    assert len(first) == 5 and len(embed._known) == 3
    np.testing.assert_allclose(embed(["e", "a"], templates), first[[4, 0]], rtol=1e-4, atol=1e-5)
    assert len(embed._known) == 3


def test_visitors_do_not_meet_and_the_oldest_goes(engine: Engine, photo: Path) -> None:
    engine.open("a", photo, "a.png")
    engine.open("b", samples()[1].image, "b")
    assert engine.opened("a").name == "a.png" and engine.opened("b").name == "b"
    engine.open("c", photo, "c.png")
    with pytest.raises(InputError, match="put away"):
        engine.opened("a")
    engine.close("b")
    with pytest.raises(InputError, match="put away"):
        engine.label("b", "tree", Knobs())
    with pytest.raises(InputError, match="no labels yet"):
        engine.result("c")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("  , ,", "at least one word"),
        ("tree, Tree", "given twice"),
        ("a, b, c, d, e, f", "6 words: at most 5"),
        ("a=b=c=d=e=f", "6 words: at most 5"),
        ("x" * 201, "201 characters: at most 200"),
        ("tree\x00", "U+0000"),
    ],
)
def test_bad_words(engine: Engine, words: str, says: str) -> None:
    with pytest.raises(InputError, match=says.replace("+", r"\+")):
        engine.names(words)


def test_bad_photographs(engine: Engine, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("1", (1200, 1000)).save(large)
    with pytest.raises(InputError, match=r"large.png has 1.2 megapixels: at most 1,"):
        engine.open("me", large, "large.png")
    Image.new("1", (30_000, 30_000)).save(large)  # 110 kB that would be 2.7 GB
    with pytest.raises(InputError, match=r"large.png has far too many megapixels: at most 1,"):
        engine.open("me", large, "large.png")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(InputError) as told:
        engine.open("me", text, "text.png")
    assert "not an image" in str(told.value) and str(tmp_path) not in str(told.value)


def test_endpoint_keeps_nothing(engine: Engine, photo: Path) -> None:
    result = engine.segment(photo, "sunset, tree", Knobs(local_weight=1.0))
    assert result.options.local_weight == 1.0 and len(engine._open) == 0
    assert np.array_equal(result.image, read_image(photo))


def test_file_names_are_plain() -> None:
    assert safe_stem("../../etc/pass wd.png") == "pass-wd"
    assert safe_stem("Föhn <b>.jpg") == "F-hn-b"
    assert safe_stem("...") == "photograph" and len(safe_stem("x" * 500)) == 60


def test_a_later_click_and_other_words_end_the_drawing(engine: Engine) -> None:
    from freeda.app.segment_tab import SegmentTab

    class Drawing:
        def stepwise(self, rows: Any) -> Any:
            yield from [({}, True)] * 3

    def click() -> Any:
        steps = tab.pick(SimpleNamespace(x=10, y=10, nth=next(clicks)), SimpleNamespace(session_hash="me"))
        assert "why" in next(steps)
        return steps

    clicks = itertools.count(1)
    tab: Any = SegmentTab(engine, Drawing(), None)  # type: ignore[arg-type]
    engine.open("me", samples()[0].image, "scene")
    engine.label("me", "sunset, water", Knobs())
    assert len(list(click())) == 2
    first, second = click(), click()
    assert list(first) == []
    engine.label("me", "tree", Knobs())
    assert list(second) == []


@pytest.mark.parametrize("stepwise", [False, True])
def test_what_a_visitor_is_told(stepwise: bool) -> None:
    """One line about what the visitor or the machine did; nothing about a mistake of ours."""
    import gradio as gr

    from freeda.app.events import friendly

    def one(error: Exception) -> Any:
        raise error

    def steps(error: Exception) -> Any:
        yield 1
        raise error

    def call(error: Exception) -> list[Any]:
        return list(friendly(steps)(error)) if stepwise else [friendly(one)(error)]

    lost = RuntimeError("CUDA error: device-side assert triggered\nmore")
    for error, says in (
        (InputError("no such word"), "no such word"),
        (MemoryError(), "memory ran out"),
        (lost, "nothing more"),
    ):
        with pytest.raises(gr.Error, match=says):
            call(error)
    with pytest.raises(KeyError):
        call(KeyError("ours"))
