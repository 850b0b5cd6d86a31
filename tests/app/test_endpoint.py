"""The calls that docs/app.md shows, run as they stand there."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from freeda.app.server import serve

from .conftest import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "app.md").read_text("utf-8")


@pytest.fixture(scope="module")
def url(model: Any) -> Iterator[str]:
    served = serve(model, port=None)
    yield served.url.rstrip("/")
    served.close()


def test_curl(url: str, model: Any) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    segment, teach = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    answers = []
    for script in (segment, segment.split("\n")[0] + "\n" + teach):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:7860", url)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    told, taught = answers
    result = model.segment(ROOT / "docs" / "scene.png", ["sunset", "water", "house", "tree"])
    assert (told["width"], told["height"]) == (512, 512)
    assert {one["name"]: one["share"] for one in told["classes"]} == pytest.approx(result.shares)
    labels = Image.open(io.BytesIO(base64.b64decode(told["labels"].split(",")[1])))
    np.testing.assert_array_equal(np.asarray(labels), result.labels)
    assert taught["lessons"] == 1 and taught["lesson"]["word"] == "tree" and taught["lesson"]["area"] > 0.01


def test_python(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ((code, expected),) = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, re.M | re.S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code.replace("http://127.0.0.1:7860", url), "app.md", "exec"), {})
    assert printed.getvalue() == expected
