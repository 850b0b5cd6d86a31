"""What a workspace remembers: the fold of its events, undo and redo, against a plain list of what holds."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from freeda.app.state import Settings, State
from freeda.errors import InputError


def correct(picture: str, word: str | None, lesson: str | None = None) -> dict[str, Any]:
    return {"event": "correct", "picture": picture, "mask": {}, "word": word, "how": "box", "lesson": lesson}


def accept(picture: str, file: str | None, *names: str) -> dict[str, Any]:
    return {"event": "accept", "picture": picture, "file": file, "names": list(names)}


def folded(*events: dict[str, Any]) -> State:
    state = State()
    for event in events:
        state.apply(event)
    return state


UNDO, REDO = {"event": "undo"}, {"event": "redo"}


def test_corrections_count_until_they_are_accepted() -> None:
    events = [correct("a", "cat"), correct("a", "dog"), correct("b", "sky")]
    state = folded(*events)
    assert [e["word"] for e in state.edits("a").paint] == ["cat", "dog"] and state.edits("a").count == 2
    for event in (accept("a", "a.png", "dog", "cat"), correct("a", "tree")):
        state.apply(event)
    edits = state.edits("a")
    assert edits.accepted == accept("a", "a.png", "dog", "cat") and set(state.accepted()) == {"a"}
    assert [e["word"] for e in edits.paint] == ["tree"] and edits.count == 3
    state.apply(accept("a", None))
    assert state.edits("a").accepted is None and state.accepted() == {}
    assert [e["word"] for e in state.edits("a").paint] == ["cat", "dog", "tree"]
    assert state.named() == ["cat", "dog", "sky", "tree"]


def test_undo_and_redo() -> None:
    state = folded(correct("a", "cat", "1"), accept("a", "a.png", "cat"), UNDO)
    assert state.edits("a").accepted is None and state.lessons() == ["1"]
    state.apply(UNDO)
    assert state.edits("a").paint == () and state.lessons() == [] and state.named() == []
    state.apply(REDO)
    state.apply(REDO)
    assert state.edits("a").accepted is not None and state.lessons() == ["1"]
    with pytest.raises(InputError, match="nothing to redo"):
        state.apply(REDO)
    state.apply(UNDO)
    state.apply(correct("b", None))  # what was undone is gone for good
    assert state.undone == []


def test_words_are_not_undone() -> None:
    words = {"event": "words", "words": "cat", "settings": {"k": 5}, "colours": {}}
    state = folded(words, correct("a", "cat"), UNDO)
    assert state.words == "cat" and state.settings == Settings(k=5) and state.wording == 1
    state.apply({**words, "colours": {"cat": "#000000"}})
    assert state.wording == 1  # labels are as they were
    with pytest.raises(InputError, match="nothing to undo"):
        state.apply(UNDO)


@pytest.mark.parametrize(
    "event",
    [{}, [], {"event": "x"}, {"event": "correct", "picture": "a"}, {"event": "words", "words": "a"}],
)
def test_no_event_changes_nothing(event: Any) -> None:
    state = folded(correct("a", "cat"))
    before = copy.deepcopy(state)
    with pytest.raises(InputError, match="is no event"):
        state.apply(event)
    assert state == before


@pytest.mark.parametrize("seed", range(20))
def test_against_a_plain_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    state, done, undone = State(), [], []  # type: ignore[var-annotated]
    for step in range(200):
        draw = rng.random()
        if draw < 0.25 and done:
            state.apply(UNDO)
            undone.append(done.pop())
        elif draw < 0.4 and undone:
            state.apply(REDO)
            done.append(undone.pop())
        else:
            picture = "abc"[rng.integers(3)]
            file = None if rng.random() < 0.5 else f"{step}.png"
            event = accept(picture, file, "cat") if draw < 0.6 else correct(picture, f"w{step}", str(step))
            state.apply(event)
            done.append(event)
            undone.clear()
        for picture in "abc":
            accepted, paint = None, []
            for i, event in enumerate(done):
                if event["picture"] != picture:
                    continue
                if event["event"] == "accept":
                    accepted = event if event["file"] else None
                    paint = [] if accepted else [e for e in done[:i] if is_paint(e, picture)]
                else:
                    paint.append(event)
            edits = state.edits(picture)
            assert edits.accepted == accepted and list(edits.paint) == paint
        assert state.lessons() == [e["lesson"] for e in done if e["event"] == "correct"]


def is_paint(event: dict[str, Any], picture: str) -> bool:
    return event["event"] == "correct" and event["picture"] == picture


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 1.5}, {"local_weight": float("nan")}, {"scale": True}])
def test_settings_have_ranges(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="it must be a number from"):
        Settings(**wrong)
