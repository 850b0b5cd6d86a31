"""The example of docs/explain.md runs and prints what the page says, up to the rounding of other machines."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explain.md"
NUMBER = re.compile(r"-?\d+\.\d+")


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((code, expected),) = re.findall(
        r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "scene.png", tmp_path / "docs")
    printed, names = io.StringIO(), dict[str, Any]()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, PAGE.name, "exec"), names)
    found = printed.getvalue()
    assert NUMBER.sub("#", found).split() == NUMBER.sub("#", expected).split()
    numbers, told = ([float(n) for n in NUMBER.findall(text)] for text in (found, expected))
    assert numbers == pytest.approx(told, abs=0.002) and len(told) > 20
    assert names["told"].label == "tree"
