"""The command line as a whole: help, version, `python -m freeda`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from commands import run


def test_help_and_version() -> None:
    assert run("--version").output.startswith("freeda ")
    for command in ("", "segment", "collect", "nouns", "evaluate", "demo", "bank", "bank info"):
        done = run(*command.split(), "--help")
        assert done.exit_code == 0 and "Usage" in done.output


@pytest.mark.parametrize("command", [[], ["segment"], ["bank", "index"]], ids=" ".join)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    heavy = {"torch", "transformers", "diffusers", "numpy", "pyarrow", "faiss", "scipy", "PIL"}
    script = (
        "import sys; from typer.testing import CliRunner; from freeda.cli import app; "
        f"assert CliRunner().invoke(app, [*{command}, '--help']).exit_code == 0; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "freeda", "segment", "no.jpg", "--classes", "a"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no.jpg: no such file\n")
