"""The command line as a whole: help, version, `python -m freeda`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

from commands import refused, run
from freeda.cli import base
from freeda.engines import WAITING, waiting
from freeda.errors import FreedaWarning


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


@pytest.mark.parametrize(
    "given",
    [
        *(("bank", "info", "s3://b/k"), ("bank", "add-images", "s3://b/k", "--out", "refs")),
        *(("evaluate", "folder", "--data", "s3://b/k"), ("export", "s3://b/k", "--to", "svg")),
        *(("evaluate", "miniature", "--limit", "1", "--out", "s3://b/k"), ("demo", "--out", "s3://b/k")),
    ],
)
def test_addresses_are_no_folders(given: tuple[str, ...], tmp_path: Path) -> None:
    """Nor is a folder called "s3:" made."""
    with contextlib.chdir(tmp_path):
        refused(run(*given), "b/k: an address")
    assert not list(tmp_path.iterdir())


def test_notes_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base._say_warnings()
        warnings.warn("a\nb", FreedaWarning, stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn("another's", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "note: a\\nb\n"


# Starts the command as a user whom the system does not know.
NOBODY = """
import os, pwd
def nobody(uid):
    raise KeyError(uid)
for name in ("HOME", "FREEDA_CACHE", "XDG_CACHE_HOME"):
    os.environ.pop(name, None)
pwd.getpwuid = nobody
import freeda.cli
freeda.cli.main()
"""


def test_a_poor_environment(tmp_path: Path) -> None:
    """No home folder, a console of another encoding and without a width, and all warnings are errors."""
    pytest.importorskip("pwd", reason="users are known otherwise here")
    (tmp_path / "a.txt").write_text("A “café”\n", encoding="utf-8")
    start = [sys.executable, "-W", "error", "-c", NOBODY, "nouns", "a.txt", "--show", "1"]
    poor = {
        **os.environ,
        "PYTHONIOENCODING": "ascii",
        "COLUMNS": "0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(start, capture_output=True, text=True, env=poor, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "A \\u201c[caf\\xe9]\\u201d\n" in done.stdout and "different nouns" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("into", "code", "says"),
    [
        (">/dev/full", 2, "error: stdout cannot be written (No space left on device); files are as they "),
        ("| true; exit ${PIPESTATUS[0]}", 0, ""),
        (">&-", 0, ""),
        (">/dev/full 2>&1", 2, ""),
    ],
)
def test_no_work_is_lost_to_a_stdout_that_cannot_show_it(
    tmp_path: Path, into: str, code: int, says: str
) -> None:
    work = "import freeda.cli.base as b\nwith b.lasting_output():\n b.say('x' * 99999); open('done', 'x')"
    line = f"'{sys.executable}' -c \"$WORK\" {into}"
    given = {**os.environ, "WORK": work, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=given)
    assert done.returncode == code and done.stderr.startswith(says) and done.stderr.count("\n") == bool(says)
    assert (tmp_path / "done").exists()


PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
ROOT = Path(__file__).parents[2]
SEGMENT = ["segment", str(ROOT / "docs" / "scene.png"), "--classes", "tree"]
# In place of torch: tells what the environment is when it is loaded.
TORCH = "import json, os; print(json.dumps(dict(os.environ)), flush=True); os._exit(0)"


@pytest.mark.parametrize("own", [{}, {"KMP_BLOCKTIME": "0"}], ids=["as we say", "as the user says"])
@pytest.mark.parametrize(
    "start",
    [
        ["-m", "freeda", *SEGMENT],
        ["-c", "import freeda.cli; freeda.cli.main()", *SEGMENT],
        ["-m", "studies.ablations"],
        ["-m", "studies.train"],
    ],
    ids=["module", "script", "ablations", "train"],
)
def test_threads_wait_passively(
    tmp_path: Path, start: list[str], own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set before torch is loaded, unless the user has set any of it."""
    (tmp_path / "torch.py").write_text(TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, *start], capture_output=True, text=True, cwd=ROOT)
    seen = json.loads(done.stdout or "null")
    assert {n: seen[n] for n in WAITING if n in seen} == (own or PASSIVE), done.stderr


def test_torch_s_own_runtime_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_spec("torch")
    assert found is not None and found.origin is not None
    runtime = Path(found.origin).parent / "lib" / "libgomp.so.1"
    if not runtime.exists():
        pytest.skip("this torch brings no GNU OpenMP of its own")
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    env = {**os.environ, **waiting(), "OMP_DISPLAY_ENV": "VERBOSE"}
    load = f"import ctypes; ctypes.CDLL({str(runtime)!r})"
    told = subprocess.run([sys.executable, "-c", load], env=env, capture_output=True, text=True).stderr
    assert all(f"{name} = '{value}'" in told for name, value in PASSIVE.items())
