"""What a measurement prints, and where it goes on a page of the documentation: between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from freeda.errors import InputError
from freeda.files import atomic_write_bytes

Page = Annotated[
    Path | None,
    typer.Option("--page", help="Put what is printed between the marks of this Markdown page, too."),
]

END = "<!-- end -->"


def begin(command: str) -> str:
    """The line before what a command put on a page; `END` comes after it."""
    return f"<!-- begin: {command} -->"


def between_marks(page: str, text: str, mark: str) -> str:
    """`page` with `text` in place of what stands from `mark` to END. InputError where it has no place."""
    head, begin, rest = page.partition(mark)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise InputError(f"the page has no place for the table: it needs the lines {mark} and {END}")
    return f"{head}{mark}\n{text}\n{END}{tail}"


def publish(text: str, page: Path | None, mark: str) -> None:
    """Print Markdown, and put it on a page where one is given. Raises as `between_marks`."""
    print(text)
    if page is not None:
        atomic_write_bytes(page, between_marks(page.read_text("utf-8"), text, mark).encode())


def spread(values: Sequence[float]) -> str:
    """Mean over seeds; of several, also the least and the greatest: "0.763 (0.755 to 0.779)"."""
    told = f"{np.mean(values):.3f}"
    return told if len(values) == 1 else f"{told} ({min(values):.3f} to {max(values):.3f})"
