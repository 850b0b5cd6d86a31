"""What `--help` shows of every command: all of it, wrapped once, on narrow and on wide terminals."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import typer

from freeda.cli import app


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


FACE: Any = typer.main.get_command(app)
COMMANDS = list(commands(FACE))


def flat(text: str) -> str:
    """Without spaces: a line may be broken after a hyphen."""
    return "".join(text.split())


def test_all_commands_are_looked_at() -> None:
    paths = [path for path, _ in COMMANDS]
    assert () in paths and ("collect",) in paths and ("bank", "add-images") in paths


@pytest.mark.parametrize("columns", [60, 80, 120, 300])
@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(p) or "freeda" for p, _ in COMMANDS])
def test_nothing_is_left_out_and_lines_are_full(
    path: tuple[str, ...],
    command: Any,
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    FACE([*path, "--help"], standalone_mode=False)
    text, errors = capsys.readouterr()
    room = min(columns, 120) - 2
    assert errors == "" and max(map(len, text.splitlines())) <= room
    for parameter in command.params:
        assert flat(getattr(parameter, "help", None) or "") in flat(text), parameter.name
        assert all(name in text for name in parameter.opts if name.startswith("-"))
    for below in getattr(command, "commands", {}).values():
        assert flat(inspect.cleandoc(below.help).split("\n\n")[0]) in flat(text)
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    assert ("\nMethod:\n" in text) == (len(options) > 10 and any(p.name == "settings" for p in options))
    about = inspect.cleandoc(command.help).split("\n\n")
    assert flat("".join(about)) in flat(text)
    # The paragraphs of the description stand between the usage and the lists, each wrapped once.
    told = text.split("\n\n")[1 : 1 + len(about)]
    assert [flat(paragraph) for paragraph in told] == [flat(paragraph) for paragraph in about]
    for paragraph in told:
        rows = paragraph.splitlines()
        for row, after in pairwise(rows):
            assert len(row) + 1 + len(after.split()[0]) > room, (row, after)


@pytest.mark.parametrize("name", [*FACE.commands])
def test_two_examples_that_work(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They name commands and options that there are, and none is broken at 80 columns."""
    FACE([name, "--help"], standalone_mode=False)
    examples = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  freeda ")]
    assert len(examples) == 2
    for example in examples:
        _, called, *arguments = shlex.split(example)
        command = FACE.commands[called]
        if called == "bank":
            command = command.commands[arguments.pop(0)]
        assert called == name and command.make_context(called, arguments).params
