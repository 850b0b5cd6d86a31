"""Memory that runs out at loading and at drawing, and devices that are lost: never a caption's fault."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from freeda.collection import runner, shard
from freeda.collection.captions import to_captions
from freeda.collection.job import collect
from freeda.collection.shard import load_models, make_shard, savings
from freeda.errors import MachineError, ModelError
from freeda.options import CollectOptions
from freeda.presets import Preset

from .fakes import OPTIONS, PRESET, captions, fake_models
from .test_kill import bank_files

OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
LOST = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might")


def run(out: Path, **given: Any) -> Any:
    return collect(captions(9), out, PRESET, "cpu", **{"options": OPTIONS, **given})


def fails(error: Exception, when: Callable[[Sequence[str]], bool]) -> Any:
    def draw(texts: Sequence[str]) -> None:
        if when(texts):
            raise error

    return fake_models(draw)


def test_a_batch_too_large_is_drawn_one_by_one_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(runner, "Console", lambda **_: Console(file=out, width=300))
    monkeypatch.setattr("freeda.progress.Console", lambda **_: Console(file=out, width=300))
    bank = run(tmp_path / "a", models=fails(OUT, lambda texts: len(texts) > 1), progress=True)
    run(tmp_path / "b", models=fake_models())
    assert bank_files(tmp_path / "a") == bank_files(tmp_path / "b") and bank.meta["failed"] == 0
    said = [line for line in out.getvalue().splitlines() if "memory" in line]
    assert len(said) == 1 and "a smaller batch_size, or vae_slicing=true, would be faster" in said[0]
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert [line["batches_out_of_memory"] for line in lines] == [1, 1, 1]  # of two batches each, one of one
    lines = [json.loads(line) for line in (tmp_path / "b" / "log.jsonl").read_text().splitlines()]
    assert [line["batches_out_of_memory"] for line in lines] == [0, 0, 0]


@pytest.mark.parametrize("at", [0, 4])
def test_one_picture_too_large_stops_the_run(tmp_path: Path, at: int) -> None:
    models = fails(OUT, lambda texts: any(text.endswith(f"number {at}") for text in texts))
    with pytest.raises(MachineError, match="memory ran out drawing a picture on cpu") as caught:
        run(tmp_path / "a", models=models)
    line = str(caught.value)
    assert "(CUDA out of memory. Tried to allocate 2.00 GiB)" in line and "--dtype bfloat16" in line
    assert len(list((tmp_path / "a" / "shards").glob("*.parquet"))) == at // 3  # what was whole is kept
    run(tmp_path / "a", models=fake_models())
    run(tmp_path / "b", models=fake_models())
    assert bank_files(tmp_path / "a") == bank_files(tmp_path / "b")


def test_a_lost_device_stops_at_once(tmp_path: Path) -> None:
    models = fails(LOST, lambda texts: any(text.endswith("number 4") for text in texts))
    with pytest.raises(MachineError, match=r"illegal memory access .*does nothing more for this process"):
        run(tmp_path, models=models)
    assert models.generator.drawn == captions(9)[:3]  # the other of its batch is not tried


def test_a_tagger_without_memory_is_no_failed_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    def nouns(caption: Any, tagger: str) -> Any:
        raise MemoryError

    monkeypatch.setattr(shard, "nouns_of", nouns)
    with pytest.raises(MemoryError):
        make_shard(to_captions(captions(2)), fake_models(), OPTIONS)


@pytest.mark.parametrize(
    ("part", "doing"),
    [("load_encoders", "loading the encoders"), ("load_generator", "loading the generator")],
)
def test_loading_tells_what_needs_less(
    tiny_preset: Preset, monkeypatch: pytest.MonkeyPatch, part: str, doing: str
) -> None:
    def load(*args: Any, **kwargs: Any) -> Any:
        raise ModelError("CLIP: some/clip cannot be loaded: is the folder a whole one?") from OUT

    monkeypatch.setattr(shard, part, load)
    with pytest.raises(MachineError, match=rf"memory ran out {doing} on cpu \(CUDA out of memory") as caught:
        load_models(tiny_preset, tiny_preset.collect, "cpu")
    assert "--dtype bfloat16" in str(caught.value) and "whole one" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "dtype", "changes", "loading", "says"),
    [
        ("cuda", "float32", {}, True, "less is needed with --dtype float16, or with offload=model ("),
        ("cuda", "float16", {}, True, "less is needed with offload=model (each by --set; by --draw with"),
        ("mps", "float16", {"offload": "model"}, True, "less is needed with offload=sequential ("),
        ("cuda", "float16", {"offload": "sequential"}, True, "it takes a device with more"),
        ("cuda", "float16", {}, False, "with offload=model, vae_tiling=true, size=384 ("),
        ("cuda", "float16", {"vae_tiling": True}, False, "with offload=model, size=384 ("),
        ("cpu", "float32", {}, False, "--dtype bfloat16, or with vae_tiling=true, size=384 ("),
        ("cpu", "bfloat16", {}, True, "it takes a device with more"),
    ],
)
def test_only_what_helps_is_named(
    device: str, dtype: str, changes: dict[str, Any], loading: bool, says: str
) -> None:
    options = replace(CollectOptions(), **changes)
    assert says in savings(options, torch.device(device), getattr(torch, dtype), loading)
