"""The examples of docs/python.md run, and print what the page says they print."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "python.md"
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", PAGE.read_text("utf-8"), re.M | re.S
)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 8 and len(EXAMPLES) == PAGE.read_text("utf-8").count("```python")


def test_examples_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "scene.png", tmp_path / "docs")
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    names: dict[str, Any] = {}
    for number, (code, expected) in enumerate(EXAMPLES, start=1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{PAGE.name}, example {number}", "exec"), names)
        assert printed.getvalue() == expected, f"example {number}"
