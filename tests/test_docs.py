"""The examples of docs/python.md run, and print what the page says; links of all pages lead somewhere."""

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

from freeda.errors import FreedaError

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("python.md", "extending.md")


def examples(page: str) -> list[tuple[str, str]]:
    """Each example of a page, and what it says is printed, or raised by the last line."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.M | re.S)
    assert len(found) >= 6 and len(found) == text.count("```python")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_examples_in_their_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "scene.png", tmp_path / "docs")
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.jpg").write_text("no picture")
    names: dict[str, Any] = {}
    for number, (code, expected) in enumerate(examples(page), start=1):
        printed = io.StringIO()
        raises = re.match(r"(\w+Error): ", expected)
        with contextlib.redirect_stdout(printed):
            try:
                exec(compile(code, f"{page}, example {number}", "exec"), names)
            except FreedaError as error:
                assert raises, f"example {number}"
                said = re.sub("^[^:]*: ", "", str(error)).split("; ")[0].split(": load preset")[0]
                print(f"{type(error).__name__}: {said}")
        assert printed.getvalue() == expected, f"{page}, example {number}"


def test_sections_are_short() -> None:
    """To write a part of one's own takes a section of under 40 lines."""
    text = (ROOT / "docs" / "extending.md").read_text("utf-8")
    for section in text.split("\n## ")[1:]:
        code = "".join(re.findall(r"^```python\n(.*?)^```", section, re.M | re.S))
        assert code.count("\n") < 40, section[:40]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-")
        for h in re.findall("^#+ (.*)", text, re.M)
    }


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    links = [(p, link) for p in pages for link in re.findall(r"\]\(([^)\s]+)\)", p.read_text("utf-8"))]
    for page, link in links:
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        if not link.startswith("http"):
            assert there.exists() and (not anchor or anchor in anchors(there)), f"{page.name}: {link}"
    told = {link.partition("#")[0] for page, link in links if page.name == "README.md"}
    assert {f"docs/{page.name}" for page in pages[2:]} <= told  # no page that nothing leads to
