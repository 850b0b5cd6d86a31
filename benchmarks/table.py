"""Write the figures of benchmark JSON files into a page of docs: python benchmarks/table.py FILE.json...

The page is docs/speed.md, or docs/NAME.md with `--page NAME` (bank, gpu) before the files.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from freeda.files import atomic_path

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def section(path: Path) -> str:
    """One file's figures as Markdown: what they were taken on, then a table for every shape of row."""
    found: dict[str, Any] = json.loads(path.read_text())
    where = found["where"]
    lines = [
        f"### {found['benchmark']}",
        "",
        f"{where['processor']}, {where['cores']} cores, {where['threads']} threads, torch {where['torch']}, "
        f"median of {where['repeats']}" + (f", load {where['load']:.1f} at the end" if where["load"] else ""),
    ]
    if where["quick"]:
        lines.append("\nPreliminary: taken with `--quick`.")
    for keys, rows in groupby(found["rows"], key=list):
        lines += ["", "| " + " | ".join(keys) + " |", "|" + "---|" * len(keys)]
        lines += ["| " + " | ".join(shown(row[key]) for key in keys) + " |" for row in rows]
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A cell: four significant digits at most, nothing for None."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    given = sys.argv[1:]
    name = "speed"
    if given[:1] == ["--page"]:
        name, given = given[1], given[2:]
    if not given:
        sys.exit("name the JSON files that the benchmarks wrote")
    page = DOCS / f"{name}.md"
    before, rest = page.read_text().split(BEGIN)
    figures = "\n\n".join(section(Path(file)) for file in given)
    with atomic_path(page) as temp:
        temp.write_text(f"{before}{BEGIN}\n\n{figures}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
