"""The call that docs/app.md shows, run as it stands there."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .conftest import WAIT

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> str:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (found,) = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "app.md").read_text("utf-8"), re.M | re.S)
    return str(found)


def call(script: str, url: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:7860/", url)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=WAIT / 1000,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_documented_call(script: str, served: Any, model: Any) -> None:
    answer = call(script, served.url)
    assert "event: complete" in answer
    (told,) = json.loads(answer.split("data: ", 1)[1].splitlines()[0])
    result = model.segment(ROOT / "docs" / "scene.png", ["sunset", "water", "house", "tree"])
    assert (told["width"], told["height"]) == (512, 512)
    assert [one["name"] for one in told["classes"]] == list(result.names)
    assert [one["share"] for one in told["classes"]] == pytest.approx(list(result.shares.values()))
    labels = Image.open(io.BytesIO(base64.b64decode(told["labels"].split(",")[1])))
    np.testing.assert_array_equal(np.asarray(labels), result.labels)
    assert labels.mode == "P"


def test_words_that_cannot_be_used(script: str, served: Any) -> None:
    answer = call(script.replace("sunset, water, house, tree", "tree, tree"), served.url)
    assert "event: error" in answer and "Traceback" not in answer
