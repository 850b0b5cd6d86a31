"""What every command shares: one-line errors, the options that several take."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from ..errors import FreedaError
from ..options import CollectOptions, SegmentOptions
from ..presets import PRESETS

Options = TypeVar("Options", SegmentOptions, CollectOptions)
Model = Annotated[str, typer.Option("--model", help=f"One of {', '.join(PRESETS)}, or a preset .json file.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


class OneLineErrors(TyperGroup):
    """Prints an error that the user can mend as one line on stderr and exits with 2, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FreedaError as error:
            say_error(error)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error  # as a shell tells of a program that Ctrl-C ended


def say_error(error: FreedaError, console: Console | None = None) -> None:
    """Print an error as one line on stderr, or on a console that has bars to keep below it."""
    (console or Console(stderr=True)).print(Text(f"error: {error}", style="red"), soft_wrap=True)


def change(options: Options, **given: Any) -> Options:
    """`options` with the values that were given on the command line; None means not given."""
    return replace(options, **{key: value for key, value in given.items() if value is not None})
