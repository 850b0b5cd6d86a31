"""Write the figures of benchmark JSON files as a page: python benchmarks/table.py NAME FILE.json...

The page is benchmarks/figures/NAME.md: speed, bank or gpu.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from freeda.files import atomic_path

FIGURES = Path(__file__).resolve().parent / "figures"


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
    if len(sys.argv) < 3:
        sys.exit("name a page, such as speed, and the JSON files that the benchmarks wrote")
    name, *given = sys.argv[1:]
    figures = "\n\n".join(section(Path(file)) for file in given)
    with atomic_path(FIGURES / f"{name}.md") as temp:
        temp.write_text(f"# Figures: {name}\n\n{figures}\n")


if __name__ == "__main__":
    main()
