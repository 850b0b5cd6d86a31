"""One writer at a time: who holds a bank, and that nobody dead does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from freeda import lock
from freeda.collection.job import collect
from freeda.errors import BankError, FreedaError, FreedaWarning
from freeda.files import RECORD, Written
from freeda.lock import LOCK, only_writer
from waiting import wait_for

from .fakes import OPTIONS, PRESET, captions, fake_models

HOLD = """
import sys
from pathlib import Path
from freeda.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of a folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def write(folder: Path, host: str, pid: int = 1, age: float = 0.0) -> Path:
    path = folder / LOCK
    path.write_text(json.dumps({"pid": pid, "host": host, "since": "2026-01-02T03:04:05+00:00"}))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_two_writers_and_a_dead_one(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        with (
            pytest.raises(BankError, match=rf"process {process.pid} on \S+ since 20\d\d-\d\d-\d\dT") as e,
            only_writer(tmp_path),
        ):
            pass
        assert "\n" not in str(e.value) and str(tmp_path) in str(e.value)
        with pytest.raises(BankError, match=f"another run is writing this bank .process {process.pid} on"):
            collect(captions(3), tmp_path, PRESET, "cpu", models=fake_models(), options=OPTIONS)
        assert not (tmp_path / "shards").exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / LOCK).exists()  # it had no time to remove it
    collect(captions(3), tmp_path, PRESET, "cpu", models=fake_models(), options=OPTIONS)
    assert not (tmp_path / LOCK).exists()


def test_two_in_one_process(tmp_path: Path) -> None:
    with (
        only_writer(tmp_path),
        pytest.raises(BankError, match=f"process {os.getpid()}"),
        only_writer(tmp_path),
    ):
        pass
    with only_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links are followed there")
@pytest.mark.parametrize("name", [LOCK, RECORD])
def test_what_a_link_leads_to_is_not_ours(tmp_path: Path, name: str) -> None:
    folder, other = tmp_path / "out", tmp_path / "other.txt"
    folder.mkdir()
    other.write_text("mine")
    (folder / name).symlink_to(other)
    with pytest.raises(FreedaError, match=r"cannot be written"), only_writer(folder):  # noqa: SIM117
        with Written(folder).replace("x") as (temp,):
            temp.write_text("new")
    assert other.read_text() == "mine" and not (folder / "x").exists()


def test_freed_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), only_writer(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_holder_elsewhere_shows_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its clock says, and ours: only a change counts."""
    monkeypatch.setattr(lock, "STALE", 60.0)
    path = write(tmp_path, "another-machine")
    ended = threading.Event()
    monkeypatch.setattr(lock, "BEAT", 0.05)
    beating = threading.Thread(target=lock._beat, args=(path, ended))
    beating.start()
    with (
        pytest.warns(FreedaWarning, match="process 1 on another-machine since 2026.*, if it lives: waiting"),
        pytest.raises(BankError, match="process 1 on another-machine since 2026"),
    ):
        collect(captions(3), tmp_path, PRESET, "cpu", models=fake_models(), options=OPTIONS)
    ended.set()
    beating.join()
    assert "another-machine" in path.read_text()
    monkeypatch.setattr(lock, "STALE", 0.2)
    for age in (-1e8, 0.0, 1e8):
        write(tmp_path, "another-machine", age=age)
        with pytest.warns(FreedaWarning), only_writer(tmp_path):
            assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_holder_elsewhere_that_finishes_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "another-machine")
    monkeypatch.setattr(lock, "STALE", 60.0)
    threading.Timer(0.2, path.unlink).start()
    with pytest.warns(FreedaWarning), only_writer(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not path.exists()


def test_signs_of_life_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with only_writer(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        wait_for(lambda: (tmp_path / LOCK).stat().st_mtime > 0)


def test_without_the_system_s_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has none, a holder on this machine is asked after by its number."""

    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock, "flock", none)
    host = lock._oneself()["host"]
    path, ended = write(tmp_path, host, pid=os.getppid()), threading.Event()
    monkeypatch.setattr(lock, "BEAT", 0.05)
    threading.Thread(target=lock._beat, args=(path, ended)).start()
    with (
        pytest.warns(FreedaWarning),
        pytest.raises(BankError, match=f"process {os.getppid()} on"),
        only_writer(tmp_path),
    ):
        pass
    ended.set()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    write(tmp_path, host, pid=dead.pid)
    with only_writer(tmp_path):
        pass


@pytest.mark.filterwarnings("ignore::freeda.errors.FreedaWarning")
@pytest.mark.parametrize(
    "content",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"\xff\xfe",
            b'{"pid": 1}',
            b'{"host": [], "since": {}}',
            b"[" * 9**6,
            b"9" * 9**6,
        ),
        json.dumps({"host": lock._oneself()["host"], "pid": float("inf")}).encode(),
    ],
    ids=range(9),
)
def test_a_lock_that_was_not_written_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(lock, "STALE", 0.1)
    (tmp_path / LOCK).write_bytes(content)
    for system in (lock.SYSTEM_LOCKS, False):
        monkeypatch.setattr(lock, "SYSTEM_LOCKS", system)
        with only_writer(tmp_path):
            pass
        (tmp_path / LOCK).write_bytes(content)
    with only_writer(tmp_path):
        pass
