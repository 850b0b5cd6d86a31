"""`freeda app`: what it refuses, and that it serves until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from commands import refused, run


def test_refusals(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the web page needs FastAPI")
    refused(run("app", "--port", 0), "port is 0", "1 and 65535")
    refused(run("app", "--token", "short"), "8 letters and digits")
    refused(run("app", "--bank", tmp_path / "no"), "no")
    refused(run("app", "--classes", "cat"), "a folder of photographs")
    refused(run("app", tmp_path / "none"), "none: no such folder")
    refused(run("app", tmp_path), "holds no images")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused(run("app", "--port", taken.getsockname()[1]), "cannot be served", str(taken.getsockname()[1]))


def test_without_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "freeda.app.web", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    refused(run("app"), "pip install '.[app]' in freeda's checkout")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start(port: int, temporary: Path) -> tuple[subprocess.Popen[str], str]:
    """A page at that port, and its first line."""
    page = subprocess.Popen(
        [sys.executable, "-m", "freeda", "app", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert page.stdout is not None
    return page, page.stdout.readline()


@pytest.mark.parametrize("stop", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_serves_until_it_is_stopped(tmp_path: Path, stop: signal.Signals) -> None:
    pytest.importorskip("fastapi", reason="the web page needs FastAPI")
    for _ in range(3):
        page, said = start(port := free_port(), tmp_path)
        if said or "cannot be served" not in page.communicate()[1]:
            break  # else another program took that port meanwhile
    try:
        assert said == f"freeda is at http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
        assert list(tmp_path.glob("freeda-app-*"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=100) as answer:
            assert answer.status == 200 and b"freeda" in answer.read()
        page.send_signal(stop)
        _, errors = page.communicate(timeout=600)
    finally:
        page.kill()
    assert "Traceback" not in errors and page.returncode in ((0, 130) if stop == signal.SIGINT else (143,))
    assert not list(tmp_path.glob("freeda-app-*"))  # what visitors sent is gone
