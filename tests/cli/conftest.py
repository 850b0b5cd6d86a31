"""A preset file, a bank and a photograph for the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import CAPTIONS, run, write_preset
from freeda.presets import Preset

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model(tiny_preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("preset"), tiny_preset)


@pytest.fixture(scope="module")
def bank(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank made by the command itself; its random models may reject masks, so none is rejected."""
    folder = tmp_path_factory.mktemp("banks")
    (folder / "captions.txt").write_text(CAPTIONS)
    done = run(
        "collect",
        folder / "captions.txt",
        "--out",
        folder / "bank",
        "--model",
        model,
        "--device",
        "cpu",
        "--steps",
        1,
    )
    assert done.exit_code == 0, done.output
    return folder / "bank"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(RNG.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(path)
    return path
