"""Rows of regions: by plain loops, beside pairs that stay as they were; resuming, workers, refusals."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from commands import run, write_preset
from freeda.bank import Bank
from freeda.bank.verify import find_damage
from freeda.collection.captions import to_captions
from freeda.collection.job import collect
from freeda.collection.regions import region_rows
from freeda.collection.shard import CollectModels, make_shard
from freeda.errors import BankError, InputError
from freeda.options import Superpixels
from freeda.presets import Preset
from freeda.segment.regions import superpixels

from .fakes import DENSE, KEY, OPTIONS, PRESET, captions, fake_models

WITH = replace(OPTIONS, region_values=True)


def plain_rows(
    features: np.ndarray, joint: np.ndarray, regions: np.ndarray, nouns: list[tuple[str, np.ndarray]]
) -> dict[int, tuple[list[float], list[float], str, float]]:
    """Region -> prototype, key, noun, share of it in the noun's mask; by loops over every patch and pixel."""
    out = {}
    for r in range(int(regions.max()) + 1):
        mask = torch.from_numpy((regions == r).astype(np.float64))[None, None]
        weight = F.interpolate(mask, features.shape[:2], mode="bilinear", align_corners=True)[0, 0].numpy()
        sums = []
        for array in (features, joint):
            total = [0.0] * array.shape[2]
            for y in range(array.shape[0]):
                for x in range(array.shape[1]):
                    for d in range(array.shape[2]):
                        total[d] += float(weight[y, x]) * float(array[y, x, d])
            length = sum(t * t for t in total) ** 0.5
            sums.append([t / length if length else 0.0 for t in total])
        shares = [(noun, (mask & (regions == r)).sum() / (regions == r).sum()) for noun, mask in nouns]
        best, share = max(shares, key=lambda one: one[1], default=("", 0.0))
        if weight.sum() > 1e-5:
            out[r] = (*sums, best if share >= 0.5 else "", share if share >= 0.5 else 0.0)
    return out


@pytest.mark.parametrize(("size", "grid", "own"), [((16, 16), 4, 2), ((20, 31), 5, 5), ((9, 9), 3, 4)])
def test_rows_by_plain_loops(size: tuple[int, int], grid: int, own: int) -> None:
    from freeda.collection.regions import pool_both

    rng = np.random.default_rng(size[1])
    regions = superpixels(
        rng.integers(0, 256, (*size, 3), dtype=np.uint8), Superpixels(scale=1, sigma=0.5, min_size=4)
    )
    regions[:3, :3] = -1
    features = torch.from_numpy(rng.normal(size=(grid, grid, DENSE)).astype(np.float32))
    joint = torch.from_numpy(rng.normal(size=(grid, grid, KEY)).astype(np.float32))
    nouns = [("cat", rng.random(size) < 0.6), ("dog", regions < own), ("tree", regions < own)]
    rows = region_rows(
        *pool_both(features, joint, regions), regions, nouns, caption_id="1", caption="c", seed=3
    )
    expected = plain_rows(features.numpy(), joint.numpy(), regions, nouns)
    assert len(rows) == regions.max() + 1 and rows.count("off grid") == len(rows) - len(expected)
    for r, (prototype, key, noun, share) in expected.items():
        row: Any = rows[r]
        np.testing.assert_allclose(row.prototype.astype(np.float64), prototype, atol=1e-3)
        np.testing.assert_allclose(row.key.astype(np.float64), key, atol=1e-3)
        assert (row.noun, row.contrast) == (noun, pytest.approx(share))
        assert row.area == pytest.approx((regions == r).mean()) and row.spans == ()
    assert {row.noun for row in rows if not isinstance(row, str)} >= {"", "dog"}


def test_a_feature_without_a_direction_is_left_out() -> None:
    seen, values = np.ones((3, 4), np.float32), np.ones((3, 5), np.float32)
    seen[0, 0], values[1] = np.nan, 0
    rows = region_rows(seen, values, np.arange(3)[:, None].repeat(3, 1), caption_id="", caption="", seed=0)
    assert rows[:2] == ["not finite"] * 2 and not isinstance(rows[2], str)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    out = tmp_path_factory.mktemp("b") / "bank"
    options = replace(WITH, keep_images=True)
    return collect(captions(7), out, PRESET, "cpu", options=options, models=fake_models())


def test_both_banks_come_of_the_same_pictures(bank: Bank, tmp_path: Path) -> None:
    regions = bank.regions
    assert regions is not None and not list(find_damage(bank.path))
    assert len(regions) > len(bank) and regions.keys.shape[1] == KEY and regions.prototypes.shape[1] == DENSE
    for array in (regions.keys, regions.prototypes):
        np.testing.assert_allclose(np.linalg.norm(array.astype(np.float32), axis=1), 1, atol=2e-3)
    assert regions.meta["captions"] == regions.meta["pictures"] == 7 and regions.regions is None
    assert regions.meta["rejected"].keys() <= {"off grid", "not finite"}
    seeds = {bank.row(i)["caption_id"]: bank.row(i)["seed"] for i in range(len(bank))}
    models = fake_models()
    for i in range(0, len(regions), 7):
        row = regions.row(i)
        assert row["seed"] == seeds[row["caption_id"]]
        image, mask = Image.open(io.BytesIO(row["image"])), Image.open(io.BytesIO(row["mask"]))
        assert image.size == mask.size == (16, 16)
        assert np.asarray(mask).mean() == pytest.approx(row["area"])
        if row["noun"]:
            assert row["contrast"] >= 0.5 and row["noun"] in row["caption"]
            value = float(row["key"].astype(np.float32) @ models.keys.noun(row["noun"]))
            assert row["agreement"] == pytest.approx(value, abs=1e-3)
    assert {row["noun"] for row in map(regions.row, range(len(regions)))} > {"", "cat"}
    # The row itself is found by its direction, and its value lies beside it.
    queries = regions.prototypes[3:5].astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    assert regions.search(queries, 1, "prototype")[1].ravel().tolist() == [3, 4]
    # Pairs are what they are without, to the bit, but for what the settings say of nothing else.
    plain = collect(
        captions(7),
        tmp_path / "p",
        PRESET,
        "cpu",
        options=replace(OPTIONS, keep_images=True),
        models=fake_models(),
    )
    assert plain.regions is None
    for shard in bank.meta["shards"]:
        assert (bank.path / shard["file"]).read_bytes() == (plain.path / shard["file"]).read_bytes()
    assert (bank.path / "bank.json").read_bytes() == (plain.path / "bank.json").read_bytes()


def test_asked_for_later_they_are_added_and_kept_when_not(tmp_path: Path) -> None:
    given: Any = (captions(7), tmp_path, PRESET, "cpu")
    plain = collect(*given, options=OPTIONS, models=fake_models())
    pairs = (plain.path / "bank.json").read_bytes()
    with_regions = collect(*given, options=WITH, models=fake_models())
    assert with_regions.regions is not None and (plain.path / "bank.json").read_bytes() == pairs
    made = (tmp_path / "regions" / "bank.json").read_bytes()
    models = fake_models()
    assert len(collect(*given, options=OPTIONS, models=models)) and models.generator.drawn == []
    assert collect(*given, options=WITH, models=models).regions is not None and models.generator.drawn == []
    # One file of a shard lost: only that shard is drawn again, and all is as before.
    (tmp_path / "regions" / "shards" / "00001.parquet").unlink()
    collect(*given, options=WITH, models=models)
    assert len(models.generator.drawn) == 3 and (tmp_path / "regions" / "bank.json").read_bytes() == made
    assert not list(find_damage(tmp_path))
    longer = collect(captions(9), *given[1:], options=WITH, models=models)
    assert longer.regions is not None and longer.regions.meta["captions"] == 9
    other = replace(PRESET, segment=PRESET.segment.with_changes(superpixels=Superpixels(scale=2.0)))
    with pytest.raises(BankError, match=r"regions.superpixels.min_size was 4, now 20"):
        collect(captions(9), tmp_path, other, "cpu", options=WITH, models=models)
    none = replace(PRESET, segment=PRESET.segment.with_changes(superpixels=Superpixels(algorithm="none")))
    with pytest.raises(InputError, match="needs regions"):
        collect(captions(9), tmp_path / "n", none, "cpu", options=WITH, models=models)


class Halves:
    name, whole = "test/halves", True

    def __call__(self, image: Any) -> Any:
        return (np.arange(image.shape[0]) * 2 // image.shape[0])[:, None].repeat(image.shape[1], 1)


def test_another_source_of_regions_is_on_record(tmp_path: Path) -> None:
    models = replace(fake_models(), regions=Halves())
    bank = collect(captions(4), tmp_path, PRESET, "cpu", options=WITH, models=models)
    assert bank.regions is not None and len(bank.regions) == 8
    assert bank.regions.meta["regions"]["by"] == "test/halves"
    with pytest.raises(BankError, match=r"regions.by was .test/halves., now .superpixels."):
        collect(captions(4), tmp_path, PRESET, "cpu", options=WITH, models=fake_models())


def test_a_region_bank_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    collect(captions(4), tmp_path, PRESET, "cpu", options=WITH, models=fake_models())
    (tmp_path / "regions" / "bank.json").unlink()
    with pytest.raises(BankError, match="half-written"):
        assert Bank.open(tmp_path).regions is None


def test_the_batch_size_changes_rounding_only(
    tiny_preset: Preset, tiny_models: CollectModels, captions: list[str]
) -> None:
    made = []
    for size in (1, 3):
        options = replace(tiny_preset.collect, region_values=True, batch_size=size)
        made.append(make_shard(to_captions(captions[:4]), tiny_models, options))
    one, other = (m.regions for m in made)
    assert len(one) == len(other) == made[0].tally.regions > 10
    assert made[0].tally.left_out == made[1].tally.left_out
    for a, b in zip(one, other, strict=True):
        assert (a.caption_id, a.noun) == (b.caption_id, b.noun)
        np.testing.assert_allclose(np.float32(a.prototype), np.float32(b.prototype), atol=5e-3)
        np.testing.assert_allclose(np.float32(a.key), np.float32(b.key), atol=5e-3)


@pytest.mark.slow
def test_workers_and_the_command_line(
    tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels, captions: list[str]
) -> None:
    preset, text = write_preset(tmp_path, tiny_preset), tmp_path / "captions.txt"
    text.write_text("\n".join(captions))
    command = ("collect", text, "--model", preset, "--device", "cpu", "--region-values")
    done = run(*command, "--workers", 2, "--out", tmp_path / "a")
    many = Bank.open(tmp_path / "a").regions
    options = replace(tiny_preset.collect, region_values=True)
    one = collect(text, tmp_path / "b", tiny_preset, "cpu", options=options, models=tiny_models).regions
    assert many is not None and one is not None and len(many) == len(one) > 0
    assert many.meta["rejected"] == one.meta["rejected"] and list(many.nouns) == list(one.nouns)
    np.testing.assert_allclose(np.float32(many.keys), np.float32(one.keys), atol=5e-3)
    assert f"{len(many):,} regions" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert sum(line["regions"] for line in lines) == len(many)
