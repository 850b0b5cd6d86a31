"""A bank of region values within a bank: found, verified, merged, cleaned, shared, searched; never lost."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bank.test_hub import pull, upload
from commands import run
from freeda.bank import Bank, Pair
from freeda.bank import bank as bank_module
from freeda.bank.clean import Rules, clean
from freeda.bank.format import REGIONS, caption_digest, shard_name, write_shard
from freeda.bank.hub import bank_card
from freeda.bank.layered import GrownBank, LayeredBank
from freeda.bank.manifest import finish_bank
from freeda.bank.merge import merge
from freeda.bank.verify import find_damage
from freeda.errors import BankError
from hub import REPO, serve
from small_banks import KEY, MODELS, PROTOTYPE, make_bank, make_pair, rows_of, tree

CUT = {"by": "superpixels"}


def region(picture: int, i: int, **changes: Any) -> Pair:
    """Region i of a picture: half of them without a noun."""
    base = make_pair(2 * picture)
    x = np.random.default_rng(1000 * picture + i).normal(size=KEY + PROTOTYPE)
    x[:KEY] /= np.linalg.norm(x[:KEY])
    x[KEY:] /= np.linalg.norm(x[KEY:])
    key, prototype = x[:KEY].astype(np.float16), x[KEY:].astype(np.float16)
    own: dict[str, Any] = {"noun": ("", "cat")[i % 2], "spans": (), "mask": b"png%d" % i}
    image = base.image if i == 0 else None
    return replace(base, key=key, prototype=prototype, image=image, **{**own, **changes})


def add_regions(bank: Bank, pictures: list[list[int]], each: int = 5, cut: Any = CUT, **about: Any) -> Bank:
    """Shards of the regions of some pictures, in a bank's folder."""
    for i, some in enumerate(pictures):
        info = {
            **{
                "settings": {"models": {**MODELS, "generator": {"id": "g"}}, "regions": cut},
                "digest": caption_digest([]),
            },
            **{"captions": len(some), "pictures": len(some), "rejected": {"off grid": 2}, "failed": []},
        }
        rows = [region(picture, k) for picture in some for k in range(each)]
        write_shard(bank.path / REGIONS / shard_name(i), rows, info)
    finish_bank(bank.path / REGIONS, len(pictures), {"models": MODELS, "preset": "vit-b", **about})
    return Bank.open(bank.path)


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    """Three pictures of two pairs each, and of five regions each."""
    return add_regions(make_bank(tmp_path / "bank", [[make_pair(i) for i in range(6)]]), [[0, 1], [2]])


def test_found_checked_and_told_of(bank: Bank, tmp_path: Path) -> None:
    regions = bank.regions
    assert regions is not None and len(regions) == 15 and regions.regions is None
    assert bank.only(["cat"]).regions is None
    row = regions.row(8)  # its picture lies with the first region of the same picture, three rows before
    assert (row["caption_id"], row["image"], row["mask"]) == ("c1", b"jpeg1", b"png3")
    told = run("bank", "info", bank.path).stdout
    assert "15 of 3 pictures, 6 with a noun" in " ".join(told.split())
    other = make_bank(tmp_path / "other", [[make_pair(0)]])
    other = add_regions(other, [[0]], models={**MODELS, "dense_dim": 7})
    with pytest.raises(BankError, match="built with dense encoder"):
        assert other.regions


def refused_as(bank: Bank) -> str:
    done = run("bank", "verify", bank.path)
    assert done.exit_code == 2
    return str(done.stderr)


def test_damage_and_what_is_not_finished(bank: Bank) -> None:
    assert run("bank", "verify", bank.path).exit_code == 0
    file = bank.path / REGIONS / shard_name(1)
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    assert [name for name, _ in find_damage(bank.path)] == [f"regions/{shard_name(1)}"]
    assert "1 file is damaged: the `freeda collect` that made the bank" in refused_as(bank)
    file.write_bytes(whole)
    array = bank.path / REGIONS / "keys.npy"
    array.write_bytes(array.read_bytes()[:-2] + b"ab")
    assert "delete regions/keys.npy" in refused_as(bank)
    array.unlink()
    (bank.path / REGIONS / "bank.json").unlink()
    assert "not finished" in refused_as(bank)
    with pytest.raises(BankError, match="half-written"):
        assert Bank.open(bank.path).regions


def test_layers_are_read_together(bank: Bank, tmp_path: Path) -> None:
    plain = make_bank(tmp_path / "plain", [[make_pair(0)]])
    second = add_regions(make_bank(tmp_path / "second", [[make_pair(1)]]), [[7]])
    assert LayeredBank([plain]).regions is None
    one = GrownBank(plain, bank).regions
    assert isinstance(one, Bank) and len(one) == 15
    both = LayeredBank([bank, plain, second]).regions
    assert both is not None and len(both) == 20
    query = np.float32(second.regions.prototypes[2:3])  # type: ignore[union-attr]
    scores, rows = both.search(query / np.linalg.norm(query), 3, "prototype")
    assert rows[0, 0] == 17 and scores[0, 0] == pytest.approx(1, abs=1e-3)
    assert np.array_equal(both.keys[rows[0, :1]], second.regions.keys[2:3])  # type: ignore[union-attr]


def test_merging_takes_every_pictures_regions_once(bank: Bank, tmp_path: Path) -> None:
    second = add_regions(
        make_bank(tmp_path / "second", [[make_pair(i) for i in range(4, 10)]]), [[2, 3], [4]]
    )
    plain = make_bank(tmp_path / "plain", [[make_pair(12)]])
    done = merge([plain.path, bank.path, second.path], tmp_path / "out")
    assert done.pairs == [1, 6, 4] and done.regions is not None
    assert (done.regions.pairs, done.regions.duplicates) == ([15, 10], [0, 5])
    assert (
        rows_of(done.regions.bank)
        == [
            *rows_of(bank.regions),  # type: ignore[arg-type]
            *rows_of(second.regions)[5:],  # type: ignore[arg-type]
        ]
    )
    assert not list(find_damage(tmp_path / "out"))
    again = merge([tmp_path / "out", bank.path], tmp_path / "again")
    assert again.regions is not None and again.regions.duplicates == [0, 15]
    # The same picture cut by another source is another thing.
    other = add_regions(make_bank(tmp_path / "other", [[make_pair(0)]]), [[0]], 3, {"by": "sam2"})
    said = run("bank", "merge", bank.path, other.path, "--out", tmp_path / "cut").stdout
    assert "18 rows of regions" in said and len(Bank.open(tmp_path / "cut").regions) == 18  # type: ignore[arg-type]
    assert merge([plain.path], tmp_path / "none").regions is None


def test_cleaning_takes_the_regions_of_pictures_that_lost_all_pairs(bank: Bank, tmp_path: Path) -> None:
    pairs = [make_pair(i, agreement=0.1 if i in (2, 3, 4) else 0.9) for i in range(6)]
    odd = add_regions(make_bank(tmp_path / "odd", [pairs]), [[0, 1], [2, 9]])
    done = clean(odd.path, tmp_path / "out", Rules(min_agreement=0.5))
    assert len(done.bank) == 3 and done.regions == (20, 15)
    assert done.bank.regions is not None
    assert [done.bank.regions.row(i)["caption_id"] for i in range(0, 15, 5)] == ["c0", "c2", "c9"]
    assert not list(find_damage(tmp_path / "out"))
    assert '"after": 15' in (tmp_path / "out" / "clean.json").read_text()


@pytest.mark.slow
def test_up_and_down_again(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, home = tmp_path / "there", tmp_path / "home"
    (there / REGIONS / "shards").mkdir(parents=True)
    (there / REGIONS / shard_name(7)).write_bytes(b"of an older, longer bank")
    upload(bank, there, monkeypatch)
    names = {"bank.json", shard_name(0), shard_name(1)}
    expected = {"bank.json", "README.md", shard_name(0), *(f"regions/{name}" for name in names)}
    assert set(tree(there)) == expected
    assert "| region values | 15 of 3 pictures |" in bank_card(bank, REPO)
    with serve(there) as local:
        assert pull(local, home, tmp_path / "pulled").returncode == 0
    assert tree(tmp_path / "pulled") == tree(bank.path)
    assert pull(None, home, tmp_path / "again", offline=True).returncode == 0
    assert tree(tmp_path / "again") == tree(bank.path)
    # A bank without takes them away; one that lost a shard on the way is refused.
    (there / REGIONS / shard_name(1)).unlink()
    with serve(there) as local:
        done = pull(local, tmp_path / "home2", tmp_path / "bad")
    assert done.returncode == 2 and f"regions/{shard_name(1)} is missing" in done.stderr
    shutil.rmtree(bank.path / REGIONS)
    upload(bank, there, monkeypatch)
    assert set(tree(there)) == {"bank.json", "README.md", shard_name(0)}


def test_an_approximate_index_of_prototypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_module, "LARGE", 100)
    pairs = make_bank(tmp_path / "bank", [[make_pair(0)]])
    regions = add_regions(pairs, [list(range(30))], 20).regions
    assert regions is not None
    queries = np.float32(regions.prototypes[5:20])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = regions.search(queries, 5, "prototype")[1]
    told: list[str] = []
    found = Bank.open(pairs.path, "approximate", lambda step, *_: told.append(step)).regions
    assert found is not None
    scores, rows = found.search(queries, 5, "prototype")
    assert told and (rows[:, 0] == np.arange(5, 20)).mean() > 0.9
    assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, rows, strict=True)]) > 0.8
    cosines = np.einsum("qd,qkd->qk", queries, np.float32(regions.prototypes)[rows])
    np.testing.assert_allclose(scores, cosines, atol=0.03)
    # Beside it lies that of keys: neither takes the other's place.
    found.search(np.float32(regions.keys[:1]), 1)
    assert len(list((pairs.path / REGIONS).glob("*.faiss"))) == 2
    assert "nearest prototypes" in run("bank", "index", pairs.path).stdout
    again = Bank.open(pairs.path, "approximate", lambda *_: pytest.fail("made again")).regions
    assert again is not None and np.array_equal(again.search(queries, 5, "prototype")[1], rows)


def test_exporting_says_what_it_leaves_out(bank: Bank, tmp_path: Path) -> None:
    assert "left out" in run("bank", "export", bank.path, "--out", tmp_path / "release").stdout
