"""The command line. Heavy modules are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from ..engines import waiting
from . import bank
from .app import web_page
from .base import OneLineErrors, lasting_output
from .collect import collect
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .nouns import nouns
from .segment import segment

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Segment any photograph by words, with no training: captions become a bank of reference prototypes, "
    "class names look up their prototypes in it, and a photograph's regions are matched to them.",
)


def main() -> None:
    """The entry point of the command `freeda`."""
    os.environ.update(waiting())  # before any command loads torch
    if os.environ.get("COLUMNS", "1").strip("0") == "":  # a terminal of no width would show nothing
        del os.environ["COLUMNS"]
    with lasting_output():
        app()


def _print_version(asked: bool) -> None:
    if asked:
        print(f"freeda {installed_version('freeda')}")
        raise typer.Exit


@app.callback()
def _face(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


for command in (segment, export, collect, nouns, evaluate, demo, doctor):
    app.command()(command)
app.command("app")(web_page)
app.add_typer(bank.app, name="bank")
