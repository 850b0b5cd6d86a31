"""What every command shares: one-line errors, help that leaves nothing out, lines and tables."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from ..errors import FreedaError, FreedaWarning, InputError, printable, told_by
from ..presets import Preset

_PURPOSES = {
    "Words and data": "classes classes_file vocabulary save_vocabulary others words column id_column tagger "
    "data split names images masks ignore shots limit recursive",
    "Results": "out export dataset npz explain again resume strict keep_images retry_failed",
    "Models and references": "model bank taught regions index device dtype batch_size workers engine "
    "gpus_per_worker yes",
    "Drawing": "grow images_per_word prompts draw steps shard_size",
    "Method": "k seed local_weight background background_threshold settings",
}
"""What the options of commands that have many are for, in help."""
_MANY = 10

WIDEST = 120
"""Columns that help takes at most, on however wide a terminal."""


class _Lasting:
    """An output stream that takes everything: what it cannot write is left out, and the first error kept."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        stream.reconfigure(errors="backslashreplace")  # for what its encoding lacks
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, what: Callable[[], Any]) -> None:
        try:
            what()
        except OSError as error:
            self.error = self.error or error
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())  # also for what is still to be flushed
            os.close(nothing)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Have no work lost to a stdout or stderr that cannot show it, whatever its encoding is.

    At the end, a stdout that could not be written is told and exits with 2; one whose reader has left is not.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed: no file that is opened later may take its place
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            setattr(sys, name, _Lasting(stream))
    try:
        yield
    finally:
        sys.stdout.flush()
        error = getattr(sys.stdout, "error", None)
        if error is not None and error.errno != errno.EPIPE:
            say_error(InputError(f"stdout cannot be written ({error.strerror}); files are as they should be"))
            raise SystemExit(2)


class OneLineErrors(TyperGroup):
    """Prints an error that the user can mend as one line on stderr and exits with 2, without a traceback.

    Its help, and that of all commands below it, is plain text.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.context_settings["max_content_width"] = WIDEST
        _explain_plainly(self)

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                _say_warnings()
                return super().invoke(ctx)
        except typer.Exit:
            raise
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error  # as a shell tells of a program that Ctrl-C ended
        except Exception as error:
            told = told_by(error)
            if told is None:
                raise
            say_error(told)
            raise typer.Exit(2) from error


def _explain_plainly(command: Any) -> None:
    """Have a command, and those below it, wrap its help to the terminal's width and leave nothing out.

    Typer's own tables give a line of an option the 19 columns that are left of 80 by names and types, cut
    long words off, and keep the line breaks of a docstring, which then is wrapped twice.
    """
    command.rich_markup_mode = None
    if len(command.params) > _MANY:
        command.format_options = partial(_by_purpose, command)
    # Else the list of commands would show what fits on one line, and dots.
    command.short_help = " ".join((command.help or "").split("\n\n")[0].split())
    for below in getattr(command, "commands", {}).values():
        _explain_plainly(below)


def _by_purpose(command: Any, ctx: Any, formatter: Any) -> None:
    """Write arguments and options under headings; what `_PURPOSES` does not name comes last."""
    rows: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Arguments", *_PURPOSES, "Options")}
    for parameter in command.get_params(ctx):
        found = [title for title, names in _PURPOSES.items() if parameter.name in names.split()]
        title = "Arguments" if parameter.param_type_name == "argument" else [*found, "Options"][0]
        if (record := parameter.get_help_record(ctx)) is not None:
            rows[title].append(record)
    for title, listed in rows.items():
        if listed:
            with formatter.section(title):
                formatter.write_dl(listed)


def _say_warnings() -> None:
    """Have freeda's own warnings shown as one line, without the place in the code that gave them.

    Also where Python is told to take warnings for errors, which notes are not.
    """
    warnings.simplefilter("default", FreedaWarning)
    usual = warnings.showwarning

    def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, FreedaWarning):
            say(f"note: {message}", "yellow", Console(stderr=True))
        else:
            usual(message, category, *place, **more)

    warnings.showwarning = show


def say(text: str, style: str = "", console: Console | None = None) -> None:
    """Print one line on stdout, or on another console; whatever it names cannot break or colour it."""
    (console or Console()).print(Text(printable(text), style=style), soft_wrap=True)


def print_table(table: Table) -> None:
    """Print a table of which nothing is cut off: what is too long for its column goes on below."""
    for column in table.columns:
        column.overflow = "fold"
    Console().print(table)


def print_facts(title: str, rows: dict[str, str]) -> None:
    """Print names and what is said of each, as a table."""
    table = Table(show_header=False, title=Text(printable(title)), title_justify="left")
    for name, text in rows.items():
        table.add_row(Text(printable(name)), Text(printable(text)))
    print_table(table)


def say_error(error: FreedaError, console: Console | None = None) -> None:
    """Print an error as one line on stderr, or on a console that has bars to keep below it."""
    say(f"error: {error}", "red", console or Console(stderr=True))


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, gone afterwards, for work that tells how much is done of how much."""
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, in_all: shown.update(task, completed=done, total=in_all)


@contextmanager
def resumable(place: str | Path) -> Iterator[None]:
    """Say where Ctrl-C leaves work that the same command goes on with."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on with {place}", "yellow", Console(stderr=True))
        raise


def tell_trained(preset: Preset, identity: Mapping[str, Any]) -> None:
    """Say which of a loaded preset's models were trained on masks, if any was."""
    if preset.regions is not None:
        say(f"{trained_on_masks(identity['regions'])} (--regions superpixels does without)")
    if preset.detector is not None:
        say(trained_on_masks(identity["clip"]["id"], "labels"))


def trained_on_masks(model: str, what: str = "regions") -> str:
    """What is to be said wherever a region model has cut the pictures, or a detector labelled them."""
    return f"{what} are those of {model}, which was trained on masks"
