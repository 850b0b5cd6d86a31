"""`freeda bank`, and banks that no command takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import Result

from commands import refused, run


def test_bank_info(bank: Path) -> None:
    done = run("bank", "info", bank)
    assert done.exit_code == 0, done.output
    assert (
        "pairs" in done.output
        and "key 20, prototype 24" in done.output
        and "options.threshold" in done.output
    )


@pytest.mark.parametrize("command", ["segment", "info"])
def test_missing_and_half_written_banks(
    tmp_path: Path, photo: Path, model: Path, bank: Path, command: str
) -> None:
    def use(path: Path) -> Result:
        if command == "info":
            return run("bank", "info", path)
        return run(
            "segment", photo, "--classes", "cat", "--model", model, "--bank", path, "--out", tmp_path / "out"
        )

    refused(use(tmp_path / "none"), "none", "no such bank")
    half = tmp_path / "half"
    shutil.copytree(bank, half)
    (half / "bank.json").unlink()
    refused(use(half), "half", "half-written")
    cut = tmp_path / "cut"
    shutil.copytree(bank, cut)
    shard = next((cut / "shards").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(use(cut), "cut", shard.name)
    refused(use(photo.parent), str(photo.parent), "not a bank")
    assert not (tmp_path / "out").exists()
