"""docs/quickstart.ipynb runs from its first cell to its last, and shows what it was saved with."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTEBOOK = json.loads((DOCS / "quickstart.ipynb").read_text("utf-8"))
CELLS = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any], number: int) -> Any:
    """What a notebook does: run the lines; the value of a last expression is shown."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)


def shown(cell: dict[str, Any], kind: str) -> str | None:
    for output in cell["outputs"]:
        assert output["output_type"] == "execute_result", f"an unwanted output: {output}"
        if kind in output["data"]:
            return "".join(output["data"][kind])
    return None


def words(html: str) -> list[str]:
    """What the page says, without its picture and colours."""
    return re.sub(r"<[^>]*>", "\n", html).split()


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(DOCS / "scene.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert len(CELLS) >= 8
    for number, cell in enumerate(CELLS, start=1):
        value = run_cell("".join(cell["source"]), names, number)
        page = shown(cell, "text/html")
        if page is not None:
            assert words(value._repr_html_()) == words(page), f"cell {number}"
        assert (None if value is None else repr(value)) == shown(cell, "text/plain"), f"cell {number}"


def test_the_notebook_is_small_and_whole() -> None:
    assert NOTEBOOK["nbformat"] == 4 and all(cell["execution_count"] for cell in CELLS)
    assert (DOCS / "quickstart.ipynb").stat().st_size < 1_500_000
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#]+)\)", "".join(cell["source"])):
                assert (DOCS / link).is_file(), link
