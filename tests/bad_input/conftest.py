"""A preset file and a photograph to hand over with what is bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from bad_input.common import NOISE
from commands import write_preset
from freeda.presets import Preset


@pytest.fixture(scope="module")
def preset_file(tiny_preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("preset"), tiny_preset)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(NOISE).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"
