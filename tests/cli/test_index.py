"""`freeda bank index`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from commands import refused, run
from freeda.bank import Bank
from freeda.bank import bank as module


def test_an_index_is_made_measured_and_used(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bank"
    shutil.copytree(bank, folder)
    done = run("bank", "index", folder)
    assert done.exit_code == 0 and "need no index" in done.output and not list(folder.glob("approximate*"))
    monkeypatch.setattr(module, "LARGE", 1)
    done = run("bank", "index", folder, "--recall", "1")
    assert done.exit_code == 0 and "finds 100.0% of its" in done.output, done.output
    (file,) = folder.glob("approximate-*.faiss")
    made = file.stat().st_mtime_ns
    keys = Bank.open(folder).keys.astype("float32")
    assert (Bank.open(folder, index="approximate").search(keys, 1)[0] > 0.97).all()
    assert file.stat().st_mtime_ns == made


def test_an_index_that_is_missing_is_made_and_told(
    bank: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bank, tmp_path / "bank")
    monkeypatch.setattr(module, "LARGE", 1)
    search = (
        "bank",
        "search",
        tmp_path / "bank",
        "cat",
        "--model",
        model,
        "--device",
        "cpu",
        "--approximate",
    )
    done = run(*search)
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [
        f"making the approximate index of {tmp_path / 'bank'}, once; minutes for millions of pairs"
    ]
    assert run(*search).stderr == ""


def test_refused(tmp_path: Path) -> None:
    refused(run("bank", "index", tmp_path / "none"), "no such bank directory")
    assert run("bank", "index", tmp_path, "--recall", "2").exit_code == 2
