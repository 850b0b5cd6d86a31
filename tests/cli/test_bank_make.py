"""`freeda bank search`, `merge`, `clean`, `export`, `import`, and what `verify` says is to be done."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import freeda
from commands import CAPTIONS, refused, run
from freeda.bank import Bank
from small_banks import MODELS, make_bank, make_pair, tree


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_bank(tmp_path / "small", [[make_pair(i) for i in range(12)]]).path


def test_search(tiny_bank: Path, model: Path) -> None:
    done = run(
        "bank", "search", tiny_bank, "Table ", "--model", model, "--nouns", 3, "-k", 8, "--device", "cpu"
    )
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if "│" in line]
    assert len(lines) == 3 and "nearest to Table" in done.stdout
    cells = [cell.strip() for cell in lines[0].strip("│ ").split("│")]
    with_bank = freeda.load(str(model), bank=tiny_bank, device="cpu")
    similarity = (
        np.asarray(with_bank.bank.keys, np.float32) @ with_bank.vocabulary(["Table"]).text_embeddings[0]
    )
    nearest = with_bank.bank.nouns[int(similarity.argmax())]  # random weights: it need not be the table
    assert cells[1] == nearest and cells[2] == "4 of 8" and cells[3] == f"a photo of a {nearest}"
    assert float(cells[0]) >= max(float(line.strip("│ ").split("│")[0]) for line in lines)
    assert sum(int(line.split("│")[3].split()[0]) for line in lines) == 8


def test_search_writes_a_contact_sheet(tmp_path: Path, model: Path) -> None:
    (tmp_path / "captions.txt").write_text(CAPTIONS)
    how = ("--model", model, "--device", "cpu")
    more = ("--steps", 1, "--keep-images", "--set", "max_area=1.0", "--set", "min_area=0.0001")
    done = run("collect", tmp_path / "captions.txt", "--out", tmp_path / "bank", *how, *more)
    assert done.exit_code == 0, done.output
    pairs = len(Bank.open(tmp_path / "bank"))
    sheet = tmp_path / "sheet.png"
    done = run("bank", "search", tmp_path / "bank", "cat", *how, "--out", sheet, "--nouns", 4)
    assert done.exit_code == 0, done.output
    nouns = set(Bank.open(tmp_path / "bank").nouns)
    told = int(done.stdout.splitlines()[-1].split()[0])
    assert min(4, len(nouns)) <= told <= pairs
    pixels = np.array(Image.open(sheet))
    assert pixels.shape[0] > 160 * min(4, len(nouns)) and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_search_refuses(tmp_path: Path, tiny_bank: Path, model: Path, small: Path) -> None:
    how = ("--model", model, "--device", "cpu")
    refused(run("bank", "search", tiny_bank, "cat"), "made with preset 'tiny'", "--model")
    refused(run("bank", "search", small, "cat", *how), "built with CLIP openai")
    refused(run("bank", "search", tiny_bank, "cat", *how, "-k", 0), "-k is 0")
    refused(run("bank", "search", tiny_bank, "cat", *how, "--nouns", 0), "nouns is 0")
    refused(run("bank", "search", tiny_bank, " ", *how), "blank")
    sheet = tmp_path / "sheet.png"
    refused(run("bank", "search", tiny_bank, "cat", *how, "--out", tmp_path / "sheet.gif"), ".png or .jpg")
    # A bank without pictures has captions.
    done = run("bank", "search", tiny_bank, "cat", *how, "--out", sheet)
    assert done.exit_code == 0 and "captions in" in done.stdout and "--keep-images" in done.stdout, (
        done.output
    )
    assert len(np.unique(np.array(Image.open(sheet)).reshape(-1, 3), axis=0)) > 20


def test_merge_and_what_verify_says_of_it(tmp_path: Path, small: Path) -> None:
    other = make_bank(tmp_path / "other", [[make_pair(i) for i in range(10, 16)]]).path
    out = tmp_path / "merged"
    done = run("bank", "merge", small, other, "--out", out)
    assert done.exit_code == 0, done.output
    assert (
        "12 pairs of" in done.stdout and "4 pairs of" in done.stdout and "2 were there before" in done.stdout
    )
    assert "bank of 16 pairs" in done.stdout and len(Bank.open(out)) == 16
    refused(run("bank", "merge", small, "--out", out), "is there already")
    dense = {"id": "facebook/dinov2-large", "revision": None}
    mixed = make_bank(tmp_path / "mixed", [[make_pair(0)]], models={**MODELS, "dense": dense}).path
    refused(run("bank", "merge", small, mixed, "--out", tmp_path / "x"), "dinov2-large", "same models")
    keys = out / "keys.npy"
    whole = keys.read_bytes()
    keys.write_bytes(whole[:-2] + b"??")
    done = run("bank", "verify", out)
    assert done.exit_code == 2 and "delete keys.npy there: it is made again" in done.stderr
    keys.unlink()
    assert len(Bank.open(out).keys) == 16 and keys.read_bytes() == whole
    shard = out / "shards" / "00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    done = run("bank", "verify", out)
    assert done.exit_code == 2 and "the same `freeda bank merge`" in done.stderr.splitlines()[-1]


def test_clean(tmp_path: Path, small: Path) -> None:
    before, out = tree(small), tmp_path / "clean"
    done = run("bank", "clean", small, "--out", out, "--per-noun", 2, "--choose", "central")
    assert done.exit_code == 0, done.output
    assert "left out by per_noun" in done.stdout and "bank of 4 pairs" in done.stdout
    assert sorted(Bank.open(out).nouns) == ["cat", "cat", "dog", "dog"] and tree(small) == before
    assert json.loads((out / "clean.json").read_text())["nouns"]["cat"] == {
        "before": 6,
        "after": 2,
        "per_noun": 4,
    }
    refused(run("bank", "clean", small, "--out", tmp_path / "x"), "no rule is on")
    refused(run("bank", "clean", small, "--out", tmp_path / "x", "--outliers", "nan"), "outliers is nan")
    refused(run("bank", "clean", small, "--out", tmp_path / "x", "--min-agreement", 1), "leave nothing")
    agreement = np.median([Bank.open(small).row(i)["agreement"] for i in range(12)])
    done = run("bank", "clean", small, "--out", tmp_path / "y", "--min-agreement", agreement)
    assert done.exit_code == 0 and len(Bank.open(tmp_path / "y")) == 6


def test_export_and_import(tmp_path: Path, small: Path) -> None:
    pytest.importorskip("faiss")
    assert run("bank", "export", small, "--out", tmp_path / "release").exit_code == 0
    done = run("bank", "import", tmp_path / "release", "--out", tmp_path / "again")
    assert done.exit_code == 0 and "bank of 12 pairs" in done.stdout, done.output
    a, b = Bank.open(small), Bank.open(tmp_path / "again")
    assert (
        np.array_equal(a.keys, b.keys) and np.array_equal(a.prototypes, b.prototypes) and a.nouns == b.nouns
    )
    # As the authors' files come: no table of rows, and their models have to be said.
    bare = tmp_path / "bare"
    shutil.move(tmp_path / "release" / "prototypes", bare)
    spoilt = bare / "0000003.npy"
    np.save(spoilt, np.load(spoilt, allow_pickle=False) * np.nan)
    index = tmp_path / "release" / "keys.index"
    more = ("--index", index, "--out", tmp_path / "bare-bank")
    refused(run("bank", "import", bare, *more), "which models made it")
    done = run("bank", "import", bare, *more, "--model", "vit-b", "--noun-pattern", "0*(?P<noun>[0-9]+)")
    assert done.exit_code == 0, done.output
    assert "1 of 12 rows dropped: not finite" in done.stdout and "bank of 11 pairs" in done.stdout
    found = Bank.open(tmp_path / "bare-bank")
    assert found.nouns[:4] == ["0", "1", "2", "4"] and found.meta["models"]["clip"] == MODELS["clip"]
    refused(
        run("bank", "import", bare, "--model", "vit-b", "--index", bare, "--out", tmp_path / "z"), "index"
    )


def test_import_of_the_published_names_goes_on(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    from freeda.bank import released

    assert run("bank", "export", small, "--out", tmp_path / "made").exit_code == 0
    data, out = tmp_path / "release" / "data", tmp_path / "bank"
    (data / "faiss_index").mkdir(parents=True)
    (tmp_path / "made" / "prototypes").rename(data / "prototype_embeddings")
    (tmp_path / "made" / "keys.index").rename(data / "faiss_index" / "knn.index")
    refused(run("bank", "import", tmp_path / "release", "--out", out), "which models made it")

    def stop(self: released.NpyReader, path: Path) -> None:
        if path.name == "0000007.npy":
            raise KeyboardInterrupt
        return read(self, path)

    read = released.NpyReader.read
    monkeypatch.setattr(released, "_SHARD", 4)
    monkeypatch.setattr(released.NpyReader, "read", stop)
    done = run("bank", "import", data, "--out", out, "--model", "vit-b")
    assert done.exit_code == 130 and "the same command goes on" in done.stderr and not out.exists()
    monkeypatch.setattr(released.NpyReader, "read", read)
    first = sorted((data / "prototype_embeddings").iterdir())[1]
    first.write_bytes(b"read before, and never again")
    done = run("bank", "import", data, "--out", out, "--model", "vit-b")
    assert done.exit_code == 0 and "bank of 12 pairs" in done.stdout, done.output
    assert np.array_equal(Bank.open(out).prototypes, Bank.open(small).prototypes)


def test_the_card_can_be_seen_before(small: Path) -> None:
    done = run("bank", "push", small, "me/bank", "--card")
    assert done.exit_code == 0 and "license:" in done.stdout and "| pairs | 12 |" in done.stdout
    refused(run("bank", "push", small, "me"), "no repository's name")
