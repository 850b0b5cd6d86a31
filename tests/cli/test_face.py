"""The command line as a whole: help, version, `python -m freeda`."""

from __future__ import annotations

import subprocess
import sys

from commands import run


def test_help_and_version() -> None:
    assert run("--version").output.startswith("freeda ")
    for command in ([], ["segment"], ["collect"], ["nouns"], ["demo"], ["bank"], ["bank", "info"]):
        done = run(*command, "--help")
        assert done.exit_code == 0 and "Usage" in done.output


def test_help_loads_no_torch() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from freeda.cli import app; "
        "assert CliRunner().invoke(app, ['segment', '--help']).exit_code == 0; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "freeda", "segment", "no.jpg", "--classes", "a"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: no.jpg: no such file\n")
