"""`freeda bank`, and banks that no command takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import Result

from commands import CAPTIONS, refused, run
from freeda.bank import Bank
from freeda.presets import PRESETS


def test_bank_info(bank: Path) -> None:
    done = run("bank", "info", bank)
    assert done.exit_code == 0, done.output
    assert "pairs" in done.output and "key 20, prototype 24" in done.output
    # All there is, nothing cut and nothing left open.
    nouns = sorted(set(Bank.open(bank).nouns))
    assert len(nouns) <= 8 and f"{len(nouns)} different: " in done.output and "..." not in done.output
    assert all(f"{noun} " in done.output for noun in nouns) and " more" not in done.output
    assert "31 different: night 111" in (world := run("bank", "info", PRESETS["miniature"].bank).output)
    assert " and 23 more" in world
    assert "…" not in run("bank", "info", bank, width=40).output
    # What the small preset changes is said, what it leaves as it is only when asked.
    assert "options.size" in done.output and "options.threshold" not in done.output
    assert "options.threshold" in run("bank", "info", bank, "--all").output


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


def test_verify_finds_a_damaged_shard_and_collect_mends_it(tmp_path: Path, model: Path) -> None:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    out = tmp_path / "bank"
    arguments = ("collect", tmp_path / "captions.txt", "--out", out, "--model", model, "--device", "cpu")
    arguments = (*arguments, "--steps", 1, "--shard-size", 1)
    assert run(*arguments).exit_code == 0
    done = run("bank", "verify", out)
    assert done.exit_code == 0 and "whole" in done.stdout and done.stderr.strip() == ""
    shard = out / "shards" / "00001.parquet"
    whole = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "log.jsonl"}
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*.parquet") if p != shard}

    data = bytearray(whole[shard])
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    done = run("bank", "verify", out)
    assert done.exit_code == 2 and "Traceback" not in done.output
    told = done.stderr.splitlines()
    assert "shards/00001.parquet: its SHA-256 is not the one in bank.json" in told
    assert "1 file is damaged" in told[-1] and "`freeda collect`" in told[-1]

    assert run(*arguments).exit_code == 0
    assert {p: p.read_bytes() for p in whole} == whole  # the same bytes as before
    assert times == {p: p.stat().st_mtime_ns for p in times}  # the others were left alone
    assert len((out / "log.jsonl").read_text().splitlines()) == 4
    assert run("bank", "verify", out).exit_code == 0

    (out / "prototypes.npy").write_bytes(whole[out / "prototypes.npy"][:-2] + b"??")
    assert run("bank", "verify", out).exit_code == 2
    assert run(*arguments).exit_code == 0  # draws nothing: only the array is made again
    assert {p: p.read_bytes() for p in whole} == whole
    assert len((out / "log.jsonl").read_text().splitlines()) == 4


def test_verify_what_is_not_finished_or_no_bank(tmp_path: Path, bank: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(bank, half)
    (half / "bank.json").unlink()
    refused(run("bank", "verify", half), "its shards are whole, but the bank is not finished")
    refused(run("bank", "verify", tmp_path / "none"), "no such bank")
    (tmp_path / "empty").mkdir()
    refused(run("bank", "verify", tmp_path / "empty"), "not a bank")
