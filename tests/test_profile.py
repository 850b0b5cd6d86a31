"""The stage clock."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from freeda.profile import OFF, Clock

Wait = Callable[[float], None]


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Lets so many seconds pass; no others do."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def passing(seconds: float) -> None:
        now[0] += seconds

    return passing


def test_seconds_add_up_and_the_rest_is_other(wait: Wait) -> None:
    clock = Clock()
    for _ in range(3):
        with clock("a"):
            wait(0.25)
    with pytest.raises(ValueError), clock("b"):
        wait(2)
        raise ValueError
    wait(0.5)
    stages = {s.name: s for s in clock.stages()}
    assert list(stages) == ["a", "b", "other"]
    assert stages["a"].calls == 3 and stages["a"].seconds == 0.75
    assert stages["b"].seconds == 2  # also where it ended in an error
    assert stages["other"].seconds == 0.5


def test_what_runs_beside_is_not_part_of_the_total(wait: Wait) -> None:
    clock = Clock()
    wait(3)

    def work() -> None:
        for _ in range(200):
            clock.add("thread", 1.0, beside=True)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    beside, other = clock.stages()
    assert beside.beside and beside.seconds == 800 and beside.calls == 800
    assert other.seconds == clock.elapsed == 3


def test_settle_is_waited_for(wait: Wait) -> None:
    clock = Clock()
    clock.settle = lambda: wait(2)
    with clock("gpu"):
        pass
    assert clock.stages()[0].seconds == 2


def test_switched_off_it_counts_nothing_and_costs_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with OFF("a"), OFF("a"):
        OFF.add("b", 1.0)
    assert [s.name for s in OFF.stages()] == ["other"]
    monkeypatch.delattr("time.perf_counter")  # not even the time is read
    first = OFF("a")
    with first:
        assert OFF("b") is first  # and nothing made
