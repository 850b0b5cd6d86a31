"""A worker's own folder goes with it, and with the next one on that node where it was killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from freeda.engines import on_ray
from freeda.engines.on_ray import WorkerFolder, tidy
from freeda.lock import SYSTEM_LOCKS

if not SYSTEM_LOCKS:
    pytest.skip("no file locks here", allow_module_level=True)

SCRIPT = """
import sys
from freeda.engines.on_ray import WorkerFolder
own = WorkerFolder()
(own.path / "deep").mkdir()
(own.path / "deep" / "half.parquet").write_bytes(b"half")
print(own.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a node."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # where it was before is remembered
    return tmp_path


@pytest.fixture
def workers(node: Path) -> Iterator[list[tuple[subprocess.Popen[str], Path]]]:
    """Three processes, each with a folder that holds half a shard."""
    found = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        found.append((process, Path(process.stdout.readline().strip())))
    yield found
    for process, _ in found:
        process.kill()
        process.communicate()


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_the_killed_ones_are_tidied_and_the_living_left_alone(
    node: Path, workers: list[tuple[subprocess.Popen[str], Path]]
) -> None:
    (one, ones), (two, twos), (_, living) = workers
    assert len({ones, twos, living}) == 3 and all(path.parent == node for path in (ones, twos, living))
    kill(one)
    assert (ones / "deep" / "half.parquet").exists()  # nobody has come yet
    own = WorkerFolder()
    assert sorted(node.iterdir()) == sorted((twos, living, own.path))
    kill(two)
    own.remove()  # whoever goes looks as well
    assert list(node.iterdir()) == [living]
    assert (living / "deep" / "half.parquet").read_bytes() == b"half"


def test_what_a_piece_still_writes_can_be_found(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, real = WorkerFolder(), shutil.rmtree

    def rmtree(path: Path, ignore_errors: bool) -> None:
        real(path, ignore_errors=ignore_errors)
        if not late:
            late.append(path)
            path.mkdir()
            (path / "late.parquet").write_bytes(b"half")

    late: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", rmtree)
        patch.setattr(on_ray, "tidy", lambda parent: None)
        own.remove()
    assert (own.path / "late.parquet").exists()
    tidy(node)
    assert late and not list(node.iterdir())


def test_what_is_not_ours_stays(node: Path, workers: list[tuple[subprocess.Popen[str], Path]]) -> None:
    (node / "freeda-bank" / "work").mkdir(parents=True)
    (node / f"freeda-worker-not-{socket.gethostname()}-1").mkdir()
    (node / f"freeda-worker-{socket.gethostname()}-notes").write_text("mine")
    process, dead = workers[0]
    kill(process)
    (node / "else").mkdir()
    dead.rename(node / "else" / "real")
    (node / f"freeda-worker-{socket.gethostname()}-link").symlink_to(node / "else" / "real")
    before = sorted(str(path) for path in node.rglob("*"))
    tidy(node)
    assert sorted(str(path) for path in node.rglob("*")) == before
    (node / "else" / "real").rename(dead)
    tidy(node)
    assert not dead.exists()  # it was the name and the link that kept it


def test_another_user_s_stays(
    node: Path, workers: list[tuple[subprocess.Popen[str], Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, dead = workers[0]
    kill(process)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: dead.stat().st_uid + 1)
        tidy(node)
    assert dead.exists()
    tidy(node)
    assert not dead.exists()


def test_without_locks_nobody_is_taken_for_dead(
    node: Path, workers: list[tuple[subprocess.Popen[str], Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "this file system has no locks")

    monkeypatch.setattr("freeda.lock.flock", refuse)
    kill(workers[0][0])
    own = WorkerFolder()
    assert all(path.exists() for _, path in workers) and own.path.is_dir()
    own.remove()
    assert not own.path.exists() and all(path.exists() for _, path in workers)
