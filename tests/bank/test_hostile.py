"""Banks made to do harm: refused by name, before memory is taken; no path outside of them is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freeda.bank import Bank
from freeda.bank.clean import Rules, clean
from freeda.bank.format import SCHEMA, shard_name
from freeda.bank.merge import merge
from freeda.bank.verify import find_damage
from freeda.errors import FreedaError
from small_banks import make_bank, make_pair, tree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_bank(
        tmp_path / "bank", [[make_pair(i) for i in range(4)], [make_pair(i) for i in (4, 5)]]
    ).path


def meta(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        said = json.loads((path / "bank.json").read_text())
        change(said)
        (path / "bank.json").write_text(json.dumps(said))

    return apply


def shard(change: Callable[[Any], Any], **how: Any) -> Callable[[Path], object]:
    """The second shard rewritten; bank.json is told its new size, or that alone would give it away."""

    def apply(path: Path) -> None:
        file = path / shard_name(1)
        table = change(pq.read_table(file))
        pq.write_table(table, file, **how)
        resized(path, table.num_rows)

    return apply


def resized(path: Path, rows: int) -> None:
    def change(said: dict[str, Any]) -> None:
        said["pairs"] += rows - said["shards"][1]["pairs"]
        said["shards"][1] |= {"bytes": (path / shard_name(1)).stat().st_size, "pairs": rows}

    meta(change)(path)


def about(change: Callable[[Any], Any]) -> Callable[[Path], object]:
    def apply(table: Any) -> Any:
        said = change(json.loads(table.schema.metadata[b"freeda"]))
        text = said if isinstance(said, str) else json.dumps(said)
        return table.replace_schema_metadata({b"freeda": text.encode()})

    return shard(apply)


def zeros(table: Any, n: int) -> Any:
    """n equal rows, which pack to next to nothing."""
    row = table.slice(0, 1)
    arrays = [pa.concat_arrays([row.column(name).chunk(0)]).take(pa.array([0] * n)) for name in SCHEMA.names]
    return pa.table(arrays, schema=table.schema)


def shades(table: Any, n: int) -> Any:
    """n rows whose keys hold 256 numbers in turn, each kept as its place among them."""
    table = zeros(table, n)
    field = table.schema.field("key")
    kept = (np.arange(n * len(table["key"][0])) % 256).astype(np.float16)
    keys = pa.array(kept.reshape(n, -1).tolist(), type=field.type)
    return table.set_column(table.schema.get_field_index("key"), field, keys)


def text_keys(table: Any) -> Any:
    at = SCHEMA.get_field_index("key")
    return table.set_column(at, "key", pa.array(["x"] * len(table)))


def linked(path: Path) -> None:
    (path / shard_name(1)).unlink()
    (path / shard_name(1)).symlink_to("/dev/zero")


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    # bank.json
    "path above": (meta(lambda m: m["shards"][1].update(file="../../secret")), "listed as '../../secret'"),
    "absolute path": (meta(lambda m: m["shards"][1].update(file="/etc/passwd")), "listed as '/etc/passwd'"),
    "one shard twice": (meta(lambda m: m["shards"][1].update(file=shard_name(0))), "shard 1 is listed as"),
    "a number as path": (meta(lambda m: m["shards"][1].update(file=7)), "listed as 7"),
    "huge counts": (meta(lambda m: m.update(pairs=10**18)), "counts do not add up"),
    "huge counts that add up": (
        meta(lambda m: (m.update(pairs=4 + 10**18), m["shards"][1].update(pairs=10**18))),
        "has 2 pairs, bank.json says 10",
    ),
    "a negative count": (meta(lambda m: m["shards"][1].update(pairs=-2)), "shard 1 is listed"),
    "a broken count": (meta(lambda m: m["shards"][1].update(pairs=2.5)), "shard 1 is listed"),
    "true as a count": (meta(lambda m: m.update(captions=True)), "wrong kind"),
    "an object as shards": (meta(lambda m: m.update(shards={"a": 1})), "damaged"),
    "a text as models": (meta(lambda m: m.update(models="clip")), "wrong kind"),
    "no width": (meta(lambda m: m.update(dimensions={"key": 0, "prototype": 5})), "wrong kind"),
    "a text as width": (
        meta(lambda m: m.update(dimensions={"key": "6", "prototype": 5})),
        "damaged|wrong kind",
    ),
    "deep": (lambda p: (p / "bank.json").write_text("[" * 100_000), "damaged or unreadable"),
    "a huge number": (lambda p: (p / "bank.json").write_text("9" * 10_000), "damaged or unreadable"),
    "a list": (lambda p: (p / "bank.json").write_text("[]"), "not the description"),
    "not text": (lambda p: (p / "bank.json").write_bytes(b"\xff\xfe\x00"), "damaged or unreadable"),
    # a shard's own words
    "a list in a shard": (about(lambda a: [a]), "not a whole shard"),
    "a text in a shard": (about(lambda a: '"text"'), "not a whole shard"),
    "no JSON in a shard": (about(lambda a: "{"), "not a whole shard"),
    "deep in a shard": (about(lambda a: "[" * 100_000), "not a whole shard"),
    "an unknown word in a shard": (about(lambda a: {**a, "exec": "x"}), "not a whole shard"),
    "a text as captions": (about(lambda a: {**a, "captions": "3"}), "not a whole shard"),
    "a list as settings": (about(lambda a: {**a, "settings": []}), "not a whole shard"),
    # its columns
    "a column less": (shard(lambda t: t.drop_columns(["noun"])), "columns are not those"),
    "a column more": (shard(lambda t: t.append_column("x", pa.array([1] * len(t)))), "columns are not those"),
    "texts as keys": (shard(text_keys), "columns are not those"),
    "columns in another order": (shard(lambda t: t.select(SCHEMA.names[::-1])), "columns are not those"),
    "a bomb": (
        shard(lambda t: zeros(t, 200_000), compression="zstd", use_dictionary=False),
        "refused: its .* bytes would unpack to",
    ),
    "a bomb of repeats": (shard(lambda t: zeros(t, 200_000), compression="none"), "packed as no bank's is"),
    "a bomb in one column": (
        shard(lambda t: zeros(t, 200_000), compression="none", use_dictionary=["prototype.list.element"]),
        "'prototype' is packed as no bank's is",
    ),
    "numbers of a byte and a bit": (
        shard(lambda t: shades(t, 4000), compression="none", use_dictionary=["key.list.element"]),
        "'key' is packed as no bank's is",
    ),
    "another file": (linked, "shards/00001.parquet is missing"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_bank_is_refused(path: Path, tmp_path: Path, case: str) -> None:
    change, says = HOSTILE[case]
    change(path)
    for use in (
        lambda: Bank.open(path),
        lambda: merge([path], tmp_path / "merged"),
        lambda: clean(path, tmp_path / "cleaned", Rules(per_noun=1)),
    ):
        with pytest.raises(FreedaError, match=says) as error:
            use()
        assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert list(find_damage(path)), "verify must not call it whole"
    assert [p.name for p in tmp_path.iterdir()] == ["bank"]


def test_refusing_a_bomb_takes_no_memory(path: Path) -> None:
    """200,000 rows of 1 kB packed into some kB: read whole they would be 200 MB."""
    wide = make_pair(0, prototype=np.zeros(500, np.float16))
    bomb = make_bank(path.parent / "bomb", [[wide], [wide]])
    shard(lambda t: zeros(t, 200_000), compression="zstd", use_dictionary=False)(bomb.path)
    script = (
        "import sys, resource\n"
        "from freeda.bank import Bank\nfrom freeda.errors import BankError\n"
        "import freeda.bank.verify as v, pathlib\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try:\n    Bank.open(sys.argv[1])\n    print('opened')\nexcept BankError as error:\n    pass\n"
        "v.shard_damage(pathlib.Path(sys.argv[1]) / 'shards/00001.parquet')\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(bomb.path)], capture_output=True, text=True, check=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 40e6, done.stdout


def test_arrays_that_lie_are_made_again(path: Path) -> None:
    keys = np.array(Bank.open(path).keys)
    header = b"\x93NUMPY\x01\x00"
    for shape, kind in (("(6, 99999999999)", "<f2"), ("(99999999999, 6)", "<f2"), ("(6, 6)", "|O")):
        text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        (path / "keys.npy").write_bytes(header + len(text).to_bytes(2, "little") + text + b"\0" * 72)
        assert np.array_equal(Bank.open(path).keys, keys)


def test_nothing_beside_a_hostile_bank_is_written(path: Path, tmp_path: Path) -> None:
    """An array that is a link elsewhere is replaced, not written through."""
    (tmp_path / "precious").write_text("keep me")
    (path / "keys.npy").unlink()
    (path / "keys.npy").symlink_to(tmp_path / "precious")
    assert len(Bank.open(path).keys) == 6
    assert (tmp_path / "precious").read_text() == "keep me" and not (path / "keys.npy").is_symlink()
    assert set(tree(path)) == {"bank.json", "keys.npy", "prototypes.npy", shard_name(0), shard_name(1)}
