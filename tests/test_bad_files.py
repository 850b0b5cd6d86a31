"""Damaged presets, weights and banks: each is repaired, or told in one clear error that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import refused, run
from freeda.bank import Bank
from freeda.encoders import load_encoders, model_identity
from freeda.errors import BankError, FreedaError, InputError, ModelError, printable
from freeda.presets import ModelSource, Preset, find_preset
from freeda.segment.vocabulary import WordEmbedder, build_vocabulary
from freeda.weights import identity_id

WORDS = ["cat", "dog"]


def one_line(error: BaseException, *says: str) -> None:
    text = str(error)
    assert text == printable(text) and len(text) <= 600
    for word in says:
        assert word in text, text


# --- presets

PRESETS: dict[str, tuple[Any, str]] = {
    "empty": (b"", "damaged JSON"),
    "cut": (b'{"base": "vit-b", "cl', "damaged JSON"),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8"),
    "deep": (b"[" * 100_000, "damaged JSON"),
    "a list": ([], "JSON object"),
    "null": (None, "JSON object"),
    "another base": ({"base": "vit-h"}, "base is 'vit-h': use one of"),
    "a list as base": ({"base": []}, "base is []"),
    "an unknown field": ({"clips": 1}, "unknown preset field 'clips'"),
    "a number as model": ({"clip": 3}, "clip is 3"),
    "a model without id": ({"clip": {"revision": "a"}}, "clip has no id"),
    "a number as id": ({"clip": {"id": 3}}, "id is 3"),
    "a blank id": ({"dense": " "}, "id is blank"),
    "an unknown part of a model": ({"clip": {"id": "a", "path": "b"}}, "unknown clip field 'path'"),
    "a text as size": ({"clip_size": "224"}, "clip_size is '224'"),
    "no size": ({"dense_size": 0}, "dense_size is 0"),
    "half a pixel": ({"clip_size": 224.5}, "clip_size is 224.5"),
    "two colours": ({"clip_mean": [0.5, 0.5]}, "clip_mean has 2 numbers"),
    "a text as mean": ({"dense_mean": "0.5"}, "dense_mean is '0.5'"),
    "no spread": ({"dense_std": [0.2, 0, 0.2]}, "dense_std is (0.2, 0.0, 0.2)"),
    "NaN": (b'{"clip_std": [NaN, 1, 1]}', "clip_std is nan"),
    "a number as bank": ({"bank": 3}, "bank is 3"),
    "a list as options": ({"segment": [1]}, "segment is [1]"),
    "an unknown option": ({"segment": {"kk": 1}}, "unknown segment field 'kk'"),
    "an option of another kind": ({"segment": {"k": "many"}}, "k is 'many'"),
    "an option out of range": ({"segment": {"local_weight": 2}}, "local_weight is 2.0"),
    "an unknown parameter": ({"segment": {"superpixels": {"size": 1}}}, "unknown segment.superpixels field"),
    "null as options": ({"collect": None}, "collect is null"),
    "no steps": ({"collect": {"steps": 0}}, "step"),
}


@pytest.mark.parametrize("case", PRESETS)
def test_damaged_presets(tmp_path: Path, case: str) -> None:
    data, says = PRESETS[case]
    path = tmp_path / "mine.json"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    with pytest.raises(InputError) as caught:
        find_preset(path)
    one_line(caught.value, "mine.json: ", says)
    (tmp_path / "photo.png").touch()
    refused(run("segment", tmp_path / "photo.png", "--classes", "cat", "--model", path), "mine.json: ", says)


def test_what_is_no_preset(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    cases: list[tuple[Any, str]] = [(None, "None is not a preset"), ("", "''"), ("a\0.json", "null")]
    for name, says in [
        *cases,
        (tmp_path / "folder.json", "directory"),
        (tmp_path / "no.json", "No such file"),
    ]:
        with pytest.raises(InputError) as caught:
            find_preset(name)
        one_line(caught.value, says)


def test_presets_that_are_right(tmp_path: Path) -> None:
    (tmp_path / "own-clip").mkdir()
    (tmp_path / "own-bank").mkdir()
    path = tmp_path / "mine.json"
    mine = {
        "base": "miniature",
        "clip": "own-clip",
        "dense": {"id": "a/b", "revision": "c"},
        "bank": "own-bank",
        "segment": {"k": 3, "superpixels": {"min_size": 9}},
    }
    path.write_text(json.dumps(mine), encoding="utf-8-sig")  # as some editors write it
    found, base = find_preset(path), find_preset("miniature")
    assert found.name == "mine" and found.clip.id == str(tmp_path / "own-clip")
    assert found.bank == str(tmp_path / "own-bank") and found.dense == ModelSource("a/b", "c")
    assert found.segment.k == 3 and found.segment.superpixels.min_size == 9
    assert found.segment.superpixels.scale == base.segment.superpixels.scale
    assert found.segment.window == base.segment.window and found.clip_size is None  # the model's own


# --- weights


def rewrite(name: str, data: bytes | None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        if data is not None:
            (folder / name).write_bytes(data)

    return damage


def halve(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def widen(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.get("text_config", config)["hidden_size"] = 32
    (folder / "config.json").write_text(json.dumps(config))


def pickle_instead(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def spoil(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    spoilt = {name: np.full_like(value, np.nan) for name, value in weights.items()}
    save_file(spoilt, folder / "model.safetensors", metadata={"format": "pt"})


WEIGHTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (halve, "model.safetensors is damaged"),
    "empty": (rewrite("model.safetensors", b""), "it is empty"),
    "garbage": (rewrite("model.safetensors", b"\xff" * 999), "header too large"),
    "missing": (rewrite("model.safetensors", None), "it lacks model.safetensors"),
    "pickled": (pickle_instead, ".bin file holds something else than tensors, or is damaged"),
    "damaged config": (rewrite("config.json", b"{"), "config.json is damaged"),
    "another config": (widen, "weights and config.json do not fit"),
}


@pytest.mark.parametrize("part", ["clip", "dense"])
@pytest.mark.parametrize("case", WEIGHTS)
def test_damaged_weights(tmp_path: Path, tiny_preset: Preset, part: str, case: str) -> None:
    folder = tmp_path / "own-model"
    shutil.copytree(getattr(tiny_preset, part).id, folder)
    damage, says = WEIGHTS[case]
    damage(folder)
    with pytest.raises(ModelError) as caught:
        load_encoders(replace(tiny_preset, **{part: ModelSource(str(folder))}), device="cpu")
    one_line(caught.value, str(folder), says)


def test_weights_of_nan(tmp_path: Path, tiny_preset: Preset) -> None:
    shutil.copytree(tiny_preset.clip.id, tmp_path / "clip")
    spoil(tmp_path / "clip")
    with pytest.raises(ModelError, match="text model gave NaN or infinity"):
        load_encoders(replace(tiny_preset, clip=ModelSource(str(tmp_path / "clip"))), device="cpu")


def test_models_in_each_others_place(tiny_preset: Preset) -> None:
    swapped = replace(tiny_preset, dense=tiny_preset.clip)
    for use in (lambda: load_encoders(swapped, device="cpu"), lambda: model_identity(swapped)):
        with pytest.raises(ModelError, match="type clip, which has no patch features, expected a DINOv2"):
            use()
    swapped = replace(tiny_preset, clip=tiny_preset.dense)
    with pytest.raises(ModelError, match=r"CLIP: .* lacks tokenizer\.json"):
        load_encoders(swapped, device="cpu")
    with pytest.raises(ModelError, match="not a CLIP"):
        model_identity(swapped)


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "lacks tokenizer.json"), (b"{", "tokenizer.json is damaged"), (b"{}", "CLIP tokenizer: ")],
)
def test_damaged_tokenizers(tmp_path: Path, tiny_preset: Preset, content: bytes | None, says: str) -> None:
    shutil.copytree(tiny_preset.clip.id, tmp_path / "clip")
    rewrite("tokenizer.json", content)(tmp_path / "clip")
    with pytest.raises(ModelError, match=says):
        load_encoders(replace(tiny_preset, clip=ModelSource(str(tmp_path / "clip"))), device="cpu")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("/nowhere/model", "there is no folder"),
        ("two words", "there is no folder"),
        ("a\0b", r"there is no folder a\x00b"),
        ("x" * 5000, "there is no folder"),
        ("~nobody-at-all/model", "there is no folder"),
        ("no/such-model", "not in the local cache"),
    ],
)
def test_models_that_are_nowhere(tiny_preset: Preset, name: str, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_encoders(replace(tiny_preset, clip=ModelSource(name)), device="cpu")
    one_line(caught.value, says)
    assert isinstance(identity_id(ModelSource(name), "mine"), str)


# --- banks

KEYS, PROTOTYPES, SHARD = "keys.npy", "prototypes.npy", "shards/00000.parquet"


def about(**changes: Any) -> Callable[[Path], None]:
    """bank.json with some entries changed; a callable value makes the new one of the old."""

    def damage(folder: Path) -> None:
        meta = json.loads((folder / "bank.json").read_text())
        del meta["digest"]
        for name, value in changes.items():
            meta[name] = value(meta[name]) if callable(value) else value
        (folder / "bank.json").write_text(json.dumps(meta))

    return damage


def array(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found = np.load(folder / name, allow_pickle=False)
        np.save(folder / name, change(found.copy()), allow_pickle=True)

    return damage


def of_shards(**changes: Any) -> Callable[[Path], None]:
    return about(shards=lambda old: [{**old[0], **changes}, *old[1:]])


def holes(value: float) -> Callable[[Any], Any]:
    def change(rows: Any) -> Any:
        rows[::2, 0] = value
        return rows

    return change


def folder_instead(folder: Path) -> None:
    (folder / SHARD).unlink()
    (folder / SHARD).mkdir()


def loop_instead(folder: Path) -> None:
    shutil.rmtree(folder / "shards")
    (folder / "shards").symlink_to(folder / "shards")


BANKS: dict[str, tuple[Callable[[Path], None], str | None]] = {
    "whole": (lambda folder: None, None),
    # arrays are a copy of the shards' columns, and are made again
    "no keys": (rewrite(KEYS, None), None),
    "cut keys": (rewrite(KEYS, b"\x93NUMPY\x01\0"), None),
    "empty prototypes": (rewrite(PROTOTYPES, b""), None),
    "garbage prototypes": (rewrite(PROTOTYPES, b"\xff" * 500), None),
    "pickled keys": (array(KEYS, lambda rows: np.array([{}], object)), None),
    "keys of another kind": (array(KEYS, lambda rows: rows.astype(np.float32)), None),
    "keys of another number": (array(KEYS, lambda rows: rows[:-1]), None),
    # rows that are not finite are left out, while others remain
    "some keys NaN": (array(KEYS, holes(np.nan)), None),
    "some keys infinite": (array(KEYS, holes(np.inf)), None),
    "some prototypes NaN": (array(PROTOTYPES, holes(np.nan)), None),
    "all keys NaN": (array(KEYS, lambda rows: rows * np.nan), "finite"),
    "all prototypes infinite": (array(PROTOTYPES, lambda rows: rows + np.inf), "finite"),
    # shards
    "no shard": (rewrite(SHARD, None), "00000.parquet is missing"),
    "cut shard": (rewrite(SHARD, b"PAR1"), "00000.parquet has 4 bytes"),
    "a folder as shard": (folder_instead, "is missing"),
    "a loop": (loop_instead, "is missing"),
    # bank.json
    "no bank.json": (rewrite("bank.json", None), "half-written"),
    "empty bank.json": (rewrite("bank.json", b""), "damaged or unreadable"),
    "bank.json in UTF-16": (rewrite("bank.json", "{}".encode("utf-16")), "damaged or unreadable"),
    "a list": (rewrite("bank.json", b"[]"), "not the description of a bank"),
    "another format": (about(format="x"), "not the description of a bank"),
    "another version": (about(version=99), "version 99"),
    "no models": (about(models=None), "damaged"),
    "a text as count": (about(pairs="40"), "damaged"),
    "null as count": (about(captions=None), "damaged"),
    "a wrong count": (about(pairs=41), "counts do not add up"),
    "no width": (about(dimensions={"key": 0, "prototype": 24}), "damaged"),
    "half a width": (about(dimensions={"key": 20.5, "prototype": 24}), "damaged"),
    "another width": (about(dimensions={"key": 10, "prototype": 24}), "not 10 wide"),
    "no shards": (about(shards=[], pairs=0), "no pairs"),
    "null as shards": (about(shards=None), "damaged"),
    "a number as shard": (about(shards=[1]), "damaged"),
    "a shard elsewhere": (of_shards(file="../bank/shards/00000.parquet"), "damaged"),
    "a shard twice": (about(shards=lambda old: [old[0], old[0]]), "damaged"),
    "a text as shard's count": (of_shards(pairs="20"), "damaged"),
    "fewer than nothing": (of_shards(rejected={"too small": -1}), "damaged"),
    "no reason": (of_shards(rejected=3), "damaged"),
    "fewer failed than none": (of_shards(failed=-1), "damaged"),
}


@pytest.mark.parametrize("case", BANKS)
def test_damaged_banks(
    tmp_path: Path, tiny_bank: Path, tiny_encoders: Any, tiny_model: Any, case: str
) -> None:
    folder = tmp_path / "bank"
    shutil.copytree(tiny_bank, folder)
    damage, says = BANKS[case]
    damage(folder)
    embed, options = WordEmbedder(tiny_encoders.clip), tiny_model.options.with_changes(k=30)

    def use() -> Any:
        bank = Bank.open(folder)
        bank.check_models(tiny_encoders.identity)
        return build_vocabulary(embed, bank, WORDS, options)

    if says is None:
        found, whole = use(), build_vocabulary(embed, Bank.open(tiny_bank), WORDS, options)
        assert np.isfinite(found.prototypes).all()
        if not case.startswith("some"):
            np.testing.assert_array_equal(found.prototypes, whole.prototypes)
        return
    with pytest.raises(BankError) as caught:
        use()
    one_line(caught.value, says)


def test_rows_that_are_not_finite_are_left_out(tmp_path: Path, tiny_bank: Path, tiny_encoders: Any) -> None:
    """K larger than the bank takes every usable row, and no other."""
    from freeda.options import SegmentOptions

    folder = tmp_path / "bank"
    shutil.copytree(tiny_bank, folder)
    array(KEYS, holes(np.nan))(folder)
    array(PROTOTYPES, lambda rows: np.where(np.arange(len(rows))[:, None] == 1, np.inf, rows))(folder)
    rows = np.load(folder / PROTOTYPES, allow_pickle=False).astype(float)
    good = [rows[i] for i in range(len(rows)) if i % 2 == 1 and i != 1]
    embed = WordEmbedder(tiny_encoders.clip)
    found = build_vocabulary(embed, Bank.open(folder), ["cat"], SegmentOptions(k=10_000))
    np.testing.assert_allclose(found.prototypes[0], np.mean(good, axis=0), atol=1e-5)


def test_what_is_no_bank(tmp_path: Path, tiny_model: Any, tiny_preset: Preset) -> None:
    from freeda.model import FreeDA

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    Image.new("L", (2, 2)).save(tmp_path / "file.png")
    for place in (tmp_path / "none", tmp_path / "file.png", tmp_path, loop, "a\0b", "x" * 5000):
        with pytest.raises(BankError) as caught:
            Bank.open(place)
        one_line(caught.value)
        if "\0" not in str(place):
            refused(run("bank", "info", place))
    with pytest.raises(InputError, match="bank is 3"):
        FreeDA(tiny_preset, tiny_model.encoders, 3)  # type: ignore[arg-type]
    assert issubclass(BankError, FreedaError)
