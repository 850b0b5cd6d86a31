"""Worker processes: the same rows as without, one line for what goes wrong, and nobody left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import write_preset
from freeda.bank import Bank
from freeda.collection.job import collect
from freeda.collection.shard import CollectModels
from freeda.engines.processes import deal_devices
from freeda.errors import InputError, ModelError
from freeda.presets import ModelSource, Preset
from waiting import alive, wait_for

PROC = Path("/proc/self/task").is_dir()
# A script as people write them: no guard, so that whoever imports or runs it again does everything again.
SCRIPT = """
import sys
import freeda
print("once", flush=True)
bank = freeda.collect(sys.argv[2], sys.argv[3], sys.argv[1], "cpu", workers=2)
print(len(bank), flush=True)
"""


def start(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    """Its workers; Python's own help, which tidies after them, is none."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in found if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if alive(pid)]


@pytest.mark.slow
def test_the_same_rows_with_workers(
    tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels, captions: list[str]
) -> None:
    preset, text = write_preset(tmp_path, tiny_preset), tmp_path / "captions.txt"
    text.write_text("\n".join(captions))
    (tmp_path / "script.py").write_text(SCRIPT)
    process = start(tmp_path / "script.py", preset, text, tmp_path / "a")
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert said.split() == ["once", str(len(Bank.open(tmp_path / "a")))]
    many, one = (
        Bank.open(tmp_path / "a"),
        collect(text, tmp_path / "b", tiny_preset, "cpu", models=tiny_models),
    )
    assert many.nouns == one.nouns and [many.row(i)["caption_id"] for i in range(len(many))] == [
        one.row(i)["caption_id"] for i in range(len(one))
    ]
    np.testing.assert_allclose(np.float32(many.keys), np.float32(one.keys), atol=2e-3)
    np.testing.assert_allclose(np.float32(many.prototypes), np.float32(one.prototypes), atol=0.05)
    for name in ("captions", "pictures", "rejected", "failed", "options", "seed"):
        assert many.meta[name] == one.meta[name]
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert sorted(line["shard"] for line in lines) == [f"shards/0000{i}.parquet" for i in range(3)]
    assert process.pid not in {line["process"] for line in lines}


@pytest.mark.slow
@pytest.mark.skipif(not PROC, reason="no /proc here")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_stopped_with_workers(
    tmp_path: Path, tiny_preset: Preset, captions: list[str], sent: signal.Signals
) -> None:
    preset, text, out = write_preset(tmp_path, tiny_preset), tmp_path / "captions.txt", tmp_path / "out"
    text.write_text("\n".join(f"{c} {i}" for i in range(200) for c in captions))
    process = start(
        *("-m", "freeda", "collect", text, "--out", out, "--model", preset, "--device", "cpu"),
        *("--workers", 2),
    )
    wait_for(lambda: (out / "log.jsonl").exists() or process.poll() is not None)
    assert process.poll() is None, process.stderr and process.stderr.read()
    working = children(process.pid)
    assert len(living(working)) == 2
    if sent == signal.SIGINT:  # as a terminal does: to all of the group
        os.killpg(process.pid, sent)
    else:
        process.send_signal(sent)
    _, errors = process.communicate(timeout=600)
    if sent == signal.SIGINT:
        assert process.returncode == 130, errors
        assert len(errors.splitlines()) == 1 and "the same command goes on" in errors
        assert living(working) == [] and not list(out.rglob("*.tmp")) and not (out / ".lock").exists()
    else:
        assert process.returncode == -sent
        wait_for(lambda: not living(working))  # their orders ended, and so do they
    # Up to the last shard: with two workers one before it may be missing.
    made = 1 + max((int(shard.stem) for shard in (out / "shards").glob("*.parquet")), default=0)
    bank = collect(text, out, preset, "cpu", limit=tiny_preset.collect.shard_size * made)
    assert len(bank.meta["shards"]) == made and not list(out.rglob("*.tmp"))


@pytest.mark.slow
def test_workers_tell_what_was_rejected(tmp_path: Path, tiny_preset: Preset) -> None:
    long = "a cat and " + "very " * 80 + "old dog"  # the dog stands beyond what the text encoder reads
    captions = ["a cat", long, "a tree and a house"] * 3
    tiny = replace(tiny_preset.collect, shard_size=3, min_area=0.0, max_area=1.0)
    one, two = (
        collect(captions, tmp_path / str(n), tiny_preset, "cpu", options=tiny, workers=n) for n in (1, 2)
    )
    assert one.meta["rejected"]["cut off"] == 3 and two.meta["rejected"] == one.meta["rejected"]


def test_a_worker_s_error_is_the_error(tmp_path: Path, tiny_preset: Preset) -> None:
    preset = replace(tiny_preset, generator=ModelSource(str(tmp_path / "none")))
    with pytest.raises(ModelError, match="generator: there is no folder") as error:
        collect(["a cat", "a dog", "a tree"] * 2, tmp_path / "b", preset, "cpu", workers=2)
    assert "\n" not in str(error.value)


def test_devices_are_dealt(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert deal_devices("cpu", None) == ["cpu"] and deal_devices(" cpu ", 3) == ["cpu"] * 3
    assert deal_devices("cpu, cpu", None) == ["cpu"] * 2 and deal_devices("cpu,cpu", 3) == ["cpu"] * 3
    assert deal_devices(torch.device("cpu"), None) == ["cpu"]
    for device, count in (("cpu,cpu", 1), ("cpu", 0), ("gpu", None), ("cpu,quantum", None)):
        with pytest.raises(InputError):
            deal_devices(device, count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert deal_devices("auto", None) == ["cuda"]
    assert deal_devices("auto", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert deal_devices("cuda:1,cuda:0", None) == ["cuda:1", "cuda:0"]
    with pytest.raises(InputError, match="cuda:2"):
        deal_devices("cuda:0,cuda:2", None)


def test_what_belongs_to_this_process_stays_here(
    tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels
) -> None:
    for given in ({"models": tiny_models}, {"on_picture": lambda *_: None}):
        with pytest.raises(InputError, match=f"{next(iter(given))} belongs to this process"):
            collect(["a cat"], tmp_path, tiny_preset, "cpu", workers=2, **given)  # type: ignore[arg-type]
