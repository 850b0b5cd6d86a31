"""Corrections hold exactly, teach, and can be undone; what was accepted is the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freeda.app import masks
from freeda.app.photographs import samples
from freeda.segment.lessons import regions_in

from .conftest import Visitor, to_png


@pytest.fixture
def picture(visitor: Visitor) -> str:
    visitor.idle()
    return visitor.first()


def row(state: Any, picture: str) -> Any:
    return next(one for one in state["pictures"] if one["id"] == picture)


def test_a_region_gets_its_word(visitor: Visitor, picture: str) -> None:
    regions, before = visitor.map(picture)
    chosen = sorted({int(regions[300, 80]), int(regions[100, 400])})
    answer = visitor.correct(picture, kind="region", regions=chosen, word="House")  # case aside
    inside = np.isin(regions, chosen)
    after = visitor.map(picture)[1]
    assert (after[inside] == 3).all()
    state, labels = answer["state"], answer["labels"]
    assert row(state, picture)["corrections"] == 1 and state["undo"] == "house in scene-1.png"
    assert [(one["word"], one["area"]) for one in state["lessons"]] == [
        ("house", pytest.approx(inside.mean(), abs=0.01))
    ]
    assert {one["region"] for one in labels["regions"] if one["corrected"]} == set(chosen)
    assert labels["version"] == row(state, picture)["version"] > 1
    visitor.words("house, sunset, water, tree")  # relabelled: it holds, under its new number
    assert (visitor.map(picture)[1][inside] == 0).all()
    visitor.words("sunset, water, tree")  # the word is gone, the correction is not
    assert (visitor.map(picture)[1][inside] == 3).all()
    assert [one["name"] for one in visitor.state()["classes"]] == ["sunset", "water", "tree", "house"]
    visitor.words("sunset, water, tree, house")
    visitor.correct(picture, kind="region", regions=chosen, word=None)
    state = visitor.state()
    while state["undo"]:
        state = visitor.ask("POST", f"{visitor.at}/undo")
    np.testing.assert_array_equal(visitor.map(picture)[1], before)
    assert state["lessons"] == [] and row(state, picture)["corrections"] == 0
    state = visitor.ask("POST", f"{visitor.at}/redo")
    assert (visitor.map(picture)[1][inside] == 3).all() and len(state["lessons"]) == 1


def test_undo_of_nothing(visitor: Visitor) -> None:
    assert visitor.ask("POST", f"{visitor.at}/undo", status=409) == {"detail": "there is nothing to undo"}
    assert visitor.ask("POST", f"{visitor.at}/redo", status=409) == {"detail": "there is nothing to redo"}


def test_boxes_brushes_and_masks(visitor: Visitor, picture: str) -> None:
    regions, _ = visitor.map(picture)
    box = masks.box_mask([100, 80, 300.5, 200], (512, 512))
    mask = np.random.default_rng(0).random((512, 512)) < 0.5
    stroke = {"points": [[10, 10], [200, 40]], "radius": 9}
    for body, inside in (
        ({"kind": "box", "box": [100, 80, 300.5, 200], "exact": True}, box),
        ({"kind": "box", "box": [100, 80, 300.5, 200]}, regions_in(box, regions)),
        ({"kind": "brush", "strokes": [stroke]}, masks.stroke_mask([(stroke["points"], 9)], (512, 512))),
        ({"kind": "mask", "rle": masks.to_rle(mask)}, mask),
    ):
        before = visitor.map(picture)[1]
        answer = visitor.correct(picture, word="owl", teach=False, **body)
        after = visitor.map(picture)[1]
        np.testing.assert_array_equal(after, np.where(inside, 4, before))
        assert answer["state"]["lessons"] == [] and answer["state"]["words"].endswith(", owl")
        visitor.correct(picture, word=None, **body)
        np.testing.assert_array_equal(
            visitor.map(picture)[1][inside], models_labels(visitor, picture)[inside]
        )


def models_labels(visitor: Visitor, picture: str) -> Any:
    """The model's own."""
    ws = visitor.studio.workspace(visitor.id)
    result = visitor.studio.encoded(ws, ws.picture(picture)).result
    assert result is not None
    return result.labels


def test_merge_and_split(visitor: Visitor, picture: str) -> None:
    regions, labels = visitor.map(picture)
    first, second = int(regions[20, 20]), int(regions[500, 20])
    answer = visitor.correct(picture, kind="merge", regions=[first, second])
    merged, after = visitor.map(picture)
    union = np.isin(regions, [first, second])
    (new,) = np.unique(merged[union])
    assert new not in regions and len(np.unique(after[union])) == 1 and answer["state"]["lessons"] == []
    np.testing.assert_array_equal(after[~union], labels[~union])
    visitor.correct(picture, kind="split", region=int(new), line=[[256, 0], [256, 511]])
    parts = visitor.map(picture)[0]
    assert len(np.unique(parts[union])) > 1 and set(np.unique(parts[~union])) == set(
        np.unique(regions[~union])
    )
    assert answer["state"]["undo"] == "merge in scene-1.png"
    visitor.ask("POST", f"{visitor.at}/undo")
    visitor.ask("POST", f"{visitor.at}/undo")
    np.testing.assert_array_equal(visitor.map(picture)[0], regions)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"kind": "region", "regions": [9999], "word": "cat"}, 409, "region 9999 is not in this picture"),
        ({"kind": "region", "regions": [-1], "word": "cat"}, 409, "region -1"),
        ({"kind": "region", "word": "cat"}, 409, "no region"),
        ({"kind": "region", "regions": [1], "word": " "}, 400, "blank"),
        ({"kind": "region", "regions": [1], "word": "x" * 5000}, 400, "tokens long"),
        ({"kind": "what"}, 400, "kind"),
        ({"kind": "box", "word": "cat"}, 400, "says where"),
        ({"kind": "box", "box": [0, 0, 0, 0], "word": "cat"}, 400, "no pixel"),
        ({"kind": "box", "box": [0, 0, 1e9, 5], "word": "cat"}, 400, "box"),
        ({"kind": "brush", "strokes": [{"points": [[-90, -90]], "radius": 1}], "word": "a"}, 400, "no pixel"),
        ({"kind": "mask", "rle": {"size": [2, 2], "counts": [1, 3]}, "word": "a"}, 400, "this mask is 2 x 2"),
        ({"kind": "merge", "regions": [1]}, 400, "two regions"),
        ({"kind": "split", "region": 1}, 400, "a line"),
        ({"kind": "split", "region": 1, "line": [[0, 0], [0, 1]]}, 400, "cuts nothing off"),
    ],
)
def test_what_cannot_be(visitor: Visitor, body: Any, status: int, says: str) -> None:
    before = visitor.idle()
    assert says in visitor.correct(visitor.first(), status, **body)["detail"]
    assert {**visitor.state(), "revision": 0} == {**before, "revision": 0}


def test_an_accepted_picture_is_the_truth(visitor: Visitor, picture: str) -> None:
    regions, labels = visitor.map(picture)
    version = visitor.labels(picture)["version"]
    stale = {"accepted": True, "version": version + 1}
    visitor.ask("POST", f"{visitor.at}/pictures/{picture}/accept", stale, 409)
    state = visitor.accept(picture, version=version)
    assert row(state, picture)["state"] == "accepted" and state["work"] is None
    visitor.words("night, tree")
    state = visitor.idle()
    names = [one["name"] for one in state["classes"]]
    assert names == ["night", "tree", "sunset", "water", "house"]  # those in use stay
    table = np.array([names.index(name) for name in ("sunset", "water", "tree", "house")])
    np.testing.assert_array_equal(visitor.map(picture)[1], table[labels])
    chosen = regions == regions[20, 20]
    visitor.correct(picture, kind="region", regions=[int(regions[20, 20])], word="night")
    after = visitor.map(picture)[1]
    np.testing.assert_array_equal(after, np.where(chosen, 0, table[labels]))
    assert row(visitor.state(), picture)["state"] == "accepted"
    again = visitor.accept(picture)
    assert again["undo"] == "accepted in scene-1.png"
    for _ in range(3):
        state = visitor.ask("POST", f"{visitor.at}/undo")
    assert row(state, picture)["state"] != "accepted"
    visitor.ask("POST", f"{visitor.at}/redo")
    np.testing.assert_array_equal(visitor.map(picture)[1], table[labels])  # as it was accepted first
    assert row(visitor.accept(picture, accepted=False), picture)["state"] != "accepted"


def test_the_order_of_a_strip(visitor: Visitor, picture: str) -> None:
    visitor.send(*(one.image for one in samples()[1:4]))
    state = visitor.idle()
    doubts = [one["uncertainty"] for one in state["pictures"]]
    assert len(doubts) == 4 and doubts == sorted(doubts, reverse=True)
    state = visitor.accept(state["pictures"][0]["id"])
    assert [one["state"] for one in state["pictures"]] == ["labelled"] * 3 + ["accepted"]
    gone = state["pictures"][0]["id"]
    state = visitor.ask("DELETE", f"{visitor.at}/pictures/{gone}")
    assert gone not in [one["id"] for one in state["pictures"]]
    visitor.ask("GET", f"{visitor.at}/pictures/{gone}/labels", status=404)


def test_teaching_from_elsewhere(visitor: Visitor) -> None:
    sent = to_png(samples()[1].picture)
    mask = np.zeros((512, 512), bool)
    mask[100:200, 100:200] = True
    for n, (form, more) in enumerate(
        [
            ({"box": "[100, 100, 200, 200]"}, {}),
            ({"point": "[150, 150]"}, {}),
            ({}, {"mask": ("m.png", to_png(mask))}),
        ],
        start=1,
    ):
        form = {"word": "lantern", "workspace": visitor.id, **form}
        answer = visitor.ask("POST", "/api/teach", data=form, files={"image": ("a.png", sent), **more})
        assert answer["lessons"] == n and answer["lesson"]["word"] == "lantern"
    assert len(visitor.state()["lessons"]) == 3 and visitor.state()["words"].endswith(", lantern")
    for form, says in (
        ({}, "say where"),
        ({"box": "[1, 2]"}, "expected 4 numbers"),
        ({"point": "[NaN, 1]"}, "expected 2 numbers"),
        ({"box": "[1, 2, 3, 4]", "point": "[1, 2]"}, "say where"),
    ):
        form = {"word": "cat", "workspace": visitor.id, **form}
        files = {"image": ("a.png", sent)}
        assert says in visitor.ask("POST", "/api/teach", data=form, files=files, status=400)["detail"]
    state = visitor.ask("POST", f"{visitor.at}/undo")
    assert len(state["lessons"]) == 2
