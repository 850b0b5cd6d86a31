"""The authors' release as a bank and back: FAISS's own answers on a small folder shaped like the release."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from forks import run_script
from freeda.bank import released
from freeda.bank.released import NpyReader, export_release, import_release, index_vectors
from freeda.bank.verify import find_damage
from freeda.errors import BankError, InputError
from small_banks import make_bank, make_pair, rows_of, tree

faiss = pytest.importorskip("faiss")
MODELS = {
    "clip": {"id": "openai/clip-vit-large-patch14", "revision": None},
    "dense": {"id": "facebook/dinov2-large", "revision": None},
}
WORDS = ("cat", "stop_sign", "dog")


def index_of(kind: str, width: int) -> Any:
    return {
        "flat": lambda: faiss.IndexFlatIP(width),
        "l2": lambda: faiss.IndexFlatL2(width),
        "hnsw": lambda: faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT),
        "hnsw l2": lambda: faiss.IndexHNSWFlat(width, 16),
    }[kind]()


def unit(n: int, width: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def release_folder(
    path: Path, n: int = 40, kind: str = "hnsw", dtype: Any = np.float32, flat: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Files written out of order, named so that their sorted order is the rows'; the index beside them."""
    keys = unit(n, 12)
    prototypes = (np.random.default_rng(1).normal(size=(n, 9)) * 5).astype(dtype)
    (path / "npy").mkdir(parents=True)
    for i in np.random.default_rng(2).permutation(n):
        name = f"{i:012d}_{i % 5}_{WORDS[i % 3]}.npy"
        np.save(path / "npy" / name, prototypes[i] if flat else prototypes[i : i + 1])
    index = index_of(kind, 12)
    index.add(keys)
    faiss.write_index(index, str(path / "keys.faiss"))
    return keys, prototypes


@pytest.mark.parametrize("kind", ["flat", "l2", "hnsw", "hnsw l2"])
@pytest.mark.parametrize(("n", "width"), [(1, 3), (17, 4), (300, 16), (1000, 7)])
def test_vectors_as_faiss_reconstructs_them(tmp_path: Path, kind: str, n: int, width: int) -> None:
    index = index_of(kind, width)
    index.add(unit(n, width))
    faiss.write_index(index, str(tmp_path / "i"))
    found = index_vectors(tmp_path / "i")
    again = faiss.read_index(str(tmp_path / "i"))
    assert found.dtype == np.float32 and np.array_equal(found, again.reconstruct_n(0, n))
    assert not found.flags.writeable


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("flat", [True, False])
def test_a_release_becomes_a_bank(tmp_path: Path, kind: str, dtype: Any, flat: bool) -> None:
    keys, prototypes = release_folder(tmp_path, 40, kind, dtype, flat)
    told: list[tuple[int, int]] = []
    done = import_release(
        tmp_path / "npy",
        tmp_path / "bank",
        MODELS,
        index=tmp_path / "keys.faiss",
        noun_pattern=r"(?P<caption>\d+)_\d_(?P<noun>\w+)",
        preset="vit-l",
        on_done=lambda *n: told.append(n),
    )
    bank = done.bank
    assert done.rows == len(bank) == 40 and done.dropped == {} and told[-1] == (40, 40)
    assert np.array_equal(bank.keys, keys.astype(np.float16))
    assert np.array_equal(bank.prototypes, prototypes.astype(np.float16))
    assert bank.nouns == [("cat", "stop sign", "dog")[i % 3] for i in range(40)]
    assert bank.row(7)["caption_id"] == "000000000007" and np.isnan(bank.row(7)["agreement"])
    bank.check_models({**MODELS, "clip_dim": 12, "dense_dim": 9})
    assert not list(find_damage(bank.path))
    # FAISS on the same keys is the reference: scores agree to the rounding of float16.
    exact = faiss.IndexFlatIP(12)
    exact.add(keys)
    queries = unit(20, 12, seed=5)
    scores, rows = bank.search(queries, 8)
    theirs, their_rows = exact.search(queries, 8)
    assert np.abs(scores - theirs).max() < 1e-3
    assert np.mean([len(set(a) & set(b)) for a, b in zip(rows, their_rows, strict=True)]) > 7.5


def published(path: Path, n: int = 40) -> Path:
    """A release with the names that the authors' programs look for; its root."""
    release_folder(path / "made", n)
    (path / "root" / "src" / "data" / "faiss_index").mkdir(parents=True)
    (path / "made" / "npy").rename(path / "root" / "src" / "data" / "prototype_embeddings")
    (path / "made" / "keys.faiss").rename(path / "root" / "src" / "data" / "faiss_index" / "knn.index")
    return path / "root"


@pytest.mark.parametrize("given", ["", "src", "src/data"])
def test_the_published_names_are_found(tmp_path: Path, given: str) -> None:
    root = published(tmp_path)
    expected = import_release(
        root / "src" / "data" / "prototype_embeddings",
        tmp_path / "expected",
        MODELS,
        index=root / "src" / "data" / "faiss_index" / "knn.index",
    )
    import_release(root / given, tmp_path / "bank", MODELS)
    assert tree(tmp_path / "bank") == tree(expected.bank.path)
    elsewhere = (root / "src" / "data" / "faiss_index").rename(tmp_path / "elsewhere") / "knn.index"
    with pytest.raises(InputError, match=r"faiss_index/knn\.index: this index cannot be read"):
        import_release(root / given, tmp_path / "more", MODELS)
    assert len(import_release(root / given, tmp_path / "more", MODELS, index=elsewhere).bank) == 40


class Stopped(NpyReader):
    """Counts what is read, and is stopped at a given file, as by Ctrl-C."""

    files: list[str]
    stop: int | None

    def read(self, path: Path) -> np.ndarray:
        if len(self.files) == self.stop:
            raise KeyboardInterrupt
        self.files.append(path.name)
        return super().read(path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> type[Stopped]:
    """Shards of 8 files, and a reader that counts."""
    Stopped.files, Stopped.stop = [], None
    monkeypatch.setattr(released, "_SHARD", 8)
    monkeypatch.setattr(released, "NpyReader", Stopped)
    return Stopped


@pytest.mark.parametrize("stop", [1, 9, 12, 17, 38])
def test_stopped_it_goes_on_and_gives_the_same_bank(tmp_path: Path, reads: type[Stopped], stop: int) -> None:
    root = published(tmp_path, 38)
    file = sorted((root / "src" / "data" / "prototype_embeddings").iterdir())[20]
    np.save(file, np.load(file, allow_pickle=False) * np.nan)
    whole = import_release(root, tmp_path / "whole", MODELS)
    assert len(reads.files) == 1 + 38 and whole.dropped == {"not finite": 1}
    reads.files, reads.stop = [], stop
    with pytest.raises(KeyboardInterrupt):
        import_release(root, tmp_path / "bank", MODELS)
    done = (stop - 1) // 8 * 8
    hidden = [path for path in tmp_path.iterdir() if path.name.startswith(".bank.")]
    assert not (tmp_path / "bank").exists() and len(hidden) == (1 if done else 0)
    if done:  # what a kill leaves of files in the making
        for name in (".0a1b.tmp", "shards/.0a1b.tmp", "keys.npy", "bank.json"):
            (hidden[0] / name).write_bytes(b"half")
    reads.files, reads.stop, told = [], None, list[tuple[int, int]]()
    again = import_release(root, tmp_path / "bank", MODELS, on_done=lambda *n: told.append(n))
    assert len(reads.files) == 1 + 38 - done and told[0] == (done, 38) and told[-1] == (38, 38)
    assert tree(tmp_path / "bank") == tree(tmp_path / "whole") and again.dropped == whole.dropped
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank", "made", "root", "whole"]


def test_a_bad_file_costs_its_shard_only(tmp_path: Path, reads: type[Stopped]) -> None:
    root = published(tmp_path)
    bad = sorted((root / "src" / "data" / "prototype_embeddings").iterdir())[30]
    good = bad.read_bytes()
    bad.write_bytes(good[:-1])
    with pytest.raises(InputError, match=f"{bad.name}: damaged"):
        import_release(root, tmp_path / "bank", MODELS)
    bad.write_bytes(good)
    reads.files = []
    assert len(import_release(root, tmp_path / "bank", MODELS).bank) == 40 and len(reads.files) == 1 + 16


@pytest.mark.parametrize("change", ["a name", "the index", "the models", "the pattern", "a damaged shard"])
def test_what_is_not_the_same_work_is_done_again(tmp_path: Path, reads: type[Stopped], change: str) -> None:
    root, models, pattern = published(tmp_path), MODELS, None
    reads.stop = 30
    with pytest.raises(KeyboardInterrupt):
        import_release(root, tmp_path / "bank", models)
    (left,) = tmp_path.glob(".bank.*.partial")
    data = root / "src" / "data"
    if change == "a name":
        file = sorted((data / "prototype_embeddings").iterdir())[0]
        file.rename(file.with_name("0.npy"))
    elif change == "the index":
        keys = unit(40, 12, seed=9)
        index = index_of("hnsw", 12)
        index.add(keys)
        faiss.write_index(index, str(data / "faiss_index" / "knn.index"))
    elif change == "the models":
        models = {**MODELS, "clip": {"id": "another", "revision": None}}
    elif change == "the pattern":
        pattern = r"\d+_\d_(?P<noun>\w+)"
    else:
        shard = left / "shards" / "00001.parquet"
        shard.write_bytes(shard.read_bytes()[:-5])
    reads.files, reads.stop = [], None
    bank = import_release(root, tmp_path / "bank", models, noun_pattern=pattern).bank
    assert len(reads.files) == 1 + (40 if change != "a damaged shard" else 8 + 16) and not left.exists()
    if change == "the index":
        assert np.array_equal(bank.keys, keys.astype(np.float16))


def test_two_at_once_and_a_link_in_the_way(tmp_path: Path, reads: type[Stopped]) -> None:
    root, says = published(tmp_path), list[str]()

    def meanwhile(done: int, n: int) -> None:
        if done == 8:
            with pytest.raises(BankError, match="another run is making it") as error:
                import_release(root, tmp_path / "bank", MODELS)
            says.append(str(error.value))

    assert len(import_release(root, tmp_path / "bank", MODELS, on_done=meanwhile).bank) == 40 and says
    reads.files, reads.stop = [], 30
    with pytest.raises(KeyboardInterrupt):
        import_release(root, tmp_path / "other.v2", MODELS)
    reads.files = []
    with pytest.raises(KeyboardInterrupt):
        import_release(root, tmp_path / "other", MODELS)
    assert list(tmp_path.glob(".other.v2.*.partial"))  # the work of another name
    (left,) = set(tmp_path.glob(".other.*.partial")) - set(tmp_path.glob(".other.v2.*"))
    left.rename(tmp_path / "precious")
    (tmp_path / "precious" / "mine.txt").write_text("mine")
    left.symlink_to(tmp_path / "precious")
    reads.stop = None
    with pytest.raises(BankError, match="is a link"):
        import_release(root, tmp_path / "other", MODELS)
    assert (tmp_path / "precious" / "mine.txt").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_killed_at_random_moments(tmp_path: Path) -> None:
    published(tmp_path, 90)
    told = run_script(Path(__file__).with_name("killing_import.py"), tmp_path, seed=0, kills=5)
    expected = tree(tmp_path / "whole")
    for i in range(told["rounds"]):
        assert tree(tmp_path / str(i)) == expected
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(sys.platform == "darwin", reason="names there are UTF-8")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    release_folder(tmp_path, 3, "flat")
    first = sorted((tmp_path / "npy").iterdir())[0]
    first.rename(first.with_name(os.fsdecode(b"0\xff.npy")))
    bank = import_release(tmp_path / "npy", tmp_path / "bank", MODELS, index=tmp_path / "keys.faiss").bank
    assert bank.nouns[-1] == "0\\udcff"


def test_rows_that_cannot_be_used_are_dropped_and_counted(tmp_path: Path) -> None:
    keys, prototypes = release_folder(tmp_path, 20, "flat")
    names = sorted(p.name for p in (tmp_path / "npy").iterdir())
    for i, value in ((3, np.nan), (11, np.inf), (12, 1e6)):
        prototypes[i, 2] = value
        np.save(tmp_path / "npy" / names[i], prototypes[i])
    keys[5, 0] = np.nan
    index = index_of("flat", 12)
    index.add(keys)
    faiss.write_index(index, str(tmp_path / "keys.faiss"))
    done = import_release(tmp_path / "npy", tmp_path / "bank", MODELS, index=tmp_path / "keys.faiss")
    left = [i for i in range(20) if i not in (3, 5, 11, 12)]
    assert done.dropped == {"not finite": 3, "beyond float16": 1} and done.rows == 20
    assert np.array_equal(done.bank.keys, keys[left].astype(np.float16))
    assert done.bank.nouns == [Path(names[i]).stem for i in left]  # nothing else says what they are
    assert done.bank.meta["rejected"] == done.dropped and done.bank.meta["imported"] == {"rows": 20}


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_exported_and_imported_again_it_is_the_same_bank(tmp_path: Path, kind: str) -> None:
    bank = make_bank(
        tmp_path / "bank",
        [[make_pair(i, image=None, mask=None) for i in s] for s in (range(30), (), range(30, 37))],
    )
    out = export_release(bank.path, tmp_path / "release", kind)
    assert len(list((out / "prototypes").iterdir())) == 37
    again = import_release(out, tmp_path / "again").bank
    assert rows_of(again) == rows_of(bank)
    assert again.meta["models"] == bank.meta["models"] and again.meta["seed"] == 0
    queries = unit(50, 6, seed=3)
    for k in (1, 5, 37):
        mine, theirs = bank.search(queries, k), again.search(queries, k)
        assert np.array_equal(mine[0], theirs[0]) and np.array_equal(mine[1], theirs[1])
    # As the authors read it: sorted names, the index's own answers.
    files = sorted((out / "prototypes").iterdir())
    index = faiss.read_index(str(out / "keys.index"))
    if kind == "hnsw":
        index.hnsw.efSearch = 50_000
    scores, rows = index.search(queries, 5)
    assert np.allclose(scores, bank.search(queries, 5)[0], atol=1e-6)
    assert (rows == bank.search(queries, 5)[1]).mean() > 0.99  # equal scores may swap
    for i in (0, 20, 36):
        assert np.array_equal(np.load(files[i], allow_pickle=False), bank.prototypes[i].astype(np.float32))
    with pytest.raises(BankError, match="is there already"):
        export_release(bank.path, out)
    with pytest.raises(InputError, match="flat or hnsw"):
        export_release(bank.path, tmp_path / "x", "pq")


def wrong_count(path: Path) -> None:
    next((path / "npy").iterdir()).unlink()


def replaced(data: bytes, name: str = "first") -> Any:
    def change(path: Path) -> None:
        sorted((path / "npy").iterdir())[0 if name == "first" else 3].write_bytes(data)

    return change


def npy(shape: str, descr: str = "'<f4'", body: bytes = b"\0" * 36) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def index_bytes(change: Any) -> Any:
    def apply(path: Path) -> None:
        file = path / "keys.faiss"
        file.write_bytes(change(file.read_bytes()))

    return apply


WRONG: dict[str, tuple[Any, str]] = {
    "one file less": (wrong_count, "19 .npy files, but .* holds 20 keys"),
    "no file": (lambda p: [f.unlink() for f in (p / "npy").iterdir()], "holds no .npy file"),
    "huge shape": (replaced(npy("(1099511627776,)")), "holds a vector of 1,099,511,627,776"),
    "larger than it is": (replaced(npy("(9000,)")), "do not make its 36"),
    "objects": (replaced(npy("(9,)", "'|O'")), "of object"),
    "text": (replaced(npy("(9,)", "'<U4'")), "a prototype is"),
    "matrix": (replaced(npy("(3, 3)")), r"holds \(3, 3\)"),
    "negative": (replaced(npy("(-9,)")), "not a whole|vector of -9"),
    "number": (replaced(npy("()")), "a prototype is"),
    "code": (replaced(npy("__import__('os')")), "not a whole .npy file"),
    "not npy": (replaced(b"hello" * 20), "not a whole .npy file"),
    "empty": (replaced(b""), "not a whole .npy file"),
    "cut": (replaced(npy("(9,)", body=b"\0" * 20)), "do not make its 20"),
    "another width": (replaced(npy("(8,)", body=b"\0" * 32), "later"), "8 numbers, but .* hold 9"),
    "a wider one": (replaced(npy("(10,)", body=b"\0" * 40), "later"), "10 numbers, but .* hold 9"),
    "large file": (replaced(b"\0" * (2**20 + 10)), "larger than 1,048,576"),
    "index: a text": (index_bytes(lambda b: b"hello world, not an index"), "not an index that can be read"),
    "index: empty": (index_bytes(lambda b: b""), "not an index that can be read"),
    "index: cut": (index_bytes(lambda b: b[:-4]), "does not end with 20 vectors of 12"),
    "index: longer": (index_bytes(lambda b: b + b"1234"), "does not end with 20 vectors of 12"),
    "index: cut in its graph": (index_bytes(lambda b: b[:60]), "damaged index"),
    "index: huge count": (
        index_bytes(lambda b: b[:8] + struct.pack("<q", 1 << 60) + b[16:]),
        r"does not end with 1,152,921,504,606,846,976 vectors of 12",
    ),
    "index: vectors of another width": (
        index_bytes(lambda b: b.replace(struct.pack("<i", 12), struct.pack("<i", 6), 1)),
        "does not end with 20 vectors of 6",
    ),
    "index: vectors more than a byte counts": (
        index_bytes(lambda b: b.replace(struct.pack("<iq", 12, 20), struct.pack("<iq", 2**31 - 1, 2**62))),
        "does not end with 4,611,686,018,427,387,904 vectors of 2,147,483,647",
    ),
    "index: width below 0": (
        index_bytes(lambda b: b.replace(struct.pack("<iq", 12, 20), struct.pack("<iq", -12, 20))),
        "does not end with 20 vectors of -12",
    ),
    "index: another metric": (
        index_bytes(lambda b: b.replace(b"\x01\x00\x00\x00\x00", b"\x01\x07\x00\x00\x00")),
        "metric is number 7|damaged index",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    release_folder(tmp_path, 20, "hnsw")
    change, says = WRONG[case]
    change(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(InputError, match=says) as error:
        import_release(tmp_path / "npy", tmp_path / "bank", MODELS, index=tmp_path / "keys.faiss")
    assert "\n" not in str(error.value) and tree(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys.faiss", "npy"]


def test_a_graph_that_lies_is_never_looked_at(tmp_path: Path) -> None:
    keys, _ = release_folder(tmp_path, 20, "hnsw")
    index_bytes(lambda b: b[:37] + struct.pack("<Q", 1 << 62) + b[45:])(tmp_path)
    assert np.array_equal(index_vectors(tmp_path / "keys.faiss"), keys)


def test_indices_that_would_answer_otherwise(tmp_path: Path) -> None:
    for scale in (2, 1.005, 0.995):
        index = index_of("l2", 4)
        index.add(unit(10, 4) * np.float32(scale))
        faiss.write_index(index, str(tmp_path / "l2"))
        with pytest.raises(InputError, match="not of unit length"):
            index_vectors(tmp_path / "l2")
    coarse = faiss.IndexScalarQuantizer(4, faiss.ScalarQuantizer.QT_8bit)
    coarse.train(unit(50, 4))
    faiss.write_index(coarse, str(tmp_path / "sq"))
    with pytest.raises(InputError, match="not an index that can be read"):
        index_vectors(tmp_path / "sq")
    with pytest.raises(InputError, match="cannot be read"):
        index_vectors(tmp_path / "none")
    faiss.write_index(index_of("flat", 4), str(tmp_path / "empty"))
    assert index_vectors(tmp_path / "empty").shape == (0, 4)


def test_what_must_be_said(tmp_path: Path) -> None:
    release_folder(tmp_path, 5, "flat")
    index = tmp_path / "keys.faiss"
    for more, says in (
        ({"models": MODELS}, "name the FAISS index"),
        ({"folder": "x" * 300}, "File name too long"),
        ({"index": index}, "which models made it"),
        ({"models": MODELS, "index": index, "noun_pattern": "("}, "no regular expression"),
        ({"models": MODELS, "index": index, "noun_pattern": "(.*)"}, "no group named noun"),
        ({"models": MODELS, "index": index, "noun_pattern": "x(?P<noun>.*)"}, "does not fit its name"),
        ({"models": MODELS, "index": index, "rows": index}, "not a table of a bank's rows"),
    ):
        with pytest.raises(InputError, match=says):
            import_release(**{"folder": tmp_path / "npy", "out": tmp_path / "bank", **more})  # type: ignore[arg-type]
    bank = make_bank(tmp_path / "other", [[make_pair(i) for i in range(4)]])
    rows = export_release(bank.path, tmp_path / "release") / "rows.parquet"
    with pytest.raises(InputError, match="4 rows, but there are 5"):
        import_release(tmp_path / "npy", tmp_path / "bank", MODELS, index=index, rows=rows)
    pq.write_table(pq.read_table(rows).drop_columns(["noun"]), tmp_path / "less.parquet")
    with pytest.raises(InputError, match="4 rows"):
        import_release(
            tmp_path / "npy", tmp_path / "bank", MODELS, index=index, rows=tmp_path / "less.parquet"
        )


def test_a_vector_file_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    reader = NpyReader()
    for i, kind in enumerate((np.float16, np.float32, np.float64, ">f4")):
        row = np.random.default_rng(i).normal(size=7).astype(kind)
        for j, shaped in enumerate((row, row[None])):
            np.save(tmp_path / f"{i}{j}.npy", shaped)
            assert np.array_equal(reader.read(tmp_path / f"{i}{j}.npy"), row)
