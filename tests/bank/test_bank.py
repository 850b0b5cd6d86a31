"""The bank on disk: whole, half-written, damaged, foreign; arrays that can be made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from freeda.bank import Bank, Pair
from freeda.bank.format import caption_digest, read_info, shard_name, write_shard
from freeda.bank.manifest import finish_bank
from freeda.errors import BankError

MODELS = {
    "clip": {"id": "openai/clip-vit-base-patch16", "revision": None},
    "dense": {"id": "facebook/dinov2-base", "revision": "abc"},
    "clip_dim": 4,
    "dense_dim": 3,
}
PER_SHARD = (5, 0, 3)


def pair(i: int) -> Pair:
    rng = np.random.default_rng(i)
    key = rng.normal(size=4)
    return Pair(
        caption_id=f"c{i // 2}",
        caption="a cat and a dog",
        noun=["cat", "dog"][i % 2],
        spans=((2, 5),) if i % 2 == 0 else ((12, 15), (0, 1)),
        seed=2**62 + i,
        key=(key / np.linalg.norm(key)).astype(np.float16),
        prototype=rng.normal(size=3).astype(np.float16) * 10,
        area=0.25,
        contrast=0.5,
        agreement=-0.125,
        image=b"jpeg%d" % (i // 2) if i % 2 == 0 else None,
        mask=b"png%d" % i,
    )


def info(captions: int) -> dict[str, Any]:
    return {
        "settings": {"seed": 0},
        "digest": caption_digest([]),
        "captions": captions,
        "pictures": 1,
        "rejected": {"too small": 2},
        "failed": [],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rows = iter(range(sum(PER_SHARD)))
    for s, n in enumerate(PER_SHARD):
        write_shard(tmp_path / shard_name(s), [pair(next(rows)) for _ in range(n)], info(3))
    finish_bank(tmp_path, 3, {"models": MODELS, "preset": "vit-b"})
    return tmp_path


def test_round_trip(path: Path) -> None:
    bank = Bank.open(path)
    assert len(bank) == 8 and bank.nouns == ["cat", "dog"] * 4 and "8 pairs" in repr(bank)
    assert (
        bank.meta["captions"] == 9
        and bank.meta["rejected"] == {"too small": 6}
        and bank.meta["dimensions"] == {"key": 4, "prototype": 3}
    )
    for i in range(8):
        row, expected = bank.row(i), pair(i)
        for name in ("caption_id", "caption", "noun", "spans", "seed", "mask"):
            assert row[name] == getattr(expected, name), name
        assert row["area"] == 0.25 and row["contrast"] == 0.5 and row["agreement"] == -0.125
        for name, array in (("key", bank.keys), ("prototype", bank.prototypes)):
            assert array.dtype == row[name].dtype == np.float16
            assert np.array_equal(row[name], getattr(expected, name)) and np.array_equal(array[i], row[name])
    assert bank.row(-1)["noun"] == "dog"
    with pytest.raises(IndexError):
        bank.row(8)


def test_the_picture_is_found_with_every_noun_of_its_caption(path: Path) -> None:
    bank = Bank.open(path)
    assert [bank.row(i)["image"] for i in (0, 1, 2, 3)] == [b"jpeg0", b"jpeg0", b"jpeg1", b"jpeg1"]
    assert bank.row(5)["image"] is None  # its first noun lies in another shard, which collecting never does


def test_arrays_are_mapped_read_only_and_made_again(path: Path) -> None:
    first = Bank.open(path)
    assert isinstance(first.keys, np.memmap) and not first.keys.flags.writeable
    keys, prototypes = np.array(first.keys), np.array(first.prototypes)
    (path / "keys.npy").unlink()
    np.save(path / "prototypes.npy", np.zeros((7, 3), np.float16))
    again = Bank.open(path)
    assert np.array_equal(again.keys, keys) and np.array_equal(again.prototypes, prototypes)
    assert np.array_equal(np.load(path / "keys.npy", allow_pickle=False), keys)
    (path / "keys.npy").write_bytes((path / "keys.npy").read_bytes()[:-3])
    assert np.array_equal(Bank.open(path).keys, keys)


def test_a_bank_that_cannot_be_written_to_is_read_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from freeda.bank import arrays
    from freeda.errors import InputError

    def refuse(*args: Any) -> None:
        raise InputError("read-only")

    keys = np.array(Bank.open(path).keys)
    (path / "keys.npy").unlink()
    monkeypatch.setattr(arrays, "_write", refuse)
    found = Bank.open(path).keys
    assert np.array_equal(found, keys) and not found.flags.writeable and not (path / "keys.npy").exists()


def test_search_goes_over_all_shards(path: Path) -> None:
    bank = Bank.open(path)
    for i in range(len(bank)):
        scores, rows = bank.search(bank.keys[i : i + 1].astype(np.float32), 3)
        assert rows[0, 0] == i and scores[0, 0] == pytest.approx(1, abs=2e-3)
    assert bank.search(bank.keys[:2].astype(np.float32), 99)[1].shape == (2, 8)


def manifest(path: Path, **changes: Any) -> None:
    meta = json.loads((path / "bank.json").read_text())
    (path / "bank.json").write_text(json.dumps({**meta, **changes}))


def test_half_written_and_damaged(path: Path) -> None:
    def says(text: str) -> None:
        with pytest.raises(BankError, match=text) as error:
            Bank.open(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)

    shard, whole = path / shard_name(2), (path / shard_name(2)).read_bytes()
    shard.write_bytes(whole[:-10])
    says("damaged bank: shards/00002.parquet has .* bytes")
    shard.write_bytes(b"x" * len(whole))
    says("not a whole shard")
    shard.unlink()
    says("shards/00002.parquet is missing")
    shard.write_bytes(whole)
    good = (path / "bank.json").read_text()
    manifest(path, pairs=9)
    says("counts do not add up")
    meta = json.loads(good)
    meta["shards"][0]["pairs"], meta["pairs"] = 6, 9
    (path / "bank.json").write_text(json.dumps(meta))
    says("has 5 pairs, bank.json says 6")
    for changes, text in (
        ({"version": 99}, "version 99"),
        ({"format": "x"}, "not the description"),
        ({"shards": [{}]}, "damaged"),
        ({"dimensions": None}, "damaged"),
    ):
        (path / "bank.json").write_text(good)
        manifest(path, **changes)
        says(text)
    (path / "bank.json").write_text(good[:50])
    says("damaged or unreadable")
    (path / "bank.json").unlink()
    says("half-written bank: bank.json is missing")


def test_not_a_bank(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="no such bank directory"):
        Bank.open(tmp_path / "none")
    with pytest.raises(BankError, match="not a bank"):
        Bank.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BankError, match="no such bank directory"):
        Bank.open(tmp_path / "file")


def test_finishing_needs_every_shard_and_a_pair(tmp_path: Path) -> None:
    write_shard(tmp_path / shard_name(0), [], info(3))
    with pytest.raises(BankError, match="not one noun"):
        finish_bank(tmp_path, 1, {})
    with pytest.raises(BankError, match="shard is missing"):
        finish_bank(tmp_path, 2, {})
    pq.write_table(
        pq.read_table(tmp_path / shard_name(0)).replace_schema_metadata(None), tmp_path / shard_name(0)
    )
    with pytest.raises(BankError, match="not a whole shard"):
        read_info(tmp_path / shard_name(0))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"clip": {"id": "me/clip-vit-base-patch16", "revision": None}}, None),  # a local copy keeps the name
        ({"dense": {"id": "facebook/dinov2-base", "revision": None}}, None),
        ({"dense": {"id": "facebook/dinov2-base", "revision": "def"}}, "dinov2-base at abc, but .* at def"),
        (
            {"clip": {"id": "miniature/clip", "revision": None}},
            "built with CLIP openai.*miniature/clip is loaded",
        ),
        ({"clip_dim": 5}, "4 wide.*5 wide.*load preset 'vit-b'"),
        (
            {"dense_dim": 384, "dense": {"id": "facebook/dinov2-small", "revision": None}},
            "dense encoder .*dinov2-base",
        ),
        ({"clip": None}, "clip-vit-base-patch16, but null"),
    ],
)
def test_models_are_compared(path: Path, change: dict[str, Any], says: str | None) -> None:
    bank = Bank.open(path)
    if says is None:
        bank.check_models({**MODELS, **change})
    else:
        with pytest.raises(BankError, match=says):
            bank.check_models({**MODELS, **change})


def test_ordinary_tools_can_read_a_shard(path: Path) -> None:
    table = pq.read_table(path / shard_name(0))
    assert table.num_rows == 5 and table.column("noun").to_pylist()[:2] == ["cat", "dog"]
    assert len(table.column("prototype").to_pylist()[0]) == 3
