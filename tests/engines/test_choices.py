"""What an engine is asked for and what a cluster has; nothing is started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import refused, run
from freeda.engines import error_of, find_engine
from freeda.engines.on_ray import Resources
from freeda.errors import InputError, ModelError


def test_unknown_engines_are_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a cat")
    done = run("collect", tmp_path / "captions.txt", "--out", tmp_path / "bank", "--engine", "dask")
    refused(done, "'dask'", "local or ray")
    assert not (tmp_path / "bank").exists()
    refused(run("evaluate", "miniature", "--engine", "dask"), "'dask'", "local or ray")


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install '\.\[ray\]'"):
        find_engine("ray", "cpu", 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"device": "cuda:0"}, "auto, cpu, cuda"),
        ({"workers": 0}, "workers is 0"),
        ({"gpus": 0.0}, "gpus_per_worker is 0.0"),
        ({"gpus": 1.5}, "gpus_per_worker is 1.5"),
        ({"gpus": float("nan")}, "gpus_per_worker is nan"),
    ],
)
def test_what_cannot_be(given: dict[str, Any], says: str) -> None:
    pytest.importorskip("ray")
    chosen = {"device": "cpu", "workers": 1, "gpus": 1.0, **given}
    with pytest.raises(InputError, match=says):
        find_engine("ray", chosen["device"], chosen["workers"], chosen["gpus"])


def test_all_nodes_compute_alike() -> None:
    pytest.importorskip("ray")
    assert find_engine("ray", "cuda", None).dtype("auto") == torch.bfloat16
    assert find_engine("ray", "cpu", None).dtype("auto") == torch.float32
    assert find_engine("ray", "auto", None).dtype("float16") == torch.float16
    with pytest.raises(InputError, match="name one of the two"):
        find_engine("ray", "auto", None).dtype("auto")


def plain_fit(nodes: list[tuple[int, float]], cpus: int, gpus: float) -> int:
    """Put workers on nodes one by one until there is no room."""
    count = 0
    for have_cpus, have_gpus in nodes:
        while have_cpus >= cpus and have_gpus >= gpus - 1e-9:
            have_cpus, have_gpus, count = have_cpus - cpus, have_gpus - gpus, count + 1
    return count


@pytest.mark.parametrize("gpus", [0.0, 0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("nodes", [[(1, 0)], [(2, 1), (5, 2)], [(16, 4), (3, 0)], [(7, 1), (7, 1), (1, 1)]])
def test_threads_leave_room_for_all(nodes: list[tuple[int, float]], gpus: float) -> None:
    there = Resources(tuple((float(c), float(g)) for c, g in nodes))
    for cpus in range(1, 9):
        assert there.fit(cpus, gpus) == plain_fit(nodes, cpus, gpus)
    for workers in range(1, 12):
        threads = there.threads(workers, gpus)
        fits = [n for n in range(1, 17) if plain_fit(nodes, n, gpus) >= workers]
        assert threads == max(fits, default=1)


def test_an_error_of_another_machine_says_so() -> None:
    told = {"error": {"kind": "ModelError", "text": "clip: there is no folder /models/clip"}, "host": "node7"}
    error = error_of(told, "a worker")
    assert type(error) is ModelError
    assert str(error).startswith("clip: there is no folder /models/clip (on node7: files and folders")
    other = error_of({"error": {"kind": None, "text": "KeyError: 1"}, "host": "node7"}, "a worker")
    assert str(other) == "a worker failed: KeyError: 1 (on node7)"
