"""`freeda segment --explain X,Y`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import InputError
from .base import say, say_error

if TYPE_CHECKING:
    from ..segment import Outcome

Explain = Annotated[
    list[str] | None,
    typer.Option(
        "--explain",
        metavar="X,Y",
        help="Tell why the pixel in column X and row Y (from 0) got its word; also as a picture. Repeatable.",
    ),
]
Point = tuple[int, int]


def read_points(given: Sequence[str] | None) -> list[Point]:
    """Pixels "X,Y". Raises InputError for other text."""
    points = []
    for text in given or []:
        found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", text, re.ASCII)
        if found is None:
            raise InputError(
                f"--explain {text!r}: name a pixel as X,Y: its column and row from 0, as in 120,80"
            )
        points.append((int(found[1]), int(found[2])))
    return list(dict.fromkeys(points))


class Explainer:
    """Explains the same pixels of every photograph: a card beside its results, and a table at the end."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = list(points)
        self.missed = False
        """Whether a pixel lay outside a photograph."""
        self._told: list[str] = []

    def add(self, outcome: Outcome, console: Console, strict: bool) -> None:
        """Write STEM.explain-X-Y.png for each pixel. One outside the photograph is an error line; with
        `strict`, InputError."""
        if outcome.result is None:
            return
        from ..segment.result_folder import write_card

        for x, y in self.points:
            try:
                found = outcome.result.explain(x, y)
                card = write_card(outcome.files["json"], found)
            except InputError as error:
                told = InputError(f"{outcome.path}: --explain {x},{y}: {error}")
                if strict:
                    raise told from error
                say_error(told, console)
                self.missed = True
                continue
            self._told.append(f"{found}\n\nas a picture: {card}\n")

    def print(self) -> None:
        """All that was found, on stdout."""
        for text in self._told:
            for line in text.split("\n"):
                say(line)
