"""Region values of photographs without labels: their rows by the definition, each file once, resumable."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import refused, run, write_preset
from freeda.bank import Bank
from freeda.bank.hub import bank_card
from freeda.bank.merge import merge
from freeda.bank.verify import find_damage
from freeda.collection.job import collect
from freeda.encoders import Encoders, load_encoders
from freeda.errors import BankError, InputError
from freeda.images import read_image
from freeda.options import DenseClip
from freeda.presets import Preset
from freeda.references import photographs
from freeda.references.photographs import add_regions
from freeda.segment.regions import superpixels
from freeda.segment.windows import resize_image, working_size
from freeda.show import write_image

from .fakes import OPTIONS, PRESET, captions, fake_models
from .test_regions import plain_rows


@pytest.fixture(scope="module")
def preset(tiny_preset: Preset) -> Preset:
    view = tiny_preset.segment.with_changes(short_side=40, window=None)
    return replace(tiny_preset, segment=view, collect=replace(tiny_preset.collect, shard_size=2))


@pytest.fixture(scope="module")
def encoders(preset: Preset) -> Encoders:
    return load_encoders(preset, "cpu")


def photos(folder: Path, n: int, first: int = 0) -> Path:
    """Pictures of coarse noise, which have regions of several patches; one in a folder below."""
    folder.mkdir(exist_ok=True)
    for i in range(first, first + n):
        noise = np.random.default_rng(i).integers(0, 256, (5, 6 + i % 2, 3), dtype=np.uint8)
        place = folder / "below" if i == first else folder
        place.mkdir(exist_ok=True)
        write_image(place / f"{i}.png", noise.repeat(9, 0).repeat(9, 1))
    return folder


def files(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_rows_of_a_photograph_by_the_definition(tmp_path: Path, preset: Preset, encoders: Encoders) -> None:
    """One window: where patches are sampled in a region, its row is their mean, as in drawn pictures."""
    folder = photos(tmp_path / "in", 2)
    added = add_regions(folder, tmp_path / "out", preset, encoders=encoders)
    assert added.pictures == 2 and added.there == 0 and not added.failed
    bank = added.bank.regions
    assert bank is not None and len(bank) == added.rows and bank.meta["photographs"] == 2
    rows, matched = [bank.row(i) for i in range(len(bank))], 0
    for path in (folder / "1.png", folder / "below" / "0.png"):
        image = read_image(path)
        working = resize_image(image, working_size(*image.shape[:2], preset.segment))
        regions = superpixels(working, preset.segment.superpixels)
        x = torch.from_numpy(working).permute(2, 0, 1)[None].float() / 255
        features = encoders.patches(x)
        joint = encoders.joint(x, features, [regions], preset.segment.dense_clip)[1]
        expected = plain_rows(features[0].numpy(), joint[0].numpy(), regions, [])
        mine = [row for row in rows if row["caption"] == path.relative_to(folder).as_posix()]
        assert len(mine) == regions.max() + 1
        for r, (prototype, _, noun, _) in expected.items():
            row = mine[r]
            np.testing.assert_allclose(np.float64(row["prototype"]), prototype, atol=2e-3)
            assert row["area"] == pytest.approx((regions == r).mean()) and row["noun"] == noun == ""
            matched += 1
        # Values are means of unit vectors, as a region's feature is when a photograph is labelled.
        values = np.stack([np.float64(row["key"]) for row in mine])
        own = np.stack([expected[r][1] for r in sorted(expected)])
        assert (np.einsum("ij,ij->i", values[sorted(expected)], own) > 0.99).all()
    assert matched > 10


def test_each_file_once_and_what_cannot_be_read_is_told(
    tmp_path: Path, preset: Preset, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = photos(tmp_path / "in", 3), tmp_path / "out"
    shutil.copy(folder / "1.png", folder / "again.png")
    (folder / "broken.png").write_text("no picture")
    added = add_regions(folder, out, preset, encoders=encoders)
    assert (added.pictures, added.there) == (3, 1) and list(added.failed) == [folder / "broken.png"]
    assert added.bank.regions is not None
    infos = added.bank.regions.meta
    assert (infos["captions"], infos["pictures"], infos["failed"], len(infos["shards"])) == (4, 3, 1, 2)
    before, rows = files(out), len(added.bank.regions)
    again = add_regions(folder, out, preset, encoders=encoders)  # the broken one is tried again
    assert (again.rows, again.there) == (0, 4) and list(again.failed) and files(out) == before
    photos(folder, 2, first=7)
    more = add_regions(folder, out, preset, encoders=encoders)
    assert more.pictures == 2 and more.bank.regions is not None
    assert len(more.bank.regions) == rows + more.rows and more.bank.regions.meta["photographs"] == 5
    assert files(out)["regions/shards/00000.parquet"] == before["regions/shards/00000.parquet"]
    assert not list(find_damage(out))
    # Without new files no model is loaded.
    (folder / "broken.png").unlink()
    monkeypatch.setattr(photographs, "load_encoders", None)
    assert add_regions(folder, out, preset).rows == 0
    # Other rules of values cannot be mixed, other models neither.
    other = replace(preset, segment=preset.segment.with_changes(dense_clip=DenseClip(sharpness=2.0)))
    with pytest.raises(BankError, match=r"another rule \(dense_clip.sharpness was 4.0, now 2.0\)"):
        add_regions(folder, out, other, encoders=encoders)
    with pytest.raises(BankError, match="built with"):
        add_regions(folder, out, preset, encoders=fake_models().encoders)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_text("none")
    with pytest.raises(InputError, match="gives no region"):
        add_regions(bad, tmp_path / "new", preset, encoders=encoders)


def test_a_stopped_run_goes_on(
    tmp_path: Path, preset: Preset, encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(tmp_path / "in", 5)
    whole = add_regions(folder, tmp_path / "whole", preset, encoders=encoders)
    real, made = photographs.write_shard, list[Path]()

    def dying(path: Path, *given: Any) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path)
        real(path, *given)

    monkeypatch.setattr(photographs, "write_shard", dying)
    with pytest.raises(KeyboardInterrupt):
        add_regions(folder, tmp_path / "out", preset, encoders=encoders)
    assert not (tmp_path / "out" / "bank.json").exists()
    (tmp_path / "out" / "regions" / "shards" / ".00002.parquet.x.tmp").write_bytes(b"half")
    monkeypatch.setattr(
        photographs, "write_shard", lambda path, *given: (made.append(path), real(path, *given))
    )
    again = add_regions(folder, tmp_path / "out", preset, encoders=encoders)
    assert len(made) == 3 and (again.rows, again.pictures) == (whole.rows, 5)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_bank_without_pairs_is_one(tmp_path: Path, preset: Preset, encoders: Encoders) -> None:
    bank = add_regions(photos(tmp_path / "in", 2), tmp_path / "a", preset, encoders=encoders).bank
    assert len(bank) == 0 and bank.regions is not None and bank.keys.shape == (0, 20)
    assert list(bank.nouns) == [] and not list(find_damage(bank.path))
    assert "region values" in run("bank", "info", bank.path).stdout
    assert "| region values |" in bank_card(bank, "a/b")
    second = add_regions(photos(tmp_path / "other", 3, 1), tmp_path / "b", preset, encoders=encoders).bank
    done = merge([bank.path, second.path], tmp_path / "both")
    assert len(done.bank) == 0 and done.regions is not None and second.regions is not None
    assert done.regions.duplicates[0] == 0 < done.regions.duplicates[1]  # photograph 1 is in both
    assert len(done.regions.bank) == len(bank.regions) + len(second.regions) - done.regions.duplicates[1]
    more = add_regions(photos(tmp_path / "new", 1, 9), tmp_path / "both", preset, encoders=encoders)
    assert more.pictures == 1


def test_beside_pairs(tmp_path: Path) -> None:
    models, out = fake_models(), tmp_path / "bank"
    bank = collect(
        captions(4), out, PRESET, "cpu", options=replace(OPTIONS, region_values=True), models=models
    )
    before = files(out)
    assert bank.regions is not None
    view = replace(PRESET, segment=PRESET.segment.with_changes(short_side=16, window=16, stride=8))
    added = add_regions(photos(tmp_path / "in", 3), out, view, encoders=models.encoders)
    assert added.bank.regions is not None and len(added.bank.regions) == len(bank.regions) + added.rows
    after = files(out)
    assert {name for name in before if before[name] != after[name]} == {
        *(f"regions/{name}" for name in ("bank.json", "keys.npy", "prototypes.npy"))
    }
    with pytest.raises(BankError, match="holds more than the captions"):
        collect(captions(4), out, PRESET, "cpu", options=replace(OPTIONS, region_values=True), models=models)
    assert len(collect(captions(4), out, PRESET, "cpu", options=OPTIONS, models=models)) == len(bank)
    # What is half-written by another command is not gone on with.
    (out / "regions" / "bank.json").unlink()
    with pytest.raises(BankError, match="freeda collect"):
        add_regions(tmp_path / "in", out, view, encoders=models.encoders)


def test_on_the_command_line(tmp_path: Path, preset: Preset) -> None:
    folder, model = photos(tmp_path / "in", 2), write_preset(tmp_path, preset)
    command = ("bank", "add-images", folder, "--out", tmp_path / "out", "--model", model, "--regions")
    done = run(*command, "--keep-images", "--set", "batch_size=1")
    assert done.exit_code == 0 and "of 2 photographs" in done.stdout, done.output
    regions = Bank.open(tmp_path / "out").regions
    assert regions is not None and regions.row(3)["image"] is not None
    refused(run(*command, "--shots", 2), "--shots means nothing with --regions")
    refused(run(*command, "--set", "steps=3"), "steps")
    (folder / "x.png").write_text("no picture")
    done = run(*command)
    assert done.exit_code == 1 and "2 there already" in done.stdout and "x.png" in done.stderr


def test_a_presets_region_model_cuts_photographs(tmp_path: Path) -> None:
    """As it cuts those that are labelled."""
    from freeda.miniature.scenes import HELD_OUT, render

    (tmp_path / "photos").mkdir()
    for i in range(2):
        render(HELD_OUT, 40 + i).picture().save(tmp_path / "photos" / f"{i}.png")
    added = add_regions(tmp_path / "photos", tmp_path / "bank", "miniature-plus", "cpu")
    regions = added.bank.regions
    assert regions is not None and regions.meta["regions"]["by"] == "miniature-plus/regions"
    assert 4 <= len(regions) <= 12  # superpixels would be dozens
