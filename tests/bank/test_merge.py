"""Several banks as one: every pair once, mixed models refused, nothing left half-done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from freeda.bank import Bank
from freeda.bank.clean import Rules, clean
from freeda.bank.format import SCHEMA, shard_name
from freeda.bank.manifest import finish_bank, fresh_bank
from freeda.bank.merge import merge
from freeda.bank.verify import find_damage
from freeda.errors import BankError, FreedaError, InputError
from small_banks import MODELS, make_bank, make_pair, rows_of, tree


def test_every_pair_once(tmp_path: Path) -> None:
    a = make_bank(tmp_path / "a", [[make_pair(i) for i in range(6)], [], [make_pair(i) for i in range(6, 8)]])
    b = make_bank(tmp_path / "b", [[make_pair(i) for i in range(5, 12)]])
    before = tree(a.path), tree(b.path)
    done = merge([a.path, b.path], tmp_path / "out" / "merged")
    assert done.pairs == [8, 4] and done.duplicates == [0, 3] and len(done.bank) == 12
    # Written from the definition: rows in order, a row left out whose like was there before.
    expected, seen = [], set()
    for row in rows_of(a) + rows_of(b):
        what = (row["caption_id"], row["caption"], row["noun"], row["spans"], row["seed"])
        if what not in seen:
            seen.add(what)
            expected.append(row)
    assert rows_of(done.bank) == expected
    assert (tree(a.path), tree(b.path)) == before
    assert not list(find_damage(done.bank.path))
    assert done.bank.meta["models"] == MODELS and done.bank.meta["preset"] == "vit-b"
    told = done.bank.meta["merged"]
    assert [(m["name"], m["pairs"], m["duplicates"]) for m in told] == [("a", 8, 0), ("b", 4, 3)]
    assert told[0]["made"]["seed"] == 0 and told[1]["identity"] == b.identity
    # Captions 2 (its row 5 is there), 3, 4, 5 of b, of which 2 and 3 are gone with all their rows.
    assert done.bank.meta["captions"] == a.meta["captions"] + b.meta["captions"] - 2
    with pytest.raises(BankError, match="is there already"):
        merge([a.path], done.bank.path)


def test_the_order_and_repeats_of_banks(tmp_path: Path) -> None:
    a = make_bank(tmp_path / "a", [[make_pair(i) for i in range(4)]])
    b = make_bank(tmp_path / "b", [[make_pair(i) for i in range(4, 9)]])
    ab = merge([a.path, b.path, a.path], tmp_path / "ab")
    ba = merge([b.path, a.path], tmp_path / "ba")
    assert ab.duplicates == [0, 0, 4] and rows_of(ab.bank) == rows_of(a) + rows_of(b)
    assert rows_of(ba.bank) == rows_of(b) + rows_of(a)
    again = merge([ab.bank.path], tmp_path / "again")
    assert rows_of(again.bank) == rows_of(ab.bank)


@pytest.mark.parametrize(
    "change",
    [
        {"caption": "a dog"},
        {"seed": 1},
        {"spans": ((1, 2),)},
        {"caption_id": "x"},
        {"noun": "pug"},
    ],
)
def test_what_makes_a_pair_another(tmp_path: Path, change: dict[str, object]) -> None:
    a = make_bank(tmp_path / "a", [[make_pair(0)]])
    b = make_bank(tmp_path / "b", [[make_pair(0, **change)]])
    assert len(merge([a.path, b.path], tmp_path / "c").bank) == 2


def test_the_same_caption_by_another_generator_is_another_pair(tmp_path: Path) -> None:
    banks = [
        make_bank(tmp_path / name, [[make_pair(0)]], models={**MODELS, "generator": {"id": name}})
        for name in ("sd15", "sdxl")
    ]
    done = merge([bank.path for bank in banks], tmp_path / "c")
    assert len(done.bank) == 2
    assert [m["made"]["models"]["generator"]["id"] for m in done.bank.meta["merged"]] == ["sd15", "sdxl"]
    # A merged bank's shards remember what made them.
    assert len(merge([done.bank.path, banks[1].path], tmp_path / "d").bank) == 2


def test_a_picture_goes_on_with_the_next_row_of_its_caption(tmp_path: Path) -> None:
    a = make_bank(tmp_path / "a", [[make_pair(0)]])
    b = make_bank(tmp_path / "b", [[make_pair(0), make_pair(1), make_pair(2), make_pair(3)]])
    done = merge([a.path, b.path], tmp_path / "c").bank
    assert [done.row(i)["image"] for i in range(4)] == [b"jpeg0", b"jpeg0", b"jpeg1", b"jpeg1"]
    assert [done.row(i)["noun"] for i in range(4)] == ["cat", "dog", "cat", "dog"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clip": {"id": "openai/clip-vit-large-patch14", "revision": None}}, "clip-vit-large-patch14"),
        ({"dense": {"id": "facebook/dinov2-base", "revision": "def"}}, "dinov2-base at def .5 wide., but"),
        ({"dense_dim": 7}, "made with dense encoder facebook/dinov2-base at abc .7 wide."),
    ],
)
def test_mixed_models_are_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    a = make_bank(tmp_path / "a", [[make_pair(0)]])
    b = make_bank(tmp_path / "b", [[make_pair(1)]], models={**MODELS, **change})
    with pytest.raises(BankError, match=says) as error:
        merge([a.path, b.path], tmp_path / "c")
    assert "only banks of the same models" in str(error.value) and not (tmp_path / "c").exists()


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    a = make_bank(tmp_path / "a", [[make_pair(0)], [make_pair(2), make_pair(3)]])
    b = make_bank(tmp_path / "b", [[make_pair(i) for i in range(4)]])
    file = b.path / shard_name(0)
    data = bytearray(file.read_bytes())
    data[60] ^= 8  # opening is too quick to see it
    file.write_bytes(data)
    with pytest.raises(FreedaError):
        merge([a.path, b.path], tmp_path / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(InputError, match="name the banks"):
        merge([], tmp_path / "c")
    (tmp_path / "c").mkdir()
    assert len(merge([a.path], tmp_path / "c").bank) == 3  # an empty folder is no bank yet
    (tmp_path / "d").symlink_to(tmp_path / "a")
    with pytest.raises(BankError, match="is there already"):
        merge([a.path], tmp_path / "d")


def test_what_a_killed_one_left_goes_with_the_next(tmp_path: Path) -> None:
    a = make_bank(tmp_path / "a", [[make_pair(0)]])
    left = tmp_path / ".c.0123abcd.partial"
    shutil.copytree(a.path, left)
    other = tmp_path / ".d.0123abcd.partial"
    other.mkdir()
    merge([a.path], tmp_path / "c")
    assert not left.exists() and other.exists()
    assert len(Bank.open(tmp_path / "c")) == 1


def test_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="is there already"), fresh_bank(tmp_path / "c") as slow:
        (slow / "begun").write_text("half a bank")
        with fresh_bank(tmp_path / "c") as quick:
            assert quick != slow and (slow / "begun").exists()
            (quick / "done").write_text("a bank")
        assert (slow / "begun").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["done"]  # who came second writes nothing over


def test_folders_that_go_while_they_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may tidy up at the same time."""
    left = tmp_path / ".c.0123abcd.partial"
    left.mkdir()
    opened = os.open

    def gone(path: Any, *given: Any, **named: Any) -> int:
        if Path(path) == left:
            left.rmdir()
        return opened(path, *given, **named)

    monkeypatch.setattr(os, "open", gone)
    with fresh_bank(tmp_path / "c"):
        assert not left.exists()


def test_an_older_shard_is_read_as_a_new_one(tmp_path: Path) -> None:
    """Older banks hold their vectors as lists of any length; rows that are written anew get a fixed one."""
    whole = make_bank(tmp_path / "new", [[make_pair(i) for i in range(8)], []])
    fixed = pq.read_schema(whole.path / shard_name(0))
    assert [fixed.field(name).type.list_size for name in ("key", "prototype")] == [6, 5]
    (tmp_path / "old").mkdir()
    shutil.copytree(whole.path / "shards", tmp_path / "old" / "shards")
    file = tmp_path / "old" / shard_name(0)
    table = pq.read_table(file)
    older = table.cast(SCHEMA).replace_schema_metadata(table.schema.metadata)
    pq.write_table(older, file, use_dictionary=False)
    assert pq.read_schema(file).field("key").type == SCHEMA.field("key").type
    finish_bank(tmp_path / "old", 2, {"models": MODELS})
    old = Bank.open(tmp_path / "old")
    assert rows_of(old) == rows_of(whole) and not list(find_damage(old.path))
    assert np.array_equal(old.keys, whole.keys) and np.array_equal(old.prototypes, whole.prototypes)
    more = make_bank(tmp_path / "more", [[make_pair(i) for i in (7, 8, 9)]])
    both = merge([old.path, more.path], tmp_path / "both").bank
    assert len(both) == 10 and rows_of(both)[:8] == rows_of(whole) and not list(find_damage(both.path))
    cleaned = clean(old.path, tmp_path / "cleaned", Rules(per_noun=2)).bank
    assert len(cleaned) == 4 and pq.read_schema(cleaned.path / shard_name(0)).equals(fixed)
