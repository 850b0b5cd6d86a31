"""The stage clock."""

from __future__ import annotations

import threading
import time

import pytest

from freeda.profile import OFF, Clock


def test_seconds_add_up_and_the_rest_is_other() -> None:
    clock = Clock()
    for _ in range(3):
        with clock("a"):
            time.sleep(0.01)
    with clock("b"), pytest.raises(ValueError), clock("c"):
        raise ValueError
    time.sleep(0.02)
    stages = {s.name: s for s in clock.stages()}
    assert list(stages) == ["a", "c", "b", "other"]
    assert stages["a"].calls == 3 and stages["a"].seconds >= 0.03
    assert stages["other"].seconds >= 0.02
    total = sum(s.seconds for s in stages.values())
    assert total == pytest.approx(clock.elapsed, abs=0.01)


def test_what_runs_beside_is_not_part_of_the_total() -> None:
    clock = Clock()

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
    assert other.seconds == pytest.approx(clock.elapsed, abs=0.01)


def test_settle_is_waited_for() -> None:
    clock = Clock()
    clock.settle = lambda: time.sleep(0.02)
    with clock("gpu"):
        pass
    assert clock.stages()[0].seconds >= 0.02


def test_switched_off_it_counts_nothing_and_costs_next_to_nothing() -> None:
    with OFF("a"), OFF("a"):
        OFF.add("b", 1.0)
    assert [s.name for s in OFF.stages()] == ["other"]
    start = time.perf_counter()
    for _ in range(10_000):
        with OFF("a"):
            pass
    assert time.perf_counter() - start < 0.5  # 50 microseconds a mark, on however slow a machine
