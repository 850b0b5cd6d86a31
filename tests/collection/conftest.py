"""The tiny models of tests/conftest.py, loaded for collecting."""

from __future__ import annotations

from typing import Any

import pytest

from freeda.presets import Preset

CAPTIONS = (
    "a red stop sign in front of a house",
    "two people ride horses along the sandy beach",
    "something of another kind",  # no noun: never drawn
    "a boat sails on the water in front of mountains",
    "a dog and a cat on the green grass",
    "a small car under the blue sky",
    "a tree beside the wooden table",
    "horses on the grass under a tree",
)


@pytest.fixture(scope="session")
def tiny_models(tiny_preset: Preset) -> Any:
    from freeda.collection.shard import load_models

    return load_models(tiny_preset, tiny_preset.collect, "cpu")


@pytest.fixture
def captions() -> list[str]:
    return list(CAPTIONS)
