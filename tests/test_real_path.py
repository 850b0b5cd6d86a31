"""The way that real photographs take: hub ids of the presets, a fresh cache, a hub that is there or gone."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

import freeda
from commands import run
from freeda.bank import Bank
from freeda.encoders import load_clip, load_encoders
from freeda.errors import InputError, ModelError
from freeda.presets import PRESETS, ModelSource
from hub import CLIP_B, CLIP_L, DINO_B, DINO_L, JUNK, SD, Hub, Repo, model_repos, serve

OFFICIAL = constants.ENDPOINT


@dataclass
class World:
    """A hub, and a cache of this test's own."""

    hub: Hub
    cache: Path
    patch: pytest.MonkeyPatch

    def offline(self, by_word: bool = False) -> None:
        """No hub answers any more, or asking it is forbidden."""
        if by_word:
            self.patch.setattr(constants, "HF_HUB_OFFLINE", True)
        else:
            point_to(self.patch, "http://127.0.0.1:9")

    def cached(self) -> list[Path]:
        return sorted(p for p in self.cache.rglob("snapshots/*/*") if p.is_symlink()) + sorted(
            p for p in self.cache.rglob("snapshots/*/*/*") if p.is_symlink()
        )


def point_to(patch: pytest.MonkeyPatch, address: str) -> None:
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> dict[str, Repo]:
    return model_repos(tmp_path_factory.mktemp("hub"), tiny_tokenizer)


@pytest.fixture
def world(repositories: dict[str, Repo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path / "freeda-cache"))
    with serve({name: replace(repo) for name, repo in repositories.items()}) as hub:
        point_to(monkeypatch, hub.address)
        yield World(hub, tmp_path / "hub-cache", monkeypatch)


@pytest.mark.parametrize("name", ["vit-b", "vit-l"])
def test_encoders_online_then_offline(world: World, name: str) -> None:
    """Words differ, only needed files are fetched, and nothing is asked of a hub again."""
    preset = PRESETS[name]
    online = load_encoders(preset, "cpu")
    keys = online.clip.encode_text(["a photo of a cat", "a photo of a sofa", "a photo of the sky"])
    keys = torch.nn.functional.normalize(keys, dim=-1)
    assert float((keys @ keys.T - torch.eye(3)).max()) < 0.9999
    fetched = world.hub.fetched()
    assert not [f for f in fetched if Path(f).name in JUNK]
    assert sorted(Path(f).suffix for f in fetched if "clip" in f and Path(f).suffix in (".bin", ".safetensors")) == [
        ".bin" if name == "vit-b" else ".safetensors"
    ]
    assert online.identity["clip"]["commit"] == world.hub.repos[f"models/{preset.clip.id}"].commit
    world.hub.asked.clear()
    for by_word in (False, True):
        world.offline(by_word)
        again = load_encoders(preset, "cpu")
        assert again.identity == online.identity
        assert torch.equal(again.clip.encode_text(["a cat"]), online.clip.encode_text(["a cat"]))
    assert world.hub.asked == []


CAPTIONS = "a cat on a sofa\na dog beside a tree\n"
DRAW = ("--steps", 1, "--set", "size=128", "--set", "min_area=0", "--set", "max_area=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions, a photograph, and the same with a mask."""
    place = tmp_path_factory.mktemp("mine")
    (place / "captions.txt").write_text(CAPTIONS)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    for part in ("images", "masks"):
        (place / part).mkdir()
    Image.fromarray(pixels).save(place / "images" / "photo.png")
    Image.fromarray(np.kron([[1, 2]], np.ones((60, 45))).astype(np.uint8)).save(place / "masks" / "photo.png")
    (place / "names.json").write_text(json.dumps({"1": "cat", "2": "tree"}))
    return place


def walk(name: str, mine: Path, out: Path, commands: Sequence[str]) -> dict[str, Any]:
    """Those commands by a preset's own name, each from nothing but the cache; what they found."""
    on = ("--model", name, "--device", "cpu")
    photo, found = mine / "images" / "photo.png", dict[str, Any]()

    def go(command: str, *given: Any) -> None:
        if command in commands:
            done = run(*command.split(), *given)
            assert done.exit_code == 0, (command, done.output, done.exception)

    go("collect", mine / "captions.txt", "--out", out / "bank", *on, *DRAW)
    bank = ("--bank", out / "bank")
    found["keys"] = np.asarray(Bank.open(out / "bank").keys, np.float32)
    found["models"] = Bank.open(out / "bank").meta["models"]
    go("segment", photo, "--classes", "cat, sofa, tree", *bank, "--out", out / "labels", "--no-grow", *on)
    go("evaluate", "folder", "--data", mine, *bank, "--out", out / "figures", *on)
    go("bank coverage", "--classes", "cat, dog", *bank, *on)
    go("bank search", out / "bank", "cat", "--device", "cpu")
    go("bank add-images", mine, "--out", out / "references", *on)
    if "segment" in commands:
        found["labels"] = np.asarray(Image.open(out / "labels" / "photo.labels.png"))
    if "app" in commands:
        from freeda.app.server import serve as serve_page

        serve_page(freeda.load(name, out / "bank", "cpu"), port=None).close()
    return found


ALL = ("collect", "segment", "evaluate", "bank coverage", "bank search", "bank add-images", "app")


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("vit-b", ("collect", "segment", "bank search", "bank add-images")),
        ("vit-l", ("collect", "evaluate", "bank coverage", "app")),
        pytest.param("vit-b", ALL, marks=pytest.mark.slow),
        pytest.param("vit-l", ALL, marks=pytest.mark.slow),
    ],
)
def test_every_command_online_then_offline(
    world: World, folder: Path, tmp_path: Path, name: str, commands: Sequence[str]
) -> None:
    if "app" in commands:
        pytest.importorskip("gradio", reason="the web page needs Gradio")
    online = walk(name, folder, tmp_path / "online", commands)
    alike = online["keys"] @ online["keys"].T
    assert (alike - np.eye(len(alike))).max() < 0.9999, "distinct words have distinct keys"
    assert not [f for f in world.hub.fetched() if Path(f).name in JUNK or "safety" in f or "non_ema" in f]
    for part in ("clip", "dense", "generator"):
        source = getattr(PRESETS[name], part)
        assert online["models"][part]["commit"] == world.hub.repos[f"models/{source.id}"].commit
    world.offline()
    offline = walk(name, folder, tmp_path / "offline", commands)
    for what, value in online.items():
        np.testing.assert_array_equal(offline[what], value)
