"""The bank on disk: whole, half-written, damaged, foreign; arrays that can be made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from freeda.bank import Bank, Pair
from freeda.bank.arrays import release
from freeda.bank.format import caption_digest, read_info, shard_name, write_shard
from freeda.bank.manifest import finish_bank
from freeda.errors import BankError, InputError

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


def test_what_is_searched_need_not_stay_in_memory(tmp_path: Path) -> None:
    """Reading a memory-mapped array makes it resident; searching and looking up let go of it again."""
    status = Path("/proc/self/smaps")
    if not status.is_file():
        pytest.skip("tells of resident pages by Linux's /proc")
    from freeda.bank.exact import FlatIndex

    def resident() -> int:
        found, ours = 0, False
        for line in status.read_text().splitlines():
            ours = str(tmp_path) in line if "-" in line.split(" ")[0] else ours
            found += int(line.split()[1]) if ours and line.startswith("Rss:") else 0
        return found

    np.save(tmp_path / "keys.npy", np.ones((20_000, 64), np.float16))
    keys = np.load(tmp_path / "keys.npy", mmap_mode="r", allow_pickle=False)
    assert keys[::100].sum() > 0 and resident() > 1000  # kB of 2500
    FlatIndex(keys).search(np.ones((1, 64), np.float32), 5)
    assert resident() == 0
    assert keys[::100].sum() > 0 and resident() > 1000
    release(keys[3:])
    assert resident() == 0 and keys[0, 0] == 1
    release(np.ones(3))


def test_single_rows_of_a_shard_of_many(tmp_path: Path) -> None:
    """Rows are read from groups of 1,024."""
    write_shard(tmp_path / "bank" / shard_name(0), [pair(i) for i in range(2100)], info(1050))
    finish_bank(tmp_path / "bank", 1, {"models": MODELS})
    bank = Bank.open(tmp_path / "bank")
    for i in (0, 1023, 1024, 1025, 2047, 2048, 2099, -1):
        found, expected = bank.row(i), pair(i % 2100)
        assert found["seed"] == expected.seed and found["image"] == b"jpeg%d" % (i % 2100 // 2)
        assert np.array_equal(found["prototype"], expected.prototype)


def test_equal_nouns_are_one_string(path: Path) -> None:
    assert len({id(noun) for noun in Bank.open(path).nouns}) == 2


def test_a_banks_identity_is_its_content(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    identity = Bank.open(path).identity
    copied = tmp_path_factory.mktemp("copy") / "bank"
    shutil.copytree(path, copied)
    (copied / "keys.npy").unlink()
    assert Bank.open(copied).identity == identity
    write_shard(copied / shard_name(2), [pair(i) for i in (5, 7, 6)], info(3))
    finish_bank(copied, 3, {"models": MODELS, "preset": "vit-b"})
    assert Bank.open(copied).identity != identity


def test_an_approximate_index_is_made_for_large_banks_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from freeda.bank import bank as module

    queries = Bank.open(path).keys[:4].astype(np.float32)
    exact = Bank.open(path).search(queries, 3)
    small = Bank.open(path, index="approximate")
    assert np.array_equal(small.search(queries, 3)[1], exact[1]) and small.cache is None
    assert not (path / "approximate.json").exists()
    monkeypatch.setattr(module, "LARGE", 2)
    for _ in range(2):
        opened = Bank.open(path, index="approximate")
        scores, rows = opened.search(queries, 3)
        assert rows.shape == (4, 3) and np.abs(scores[:, 0] - exact[0][:, 0]).max() < 0.02
        made = (path / "approximate.json").read_bytes()
    assert opened.identity in made.decode()
    file = next(path.glob("approximate-*.faiss"))
    before = file.stat().st_mtime_ns
    Bank.open(path, index="approximate").search(queries, 3)
    assert file.stat().st_mtime_ns == before
    write_shard(path / shard_name(2), [pair(i) for i in (7, 6, 5)], info(3))  # the bank changes under it
    finish_bank(path, 3, {"models": MODELS, "preset": "vit-b"})
    (path / "keys.npy").unlink()
    changed = Bank.open(path, index="approximate")
    changed.search(queries, 3)
    assert changed.identity in (path / "approximate.json").read_text() and not file.exists()
    with pytest.raises(InputError, match="index is 'fast'"):
        Bank.open(path, index="fast")  # type: ignore[arg-type]


def test_each_bank_and_index_keeps_prototypes_of_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from freeda.bank import bank as module

    monkeypatch.setattr(module, "LARGE", 2)
    row = np.ones(4, np.float32)
    kinds = [Bank.open(path).cache, Bank.open(path, index="approximate").cache]
    assert kinds[0] is not None and kinds[1] is not None
    assert kinds[0].key(row, "") == Bank.open(path).cache.key(row, "")  # type: ignore[union-attr]
    assert kinds[0].key(row, "") != kinds[1].key(row, "") != kinds[0].key(row, "k=3")
