"""The Dockerfile, as far as it can be tried without Docker: what it copies, runs, asks for and starts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from freeda.app.limits import PORT
from freeda.cli import app

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """(instruction, the rest) in their order; lines that go on are one."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line]  # type: ignore[misc]


def every(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def copied() -> list[str]:
    return [source for rest in every("COPY") for source in rest.split()[:-1]]


def shell(command: str, place: Path, **more: str) -> str:
    """What a RUN prints, python3 being this one."""
    (place / "bin").mkdir(exist_ok=True)
    if not (place / "bin" / "python3").exists():
        (place / "bin" / "python3").symlink_to(sys.executable)
    env = {"PATH": f"{place / 'bin'}:/usr/bin:/bin", **more}
    done = subprocess.run(["/bin/sh", "-c", command], cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_that_is_copied_is_there_and_sent() -> None:
    sent = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    assert set(copied()) == sent
    for source in copied():
        assert (ROOT / source).exists(), source


def test_it_builds_from_what_is_copied(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", reason="builds by setuptools 77 or newer")
    for source in copied():
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        here, there = ROOT / source, tmp_path / source
        shutil.copytree(here, there, ignore=ignored) if here.is_dir() else shutil.copyfile(here, there)
    hook = "import setuptools.build_meta as b; print(b.build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", hook], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(tmp_path.glob("freeda-*.whl"))


def test_it_wants_what_is_locked(tmp_path: Path) -> None:
    """Its list of requirements is the project's, and the lock has a version that suits each."""
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (extras,) = [rest.partition("=")[2].strip('"') for rest in every("ARG") if rest.startswith("EXTRAS")]
    (command,) = [rest for rest in every("RUN") if "tomllib" in rest]
    shell(command, tmp_path, EXTRAS=extras)
    wanted = [Requirement(line) for line in (tmp_path / "wanted.txt").read_text().splitlines()]
    locked = dict(
        line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    versions = {re.sub("[-_.]+", "-", name).lower(): version for name, version in locked.items()}
    assert {"torch", "peft"} <= {one.name for one in wanted}
    for one in wanted:
        assert one.specifier.contains(versions[re.sub("[-_.]+", "-", one.name).lower()]), one


def test_python_is_brought_only_where_there_is_none(tmp_path: Path) -> None:
    (command,) = [rest for rest in every("RUN") if "apt-get" in rest]
    shell(command, tmp_path)  # here is one, so nothing is installed
    assert "python3-venv" in command and command.rstrip(") ").endswith("rm -rf /var/lib/apt/lists/*")


def test_no_root_and_no_secrets() -> None:
    order = [instruction for instruction, _ in instructions()]
    assert order.index("USER") > max(i for i, name in enumerate(order) if name in ("RUN", "COPY"))
    (user,) = every("USER")
    assert f"--uid 10001 {user}" in " ".join(every("RUN"))
    assert set(" ".join(every("VOLUME")).split()) == {"/cache", "/photos"}
    assert every("FROM") == ["${BASE}"] and every("ARG")[0] == "BASE=python:3.11-slim"
    assert not any(re.search("token|secret|password", rest, re.I) for rest in every("ENV") + every("ARG"))


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (401, True), (500, False), (None, False)])
def test_health(tmp_path: Path, status: int | None, healthy: bool) -> None:
    class Page(BaseHTTPRequestHandler):
        def log_message(self, *said: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/info" and status else 404)
            self.end_headers()

    (check,) = every("HEALTHCHECK")
    command = check.partition(" CMD ")[2]
    assert f"'127.0.0.1', {PORT}," in command
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        port = server.server_port
        if status:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        else:
            server.server_close()  # nobody listens
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace(str(PORT), str(port)).replace("python3", sys.executable)],
            capture_output=True,
        )
        if status:
            server.shutdown()
    assert (done.returncode == 0) is healthy


def test_it_starts_the_page() -> None:
    (entry,), (start,) = map(every, ("ENTRYPOINT", "CMD"))
    assert json.loads(entry) == ["freeda"] and every("EXPOSE") == [str(PORT)]
    command, *options = json.loads(start)
    told = CliRunner().invoke(app, [command, "--help"]).output
    assert all(option in told for option in options if option.startswith("--"))
    assert options == ["--host", "0.0.0.0"]
