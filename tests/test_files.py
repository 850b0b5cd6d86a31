"""Files appear whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from freeda.errors import InputError
from freeda.files import (
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    cache_folder,
    make_folder,
)
from freeda.hub import check_room


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    final = tmp_path / "a" / "b" / "x.bin"
    with atomic_path(final) as temp:
        temp.write_bytes(b"new")
        assert temp.parent == final.parent and not final.exists()
    assert final.read_bytes() == b"new" and names(final.parent) == ["x.bin"]


def test_temporary_names_hide_from_patterns(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "00000.parquet") as temp:
        temp.touch()
        assert not list(tmp_path.glob("*.parquet"))


def test_a_very_long_name(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / ("n" * 250), "x")
    assert names(tmp_path) == ["n" * 250]


def test_a_long_name_in_another_script(tmp_path: Path) -> None:
    """84 signs of three bytes each, near the 255 that systems take; the temporary name must not be longer."""
    atomic_write_text(tmp_path / ("犬" * 84), "x")
    assert names(tmp_path) == ["犬" * 84]


def test_a_user_without_a_home_folder_has_a_cache_that_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "FREEDA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    place = cache_folder() / "grown"
    assert not place.exists() and not list(place.glob("*"))
    for write in (make_folder, lambda path: atomic_write_text(path / "a", "x")):
        with pytest.raises(InputError, match="this user has no home folder: set"):
            write(place)
    monkeypatch.setattr("freeda.hub.cache", lambda: Path("~/.cache/huggingface/hub"))
    with pytest.raises(InputError, match="this user has no home folder: set HF_HOME"):
        check_room([])


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_names_that_no_disk_takes(tmp_path: Path, name: str) -> None:
    for write in (lambda: atomic_write_text(tmp_path / name, "x"), lambda: make_folder(tmp_path / name)):
        with pytest.raises(InputError) as caught:
            write()
        assert str(tmp_path) in str(caught.value)
    assert names(tmp_path) == []


def test_stray_halves_of_characters(tmp_path: Path) -> None:
    path = atomic_write_json(tmp_path / "j.json", {"a": "caf\udce9"})
    assert path.read_bytes().isascii() and json.loads(path.read_bytes()) == {"a": "caf\udce9"}
    with pytest.raises(InputError, match=r"t\.txt: this text has no UTF-8 form"):
        atomic_write_text(tmp_path / "t.txt", "caf\udce9")
    assert names(tmp_path) == ["j.json"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    final = tmp_path / "x.txt"
    final.write_text("old")
    with pytest.raises(error), atomic_path(final) as temp:
        temp.write_text("half of the n")
        raise error
    assert final.read_text() == "old" and names(tmp_path) == ["x.txt"]


def test_folders_too(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "bank") as temp:
        temp.mkdir()
        (temp / "part").touch()
    assert names(tmp_path / "bank") == ["part"]
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "other") as temp:
        temp.mkdir()
        (temp / "part").touch()
        raise RuntimeError
    assert names(tmp_path) == ["bank"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
def test_a_failed_write_is_one_line(tmp_path: Path, code: int) -> None:
    final = tmp_path / "x.txt"
    with pytest.raises(InputError, match=r"x\.txt: cannot be written") as caught, atomic_path(final) as temp:
        temp.write_text("some")
        raise OSError(code, os.strerror(code))
    assert os.strerror(code) in str(caught.value) and names(tmp_path) == []


def test_no_space_at_the_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        atomic_write_text(tmp_path / "x.txt", "some")
    assert names(tmp_path) == []


def test_a_real_limit_of_the_system(tmp_path: Path) -> None:
    """A process that may write 10 kB a file: the write itself fails, as on a full disk."""
    script = textwrap.dedent(f"""
        import resource, signal
        from freeda.errors import InputError
        from freeda.files import atomic_write_bytes
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        atomic_write_bytes({str(tmp_path / "small")!r}, b"x" * 5_000)
        try:
            atomic_write_bytes({str(tmp_path / "large")!r}, b"x" * 50_000)
        except InputError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "large: cannot be written (File too large)" in done.stdout
    assert names(tmp_path) == ["small"]


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="out"):
        atomic_write_text(tmp_path / "out" / "x.txt", "some")
    with pytest.raises(InputError, match="out: this folder cannot be made"):
        make_folder(tmp_path / "out")


def test_a_folder_in_the_way_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(InputError, match=r"x\.txt: cannot be written"):
        atomic_write_text(tmp_path / "x.txt", "some")
    assert names(tmp_path) == ["x.txt"]


def test_errors_about_other_files_keep_their_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "x") as temp:
        temp.write_bytes((tmp_path / "elsewhere").read_bytes())
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x: cannot be written"), atomic_path(tmp_path / "x"):
        pass


def test_text_and_json(tmp_path: Path) -> None:
    assert atomic_write_text(tmp_path / "t", "ä\nb").read_bytes() == "ä\nb".encode()
    assert atomic_write_bytes(tmp_path / "b", b"\0\1").read_bytes() == b"\0\1"
    value = {"näme": [1, 2.5, None], "b": {"c": "d"}}
    path = atomic_write_json(tmp_path / "j.json", value)
    assert json.loads(path.read_text("utf-8")) == value and "näme" in path.read_text("utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_values_without_a_json_form(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InputError, match=r"j\.json"):
        atomic_write_json(tmp_path / "j.json", value)
    assert names(tmp_path) == []
