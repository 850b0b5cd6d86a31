"""`freeda demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures and report.json.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Other captions and other held-out scenes.")] = 0,
    captions: Annotated[int, typer.Option(min=1, help="Captions drawn for the bank.")] = 400,
    scenes: Annotated[int, typer.Option(min=1, help="Held-out scenes that are segmented.")] = 200,
) -> None:
    """The whole story on the bundled miniature models, with pictures; no download."""
    from ..demo import run_demo

    run_demo(out=out, seed=seed, captions=captions, scenes=scenes)
