"""Banks and evaluations made by Ray are those of the local engine, also where workers and drivers die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from commands import write_preset
from freeda.bank import Bank
from freeda.collection.job import collect
from freeda.errors import ModelError
from freeda.evaluation.job import PART, evaluate
from freeda.presets import ModelSource, Preset
from waiting import alive, wait_for


@pytest.fixture(autouse=True)
def one_thread_each(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sums over other numbers of threads are rounded otherwise; the cluster's nodes have one CPU each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # shared out to two local workers
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of captions that make twenty shards."""
    path = tmp_path_factory.mktemp("text") / "captions.txt"
    nouns = ("cat", "dog", "tree", "table", "car", "house", "boat", "water")
    path.write_text("\n".join(f"a {nouns[i % 8]} and a {nouns[(i // 8 + i + 1) % 8]} {i}" for i in range(60)))
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_preset: Preset, text: Path) -> Path:
    """The bank of the local engine, made in one go."""
    out, threads = tmp_path_factory.mktemp("local") / "bank", torch.get_num_threads()
    torch.set_num_threads(2)
    collect(text, out, tiny_preset, "cpu", workers=2)
    torch.set_num_threads(threads)
    return out


def content(bank: Path) -> dict[str, str]:
    """Digest of every file but the log, which tells of times and processes."""
    files = [p for p in bank.rglob("*") if p.is_file() and p.name != "log.jsonl"]
    return {p.relative_to(bank).as_posix(): sha256(p.read_bytes()).hexdigest() for p in files}


def rows(bank: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(bank.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def same_rows(one: Path, other: Path) -> None:
    """Row for row, in order, and the files byte for byte."""
    assert len(Bank.open(one)) == len(Bank.open(other)) > 0
    assert rows(one) == rows(other)
    assert content(one) == content(other)


def log_of(bank: Path) -> list[dict[str, Any]]:
    path = bank / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("first", ["local", "ray"])
def test_begun_by_one_engine_and_finished_by_the_other(
    tmp_path: Path, cluster: Any, tiny_preset: Preset, text: Path, undisturbed: Path, first: str
) -> None:
    out, then = tmp_path / "bank", {"local": "ray", "ray": "local"}[first]
    # 28 captions are nine whole shards and a third of another, which is made again.
    collect(text, out, tiny_preset, "cpu", limit=28, workers=2, engine=first)
    collect(text, out, tiny_preset, "cpu", workers=2, engine=then)
    same_rows(out, undisturbed)
    lines = log_of(out)
    assert len(lines) == 21 and os.getpid() not in {line["process"] for line in lines}
    before = content(out)
    collect(text, out, tiny_preset, "cpu", workers=2, engine=first)  # nothing is left to do
    assert content(out) == before and log_of(out) == lines


@pytest.mark.slow
def test_a_worker_killed_and_a_node_removed(
    tmp_path: Path, cluster: Any, second: Any, tiny_preset: Preset, text: Path, undisturbed: Path
) -> None:
    out = tmp_path / "bank"
    process = begin(write_preset(tmp_path, tiny_preset), text, out)
    made = frozen_after(1, process, out)
    os.kill(made[0]["process"], signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    assert len(frozen_after(4, process, out)) < 20
    cluster.remove_node(second, allow_graceful=False)
    process.send_signal(signal.SIGCONT)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, (said, errors)
    assert errors == "" and "pairs in" in said and "raylet" not in said
    same_rows(out, undisturbed)
    assert sorted(line["shard"] for line in log_of(out)) == [f"shards/{i:05d}.parquet" for i in range(20)]


def begin(preset: Path, text: Path, out: Path) -> subprocess.Popen[str]:
    """`freeda collect` on the cluster, as a process that can be killed."""
    command = ["collect", text, "--out", out, "--model", preset, "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "freeda", *map(str, command), "--workers", "2", "--engine", "ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def frozen_after(shards: int, process: subprocess.Popen[str], out: Path) -> list[dict[str, Any]]:
    """The log as soon as it tells of so many shards; the driver stands still from then on, until SIGCONT.

    Nothing is written and no further shard given out meanwhile, however busy the machine is.
    """
    wait_for(lambda: len(log_of(out)) >= shards or process.poll() is not None)
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: stopped(process.pid) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return log_of(out)


def stopped(pid: int) -> bool:
    return b") T" in Path(f"/proc/{pid}/stat").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_the_driver_stopped_and_begun_again(
    tmp_path: Path,
    cluster: Any,
    second: Any,
    tiny_preset: Preset,
    text: Path,
    undisturbed: Path,
    sent: signal.Signals,
) -> None:
    preset, out = write_preset(tmp_path, tiny_preset), tmp_path / "bank"
    process = begin(preset, text, out)
    frozen_after(1, process, out)
    os.killpg(process.pid, sent)  # as a terminal does: to all of the group
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=600)
    if sent == signal.SIGINT:
        assert process.returncode == 130, errors
        assert len(errors.splitlines()) == 1 and "the same command goes on" in errors
    else:
        assert process.returncode == -sent
    made = log_of(out)
    assert 1 <= len(made) < 20 and not (out / "bank.json").exists()
    wait_for(lambda: not any(alive(str(line["process"])) for line in made))  # Ray ends what nobody wants
    again = begin(preset, text, out)
    _, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    same_rows(out, undisturbed)
    assert len(log_of(out)) in (20, 21) and not list(out.rglob("*.tmp"))


@pytest.mark.slow
def test_an_error_is_one_line(tmp_path: Path, cluster: Any, tiny_preset: Preset, text: Path) -> None:
    broken = replace(tiny_preset, generator=ModelSource(str(tmp_path / "none")))
    with pytest.raises(ModelError, match="generator: there is no folder") as error:
        collect(text, tmp_path / "bank", broken, "cpu", workers=2, engine="ray")
    assert "\n" not in str(error.value) and not list((tmp_path / "bank").rglob("*.parquet"))


@pytest.mark.slow
def test_evaluation_on_both_engines(tmp_path: Path, cluster: Any, second: Any) -> None:
    n = 3 * PART
    given: dict[str, Any] = {"device": "cpu", "workers": 2, "report": False}
    local = evaluate("miniature", out=tmp_path / "local", limit=n, **given)
    evaluate("miniature", out=tmp_path / "both", limit=PART, **given)
    rays = evaluate("miniature", out=tmp_path / "both", limit=n, engine="ray", **given)
    ours, theirs = local.counts.arrays(), rays.counts.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])
    assert [(r.name, repr(r.miou)) for r in local.images] == [(r.name, repr(r.miou)) for r in rays.images]
    assert rays.settings["engine"] == "ray" and 0.5 < rays.miou < 1
