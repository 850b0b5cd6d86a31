"""Damage that opening a bank is too quick to see, found by reading every byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freeda.bank import Bank, Pair
from freeda.bank.format import caption_digest, shard_name, write_shard
from freeda.bank.manifest import finish_bank
from freeda.bank.verify import find_damage, shard_damage
from freeda.errors import BankError

SHARD = "shards/00001.parquet"


def pair(i: int, key: float = 1.0, width: int = 4) -> Pair:
    rng = np.random.default_rng(i)
    return Pair(
        caption_id=str(i),
        caption=f"a cat {i}",
        noun="cat",
        spans=((2, 5),),
        seed=i,
        key=(rng.normal(size=4) * key).astype(np.float16),
        prototype=rng.normal(size=width).astype(np.float16),
        area=0.5,
        contrast=0.5,
        agreement=0.1,
    )


def write(path: Path, index: int, pairs: list[Pair]) -> None:
    about = {"settings": {}, "digest": caption_digest([]), "captions": 9, "pictures": 9}
    write_shard(path / shard_name(index), pairs, {**about, "rejected": {}, "failed": []})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for index in range(3):
        write(tmp_path, index, [pair(index * 50 + i) for i in range(50)])
    finish_bank(tmp_path, 3, {"models": {}, "preset": "x"})
    return tmp_path


def found(path: Path) -> dict[str, str]:
    return dict(find_damage(path))


def test_a_whole_bank(path: Path) -> None:
    read: list[str] = []
    assert list(find_damage(path, read.append)) == []
    assert read == [f"shards/0000{i}.parquet" for i in range(3)] + ["keys.npy", "prototypes.npy"]
    (path / "keys.npy").unlink()  # a copy, made again when the bank is opened
    assert found(path) == {}
    (path / "bank.json").unlink()
    assert found(path) == {}
    (path / "shards" / ".0123.tmp").write_bytes(b"half")
    assert found(path) == {}


def flip(file: Path, at: int, bit: int = 4) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= bit
    file.write_bytes(data)


@pytest.mark.parametrize("place", np.linspace(0.0, 0.999, 12))
def test_one_bit_anywhere_in_a_finished_bank(path: Path, place: float) -> None:
    flip(path / SHARD, int(place * (path / SHARD).stat().st_size))
    assert list(found(path)) == [SHARD]


def test_one_bit_anywhere_in_a_shard_without_a_manifest(path: Path) -> None:
    """Page checksums: damage is found, or it is in what says where the rows are, and not one is changed."""
    (path / "bank.json").unlink()
    file, told = path / SHARD, 0
    whole, rows = file.read_bytes(), pq.read_table(path / SHARD)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    places = np.random.default_rng(0).choice(footer, 200, replace=False)
    for at in places:
        file.write_bytes(whole)
        flip(file, int(at))
        wrong = shard_damage(file)
        told += wrong is not None
        assert wrong is not None or pq.read_table(file).equals(rows), at
    assert told > 150


def test_opening_is_too_quick_to_see_it(path: Path) -> None:
    flip(path / SHARD, 800)
    assert len(Bank.open(path)) == 150 and list(found(path)) == [SHARD]


def swap(path: Path) -> None:
    a, b = path / shard_name(0), path / SHARD
    c, d = a.read_bytes(), b.read_bytes()
    a.write_bytes(d)
    b.write_bytes(c)


def rewritten(column: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        table = pq.read_table(path / SHARD)
        pq.write_table(table.drop_columns([column]), path / SHARD)

    return change


def bit_in_array(path: Path) -> None:
    with open(path / "keys.npy", "r+b") as file:
        file.seek(-200, 2)
        byte = file.read(1)
        file.seek(-200, 2)
        file.write(bytes([byte[0] ^ 1]))


DAMAGE: dict[str, tuple[Callable[[Path], object], set[str], str]] = {
    "lost": (lambda p: (p / SHARD).unlink(), {SHARD}, "is missing"),
    "cut": (
        lambda p: (p / SHARD).write_bytes((p / SHARD).read_bytes()[:-1]),
        {SHARD},
        "bytes, bank.json says",
    ),
    "no column": (rewritten("noun"), {SHARD}, "bytes, bank.json says"),
    "keys": (bit_in_array, {"keys.npy"}, "differs from shards/00002.parquet"),
    "short keys": (
        lambda p: np.save(p / "keys.npy", np.zeros((3, 4), np.float16)),
        {"keys.npy"},
        "is not an array of the shape",
    ),
    "manifest": (lambda p: (p / "bank.json").write_text("{"), {"bank.json"}, "damaged"),
    "another seed": (
        lambda p: (p / "bank.json").write_text((p / "bank.json").read_text().replace("{", '{"seed": 7,', 1)),
        {"bank.json"},
        "damaged: it was changed after it was written",
    ),
    "one more": (lambda p: write(p, 3, [pair(1)]), {"shards/00003.parquet"}, "is not listed"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(path: Path, case: str) -> None:
    damage, files, says = DAMAGE[case]
    damage(path)
    told = found(path)
    assert set(told) == files and says in next(iter(told.values())), told


def test_shards_in_each_other_s_place(path: Path) -> None:
    if (path / SHARD).stat().st_size == (path / shard_name(0)).stat().st_size:
        pytest.skip("equal sizes")  # the digest then tells; both are damage
    swap(path)
    assert set(found(path)) == {SHARD, shard_name(0)}


UNFINISHED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no column": (rewritten("noun"), "its columns are not those"),
    "not finite": (lambda p: write(p, 1, [pair(1), pair(2, key=np.inf)]), "'key' holds values that are not"),
    "two widths": (lambda p: write(p, 1, [pair(1), pair(2, width=3)]), "'prototype' is not of one width"),
    "no width": (lambda p: write(p, 1, [pair(1, width=0)]), "'prototype' is not of one width"),
    "text": (lambda p: (p / SHARD).write_text("hello"), "not a whole shard"),
    "foreign": (lambda p: pq.write_table(pa.table({"x": [1]}), p / SHARD), "not a whole shard"),
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_damage_before_there_is_a_manifest(path: Path, case: str) -> None:
    damage, says = UNFINISHED[case]
    (path / "bank.json").unlink()
    damage(path)
    told = found(path)
    assert set(told) == {SHARD} and says in told[SHARD], told


def test_another_version_is_not_damage(path: Path) -> None:
    """Or the next `freeda collect` would make all of it again."""
    (path / "bank.json").unlink()
    table = pq.read_table(path / SHARD)
    about = json.loads(table.schema.metadata[b"freeda"])
    about["version"] = 1
    pq.write_table(table.replace_schema_metadata({b"freeda": json.dumps(about).encode()}), path / SHARD)
    with pytest.raises(BankError, match="bank format this version does not read"):
        found(path)


def test_no_bank_at_all(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BankError, match="no such bank"):
        found(path / "none")
    shutil.rmtree(path / "shards")
    (path / "bank.json").unlink()
    with pytest.raises(BankError, match="not a bank"):
        found(path)
