"""What the page remembers: bounded in number and in time."""

from __future__ import annotations

from threading import Thread
from typing import Any

import numpy as np
import pytest

from freeda.app.limits import Limits, Refused, Shelf, Turns
from freeda.errors import InputError
from waiting import wait_for


def test_the_least_used_goes_first() -> None:
    shelf: Shelf[int] = Shelf(2, 100)
    for key, value in (("a", 1), ("b", 2)):
        shelf.put(key, value)
    assert shelf.get("a") == 1  # used: now b is the one to go
    shelf.put("c", 3)
    assert (shelf.get("a"), shelf.get("b"), shelf.get("c"), len(shelf)) == (1, None, 3, 2)
    shelf.drop("a")
    shelf.drop("never there")
    assert shelf.get("a") is None


def test_what_is_not_used_goes_in_time() -> None:
    now = [0.0]
    shelf: Shelf[str] = Shelf(10, 60, clock=lambda: now[0])
    shelf.put("a", "x")
    now[0] = 59
    assert shelf.get("a") == "x"  # counts as used
    now[0] = 118
    assert shelf.get("a") == "x"
    now[0] = 179
    assert shelf.get("a") is None and len(shelf) == 0


@pytest.mark.parametrize("seed", range(20))
def test_against_a_plain_list(seed: int) -> None:
    rng, now = np.random.default_rng(seed), [0.0]
    shelf: Shelf[int] = Shelf(3, 10, clock=lambda: now[0])
    plain: list[tuple[str, float, int]] = []  # key, last used, value; last used last
    for step in range(200):
        now[0] += float(rng.integers(0, 4))
        plain = [entry for entry in plain if now[0] - entry[1] <= 10]
        key = "abcde"[rng.integers(5)]
        if rng.random() < 0.5:
            shelf.put(key, step)
            plain = [*(e for e in plain if e[0] != key), (key, now[0], step)][-3:]
        else:
            there = next((e for e in plain if e[0] == key), None)
            assert shelf.get(key) == (there[2] if there else None)
            if there:
                plain = [*(e for e in plain if e[0] != key), (key, now[0], there[2])]
    assert len(shelf) == len(plain)


def test_by_weight() -> None:
    gone: list[int] = []
    shelf: Shelf[int] = Shelf(10, 100, weigh=lambda value: value, dropped=gone.append)
    for value in (4, 5, 3, 20, 1):
        shelf.put(value, value)
    assert shelf.values() == [1] and gone == [4, 5, 3, 20]  # the last one put stays, whatever it weighs
    shelf.put(1, 2)
    assert gone[-1] == 1 and shelf.values() == [2]


def test_turns() -> None:
    """One at a time; who waits comes before what lets everybody pass; and not too many wait."""
    turns, order = Turns(2), []  # type: ignore[var-annotated]

    def take(how: Any, name: str) -> None:
        with how:
            order.append(name)

    with turns:
        threads = [Thread(target=take, args=(turns.behind, "behind"))]
        threads += [Thread(target=take, args=(turns, "first")) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: turns._waiting == 2)
        with pytest.raises(Refused, match="too many are waiting") as told, turns:
            pass
        assert told.value.status == 429 and order == []
    for thread in threads:
        thread.join()
    assert order == ["first", "first", "behind"]


def test_limits_are_checked() -> None:
    with pytest.raises(InputError, match="workspaces is 0: it must be at least 1"):
        Limits(workspaces=0)
    with pytest.raises(InputError, match="words is 300"):
        Limits(words=300)
