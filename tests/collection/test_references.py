"""References from annotated pictures: what is in their rows, which are chosen, what they are added to."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from freeda.bank import Bank
from freeda.bank.clean import Rules, clean
from freeda.bank.format import shard_name
from freeda.bank.layered import LayeredBank
from freeda.bank.merge import merge
from freeda.bank.verify import find_damage
from freeda.collection.job import collect
from freeda.collection.pairs import NounKeys
from freeda.errors import BankError, InputError
from freeda.images import read_image
from freeda.model import FreeDA
from freeda.options import SegmentOptions
from freeda.presets import Preset
from freeda.references import add as references
from freeda.references.add import add_images, reference_options
from freeda.references.annotated import open_folder
from freeda.references.extract import Taker, _resized, choose, why_not
from freeda.segment.prototypes import retrieve
from freeda.segment.windows import resize_image

NAMES = {"1": "cat", "2": "dog", "3": "boat"}


def annotate(folder: Path, n: int = 6, seed: int = 0, size: tuple[int, int] = (40, 64)) -> Path:
    """n pictures; each has the classes 1 and 2 or 1 and 3 in its halves, and a rim of nothing."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        values = np.full(size, 1, np.uint8)
        values[:, size[1] // 2 :] = 2 + i % 2
        values[:3] = 0
        Image.fromarray(values).save(folder / "masks" / f"{i}.png")
    (folder / "names.json").write_text(json.dumps(NAMES))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return annotate(tmp_path / "annotated")


@pytest.fixture
def add(folder: Path, tiny_preset: Preset, tiny_encoders: Any) -> Any:
    def call(out: Path, source: Path = folder, **more: Any) -> Any:
        return add_images(source, out, tiny_preset, encoders=tiny_encoders, **more)

    return call


def slow_prototype(encoders: Any, image: Any, mask: Any, side: int, stride: int) -> Any:
    """Mean over windows and patches of the features, each by the mask sampled bilinearly at its corner."""
    height, width = image.shape[:2]
    total, weight = np.zeros(encoders.dense.dim), 0.0
    ys = [*range(0, max(height - side, 0), stride), max(height - side, 0)]
    xs = [*range(0, max(width - side, 0), stride), max(width - side, 0)]
    for y0 in ys:
        for x0 in xs:
            crop = image[y0 : y0 + side, x0 : x0 + side]
            inside = mask[y0 : y0 + side, x0 : x0 + side]
            pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
            features = encoders.dense.encode(pixels)[0].numpy()
            rows, columns = features.shape[:2]
            h, w = inside.shape
            for i in range(rows):
                for j in range(columns):
                    y, x = i * (h - 1) / (rows - 1), j * (w - 1) / (columns - 1)
                    share = 0.0
                    for v in range(h):
                        for u in range(w):
                            near = max(0, 1 - abs(v - y)) * max(0, 1 - abs(u - x))
                            share += near * bool(inside[v, u])
                    total += share * features[i, j]
                    weight += share
    return total / weight


@pytest.mark.parametrize(("size", "windows"), [((48, 48), 1), ((48, 80), 3), ((30, 45), 2)])
def test_a_row_by_its_definition(
    tmp_path: Path, tiny_preset: Preset, tiny_encoders: Any, size: tuple[int, int], windows: int
) -> None:
    annotate(tmp_path / "a", 1, 3, size)
    added = add_images(tmp_path / "a", tmp_path / "bank", tiny_preset, encoders=tiny_encoders)
    assert added.taken == {"cat": 1, "dog": 1} and added.pictures == 1
    image = read_image(tmp_path / "a" / "images" / "0.png")
    values = np.asarray(Image.open(tmp_path / "a" / "masks" / "0.png"))
    scale = 48 / min(size)
    working = resize_image(image, (int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)))
    assert len(range(0, working.shape[1] - 48, 24)) + 1 == windows
    key = NounKeys(tiny_encoders.clip, tiny_preset.collect).noun("dog")
    assert key is not None
    row = added.bank.row(1)
    big = np.array(
        [
            [values[int((y + 0.5) * size[0] / working.shape[0]), int((x + 0.5) * size[1] / working.shape[1])]
             for x in range(working.shape[1])]
            for y in range(working.shape[0])
        ]
    )  # fmt: skip
    expected = slow_prototype(tiny_encoders, working, big == 2, 48, 24)
    np.testing.assert_allclose(row["prototype"].astype(np.float64), expected, atol=3e-3, rtol=3e-3)
    np.testing.assert_allclose(row["key"].astype(np.float32), key, atol=1e-3)
    assert row["area"] == pytest.approx((values == 2).mean()) and row["contrast"] == 1
    assert (row["noun"], row["caption"], row["spans"], row["seed"]) == ("dog", "0.png", (), 0)
    assert row["caption_id"].startswith("image:0.png@") and row["caption_id"].endswith("#dog")
    seen = tiny_encoders.clip.encode_image(torch.from_numpy(working).permute(2, 0, 1)[None].float() / 255)
    assert row["agreement"] == pytest.approx(float(seen[0].numpy() @ key), abs=1e-5)
    assert row["image"] is None and row["mask"] is None


def test_resized_masks() -> None:
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    for size in ((7, 5), (3, 9), (20, 4)):
        found = _resized(mask, size)
        for y in range(size[0]):
            for x in range(size[1]):
                assert found[y, x] == mask[int((y + 0.5) * 7 / size[0]), int((x + 0.5) * 5 / size[1])]


def test_a_bank_of_pictures(add: Any, tmp_path: Path, tiny_encoders: Any) -> None:
    added = add(tmp_path / "bank")
    assert added.taken == {"cat": 6, "dog": 3, "boat": 3} and len(added.bank) == 12
    assert added.bank.meta["references"] == {"pictures": 6, "pairs": 12}
    assert len(added.bank.meta["shards"]) == 2  # six pictures, three a shard
    assert not list(find_damage(tmp_path / "bank"))
    assert added.bank.real.tolist() == list(range(12))
    added.bank.check_models(tiny_encoders.identity)
    kept = add(tmp_path / "kept", options=replace(reference_options(_collect()), keep_images=True)).bank.row(
        3
    )
    assert kept["image"].startswith(b"\xff\xd8") and kept["mask"].startswith(b"\x89PNG")


def _collect() -> Any:
    from freeda.options import CollectOptions

    return CollectOptions(shard_size=3)


def test_the_same_twice_adds_nothing_wherever_it_lies(add: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bank"
    add(out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    shutil.copytree(folder, tmp_path / "copy")
    for source in (folder, tmp_path / "copy"):
        again = add(out, source)
        assert (again.taken, again.there, len(again.bank)) == ({}, 12, 12)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    # Another picture of the same name is another reference.
    annotate(tmp_path / "other", 2, seed=9)
    more = add(out, tmp_path / "other")
    assert (sum(more.taken.values()), more.there, len(more.bank)) == (4, 0, 16)
    ids = [more.bank.row(i)["caption_id"] for i in range(16)]
    assert len(set(ids)) == 16 and more.bank.meta["references"] == {"pictures": 8, "pairs": 16}


def test_added_to_a_generated_bank(add: Any, tmp_path: Path, tiny_preset: Preset, tiny_models: Any) -> None:
    out = tmp_path / "bank"
    loose = replace(tiny_preset, collect=replace(tiny_preset.collect, min_area=0.0, max_area=1.0))
    generated = collect(["a dog on the grass", "a boat"], out, loose, "cpu", models=tiny_models)
    n, keys, prototypes = len(generated), np.array(generated.keys), np.array(generated.prototypes)
    shard = (out / shard_name(0)).read_bytes()
    mixed = add(out).bank
    assert len(mixed) == n + 12 and mixed.nouns[:n] == generated.nouns and mixed.nouns[n:].count("cat") == 6
    assert np.array_equal(mixed.keys[:n], keys) and np.array_equal(mixed.prototypes[:n], prototypes)
    assert (out / shard_name(0)).read_bytes() == shard and not list(find_damage(out))
    for name in ("models", "options", "seed", "preset"):
        assert mixed.meta[name] == generated.meta[name]
    boat = NounKeys(tiny_models.encoders.clip, tiny_preset.collect).noun("boat")
    assert boat is not None
    _, rows = mixed.search(boat[None], 4)
    assert {mixed.nouns[r] for r in rows[0]} == {"boat"}
    # They are known as such behind generated rows, in a merged, a cleaned and a layered bank.
    few = clean(out, tmp_path / "clean", Rules(per_noun=2, choose="random")).bank
    both, two = merge([out, few.path], tmp_path / "both").bank, LayeredBank([mixed, few])
    for bank, first in (mixed, n), (both, n), (few, few.nouns.index("cat")), (two, n):
        real = [bank.row(int(i))["caption_id"].startswith("image:") for i in range(len(bank))]
        assert bank.real.tolist() == np.flatnonzero(real).tolist() and bank.real[0] == first
    assert (
        mixed.only(["boat"]).real.tolist()
        == np.flatnonzero([row >= n for row in mixed.nouns.rows_of(["boat"])]).tolist()
    )
    assert generated.real.tolist() == []
    (found,) = retrieve(mixed, boat[None], SegmentOptions(k=2))
    assert found.real.sum() == 2 and found.real[:2].all() and {mixed.nouns[r] for r in found.rows} == {"boat"}
    preset = replace(tiny_preset, segment=SegmentOptions(k=350, templates=tiny_preset.segment.templates))
    (known,) = FreeDA(preset, tiny_models.encoders, mixed).coverage(["boat"])
    assert not known.poor and known.near == known.retrieved and known.most[0][0] == "boat"
    with pytest.raises(BankError, match="more than the captions"):
        collect(["a dog on the grass", "a boat"], out, loose, "cpu", models=tiny_models)


def test_shots(add: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bank"
    assert add(out, shots=2).taken == {"cat": 2, "dog": 2, "boat": 2}
    assert add(out, shots=2).taken == {}
    assert add(out, shots=3).taken == {"cat": 1, "dog": 1, "boat": 1}
    assert Counter(Bank.open(out).nouns) == {"cat": 3, "dog": 3, "boat": 3}
    opened, options = open_folder(folder), reference_options(_collect())

    def chosen(seed: int) -> list[tuple[str, tuple[str, ...]]]:
        return [(c.picture.name, c.words) for c in choose(opened, options, shots=1, seed=seed).chosen]

    assert chosen(0) == chosen(0) == sorted(chosen(0))
    assert len({tuple(chosen(seed)) for seed in range(8)}) > 1
    with pytest.raises(InputError, match="shots is 0"):
        add(out, shots=0)


def test_masks_that_give_none(add: Any, folder: Path, tmp_path: Path) -> None:
    values = np.zeros((40, 64), np.uint8)
    values[20, 30] = 1  # one pixel of 2560
    Image.fromarray(values).save(folder / "masks" / "0.png")
    (folder / "masks" / "cat").mkdir()
    (folder / "masks" / "1.png").unlink()
    Image.fromarray(values * 0).save(folder / "masks" / "cat" / "1.png")
    added = add(tmp_path / "bank")
    assert added.rejected == {"too small": 1, "empty mask": 1} and added.taken == {
        "cat": 4,
        "dog": 2,
        "boat": 2,
    }
    loose = replace(reference_options(_collect()), min_area=0.0)
    assert add(tmp_path / "loose", options=loose).rejected == {"off grid": 1, "empty mask": 1}
    strict = replace(reference_options(_collect()), min_agreement=1.0)
    with pytest.raises(InputError, match=r"gives no reference: of its masks 8 low agreement, 1 \w+ \w+, 1 "):
        add(tmp_path / "strict", options=strict)
    with pytest.raises(BankError, match=r"no bank\.json"):
        Bank.open(tmp_path / "strict")


def test_a_mask_of_the_whole_picture_has_no_contrast(add: Any, folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 64), 1, np.uint8)).save(folder / "masks" / "0.png")
    bank = add(tmp_path / "bank").bank
    rows = {(row["caption"], row["noun"]): row for row in map(bank.row, range(len(bank)))}
    assert rows["0.png", "cat"]["contrast"] == 0 and rows["0.png", "cat"]["area"] == 1
    assert rows["1.png", "cat"]["contrast"] == 1 and rows["1.png", "cat"]["area"] < 1


def test_features_that_float16_cannot_hold(
    add: Any, tmp_path: Path, tiny_encoders: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tiny_encoders.dense.encode
    monkeypatch.setattr(tiny_encoders.dense, "encode", lambda x: real(x) * 1e9)
    with pytest.raises(InputError, match="gives no reference: of its masks 12 not finite"):
        add(tmp_path / "bank")


def test_areas_that_give_a_reference() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    for limits, reason in (
        ({"min_area": 0.25}, None),
        ({"max_area": 0.25}, None),
        ({"min_area": 0.26}, "too small"),
        ({"max_area": 0.24}, "too large"),
    ):
        assert why_not(mask, replace(reference_options(_collect()), **limits)) == reason
    assert why_not(mask, reference_options(_collect())) is None
    assert why_not(mask | True, reference_options(_collect())) is None  # a true mask may fill its picture


def test_bad_masks_are_told_before_anything_is_written(add: Any, folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 64), 9, np.uint8)).save(folder / "masks" / "5.png")
    with pytest.raises(InputError, match=r"5\.png: holds value 9"):
        add(tmp_path / "bank")
    assert not (tmp_path / "bank").exists()


def test_a_name_that_clip_cannot_read(add: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "names.json").write_text(json.dumps({**NAMES, "3": "x y " * 20}))
    with pytest.raises(InputError, match="cannot be read by CLIP"):
        add(tmp_path / "bank")
    assert not list((tmp_path / "bank").rglob("*.parquet"))


@pytest.mark.parametrize("onto", [False, True])
def test_a_stopped_run_goes_on(
    add: Any, tmp_path: Path, tiny_bank: Path, monkeypatch: pytest.MonkeyPatch, onto: bool
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "bank"
    if onto:
        for place in (whole, out):
            shutil.copytree(tiny_bank, place)
    add(whole)
    taken: list[str] = []
    real = Taker.rows

    def rows(self: Taker, chosen: Any, rejected: Any) -> Any:
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(chosen.picture.name)
        return real(self, chosen, rejected)

    monkeypatch.setattr(Taker, "rows", rows)
    with pytest.raises(KeyboardInterrupt):
        add(out)
    if onto:  # readers still have the bank as it was
        assert len(Bank.open(out)) == 40
    monkeypatch.setattr(Taker, "rows", lambda *a: taken.append(a[1].picture.name) or real(*a))
    taken.clear()
    add(out)
    assert taken == ["3.png", "4.png", "5.png"]  # the first shard was kept

    def files(place: Path) -> dict[str, bytes]:
        return {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}

    assert files(out) == files(whole) and not list(find_damage(out))


def test_shards_of_a_stopped_run_that_are_not_wanted_any_more(add: Any, tmp_path: Path) -> None:
    out = tmp_path / "bank"
    add(out)
    (out / "bank.json").unlink()  # as if it had been stopped at the very end
    added = add(out, shots=1)
    assert len(added.bank) == 3 and not list(find_damage(out))
    assert sorted(p.name for p in (out / "shards").iterdir()) == ["00000.parquet"]


def test_directories_that_are_refused(add: Any, tmp_path: Path, tiny_bank: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(tiny_bank, half)
    (half / "bank.json").unlink()
    with pytest.raises(BankError, match="half-written bank"):
        add(half)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("")
    with pytest.raises(BankError, match=r"todo\.txt"):
        add(tmp_path / "notes")
    (tmp_path / "file").write_text("")
    with pytest.raises(BankError, match="file"):
        add(tmp_path / "file")
    other = tmp_path / "other"
    shutil.copytree(tiny_bank, other)
    meta = json.loads((other / "bank.json").read_text())
    meta["models"]["dense_dim"] = 99
    del meta["digest"]
    (other / "bank.json").write_text(json.dumps(meta))
    with pytest.raises(BankError, match="99 wide"):
        add(other)


def test_another_run_was_faster(
    add: Any, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, calls = tmp_path / "bank", references.choose, []

    def slow(*a: Any, **k: Any) -> Any:
        made = real(*a, **k)
        if not calls:
            calls.append(1)
            add(out)
        return made

    monkeypatch.setattr(references, "choose", slow)
    with pytest.raises(BankError, match="another run has just added"):
        add(out)
    assert len(Bank.open(out)) == 12
