"""`python -m freeda.miniature`: scenes of the small world on one sheet, with captions and truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..show import Row, Section, Tile, palette, tint, write_page
from .captions import caption
from .scenes import CLASSES, HELD_OUT, render


def main(
    out: Annotated[Path, typer.Option(help="Where the sheet goes (.png or .jpg).")] = Path("world.png"),
    first: Annotated[int, typer.Option(help="Number of the first scene.")] = 0,
    rows: Annotated[int, typer.Option(help="Rows of three scenes.")] = 4,
) -> None:
    """Draw held-out scenes with a caption and their label map each."""
    colours = palette(len(CLASSES))

    def tiles(index: int) -> list[Tile]:
        scene = render(HELD_OUT, index)
        text = caption(scene, np.random.default_rng(index))
        return [Tile(scene.image, text), Tile(tint(scene.image, scene.labels, colours, 0.8), "truth")]

    pairs = [tiles(index) for index in range(first, first + 3 * rows)]
    sheet = [Row([*pairs[i], *pairs[i + 1], *pairs[i + 2]]) for i in range(0, 3 * rows, 3)]
    key = list(zip(CLASSES, colours, strict=True))
    print(write_page(out, "The miniature world", [Section("Held-out scenes", sheet, key=key)], tile=160))


if __name__ == "__main__":
    typer.run(main)
