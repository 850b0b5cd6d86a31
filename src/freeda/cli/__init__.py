"""The command line. Heavy modules are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version
from typing import Annotated

import typer
from typer import Option

from ..engines import waiting
from . import bank
from .base import OneLineErrors, lasting_output
from .collect import collect, nouns
from .evaluate import evaluate
from .segment import export, name, segment
from .trying import demo, doctor, web_page

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
        bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for command, examples in (
    (
        segment,
        'freeda segment photo.jpg --classes "cat, sofa=couch" --model vit-b\n\n'
        "freeda segment photos/ -r --classes-file words.txt --bank bank/",
    ),
    (name, "freeda name photo.jpg --model vit-b --bank bank/\n\nfreeda name photos/ -r --bank bank/ --npz"),
    (
        export,
        "freeda export out/photo.npz --to svg\n\n"
        "freeda export out/*.npz --to coco --to geojson --out shapes/",
    ),
    (
        collect,
        "freeda collect captions.txt --out bank/ --model vit-l\n\n"
        "freeda collect --words words.txt --out bank/ --device cuda:0,cuda:1",
    ),
    (nouns, "freeda nouns captions.csv --column alt_text\n\nfreeda nouns captions.txt --show 20"),
    (
        evaluate,
        "freeda evaluate voc20 --data VOC2012/ --model vit-l --bank bank/\n\n"
        "freeda evaluate folder --data mine/ --bank bank/ --limit 20",
    ),
    (demo, "freeda demo\n\nfreeda demo --seed 1 --out demo-1/"),
    (doctor, "freeda doctor --model vit-b\n\nfreeda doctor --json"),
    (web_page, "freeda app photos/ --classes 'cat, sofa'\n\nfreeda app --model vit-l --bank bank/"),
):
    app.command("app" if command is web_page else None, epilog=f"Examples:\n\n{examples}")(command)
app.add_typer(bank.app, name="bank")
