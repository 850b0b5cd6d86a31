"""Collecting: rows, resuming, refusing, independence of the batch size."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from freeda.bank import Bank
from freeda.collection import job, runner
from freeda.collection.captions import to_captions
from freeda.collection.generator import picture_seed
from freeda.collection.job import collect
from freeda.collection.shard import CollectModels, make_shard
from freeda.errors import BankError, InputError, ModelError
from freeda.presets import ModelSource, Preset


def files(path: Path) -> dict[str, bytes]:
    """All files of a bank but its log, which tells of times."""
    found = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name != "log.jsonl"]
    return {str(p.relative_to(path)): p.read_bytes() for p in found}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    """Caption -> picture and words of the run that makes `bank`: drawn again, in other batches, they would be
    rounded otherwise, and a pixel or two would change sides."""
    return {}


@pytest.fixture(scope="module")
def bank(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_preset: Preset,
    tiny_models: CollectModels,
    drawn: dict[str, Any],
) -> Bank:
    from .conftest import CAPTIONS

    options = replace(tiny_preset.collect, keep_images=True)
    return collect(
        CAPTIONS,
        tmp_path_factory.mktemp("bank") / "b",
        tiny_preset,
        "cpu",
        options=options,
        models=tiny_models,
        on_picture=lambda c, image, words: drawn.update({c.id: (image, words)}),
    )


def test_what_a_bank_holds(bank: Bank, tiny_preset: Preset, captions: list[str]) -> None:
    assert len(bank) == len(bank.nouns) == bank.keys.shape[0] == bank.prototypes.shape[0] > 5
    assert bank.keys.shape[1] == 20 and bank.prototypes.shape[1] == 24
    np.testing.assert_allclose(np.linalg.norm(bank.keys.astype(np.float32), axis=1), 1, atol=2e-3)
    meta = bank.meta
    assert meta["captions"] == 8 and meta["pictures"] == 7 and meta["pairs"] == len(bank)
    assert meta["models"]["clip"]["id"].startswith("tiny/") and meta["models"]["generator"]["id"].startswith(
        "tiny/"
    )
    assert len(meta["shards"]) == 3 and meta["options"]["threshold"] == 0.4
    ids = [bank.row(i)["caption_id"] for i in range(len(bank))]
    assert ids == sorted(ids, key=int) and "3" not in ids
    assert json.loads((bank.path / "bank.json").read_text()) == meta


def test_a_picture_is_kept_once_with_the_first_row_of_its_caption() -> None:
    from .fakes import OPTIONS, captions, fake_models

    options = replace(OPTIONS, keep_images=True, min_area=0.5)  # some captions lose a noun, some both
    made = make_shard(to_captions(captions(24)), fake_models(), options, tagger="pattern")
    rows: dict[str, list[bool]] = {}
    for pair in made.pairs:
        rows.setdefault(pair.caption_id, []).append(pair.image is not None)
    assert all(kept == [True] + [False] * (len(kept) - 1) for kept in rows.values())
    assert {len(kept) for kept in rows.values()} == {1, 2}, "both kinds are needed to show something"


def test_a_row_can_be_made_again_from_its_picture(
    bank: Bank, drawn: dict[str, Any], tiny_preset: Preset, tiny_models: CollectModels
) -> None:
    """Key and prototype by the definitions: dense mask, dense weights, one template at a time."""
    encoders = tiny_models.encoders
    for i in range(len(bank)):
        row = bank.row(i)
        image, words = drawn[row["caption_id"]]
        word = next(w for noun, w in words if noun.lemma == row["noun"])
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        features = encoders.dense.encode(x)[0]
        mask = torch.from_numpy(word.mask)[None, None].float()
        weight = F.interpolate(mask, features.shape[:2], mode="bilinear", align_corners=True)[0, 0]
        prototype = (features * weight[..., None]).sum((0, 1)) / weight.sum()
        np.testing.assert_allclose(row["prototype"].astype(np.float32), prototype, atol=5e-3, rtol=5e-3)
        text = torch.stack(
            [encoders.clip.encode_text([t.format(row["noun"])])[0] for t in tiny_preset.collect.templates]
        ).mean(0)
        np.testing.assert_allclose(row["key"].astype(np.float32), F.normalize(text, dim=0), atol=2e-3)
        assert row["area"] == pytest.approx(word.mask.mean()) and 0 < row["contrast"] <= 1
        assert row["seed"] == picture_seed(row["caption_id"])
        assert all(row["caption"][a:b] for a, b in row["spans"])
        agreement = float(encoders.clip.encode_image(x)[0] @ F.normalize(text, dim=0))
        assert row["agreement"] == pytest.approx(agreement, abs=1e-4)
        jpeg, png = Image.open(io.BytesIO(row["image"])), Image.open(io.BytesIO(row["mask"]))
        assert jpeg.size == png.size == (128, 128) and np.array_equal(np.asarray(png), word.mask)


def test_killed_and_resumed_is_the_same(
    tmp_path: Path,
    tiny_preset: Preset,
    tiny_models: CollectModels,
    captions: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    collect(captions, whole, tiny_preset, "cpu", models=tiny_models)
    made: list[int] = []
    real = make_shard

    def dying(chunk: Any, *args: Any, **kwargs: Any) -> Any:
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(len(chunk))
        return real(chunk, *args, **kwargs)

    monkeypatch.setattr(runner, "make_shard", dying)
    with pytest.raises(KeyboardInterrupt):
        collect(captions, broken, tiny_preset, "cpu", models=tiny_models)
    (broken / "shards" / ".00001.parquet.abc.tmp").write_bytes(b"left by a kill")
    with pytest.raises(BankError, match="half-written"):
        Bank.open(broken)

    drawn: list[str] = []
    monkeypatch.setattr(runner, "make_shard", real)
    collect(
        captions, broken, tiny_preset, "cpu", models=tiny_models, on_picture=lambda c, *_: drawn.append(c.id)
    )
    assert drawn == ["4", "5", "6", "7", "8"]  # the first shard's captions are not drawn again
    assert files(whole) == files(broken)

    before = {p: p.stat().st_mtime_ns for p in broken.rglob("*")}
    monkeypatch.setattr(job, "load_models", None)  # nothing is missing: no model is loaded
    collect(captions, broken, tiny_preset, "cpu")
    assert before == {p: p.stat().st_mtime_ns for p in broken.rglob("*")}


def test_a_damaged_or_lost_shard_is_made_again(
    tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels, captions: list[str]
) -> None:
    collect(captions, tmp_path, tiny_preset, "cpu", models=tiny_models)
    before = files(tmp_path)
    (tmp_path / "shards" / "00000.parquet").unlink()
    damaged = tmp_path / "shards" / "00002.parquet"
    damaged.write_bytes(damaged.read_bytes()[:100])
    collect(captions, tmp_path, tiny_preset, "cpu", models=tiny_models)
    assert files(tmp_path) == before


def test_a_larger_limit_extends(
    tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels, captions: list[str]
) -> None:
    collect(captions, tmp_path / "a", tiny_preset, "cpu", limit=4, models=tiny_models)
    collect(captions, tmp_path / "a", tiny_preset, "cpu", models=tiny_models)
    collect(captions, tmp_path / "b", tiny_preset, "cpu", models=tiny_models)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    with pytest.raises(BankError, match=r"00001\.parquet holds more than the captions"):
        collect(captions, tmp_path / "a", tiny_preset, "cpu", limit=3, models=tiny_models)
    with pytest.raises(BankError, match=r"00002\.parquet holds more"):
        collect(captions, tmp_path / "a", tiny_preset, "cpu", limit=7, models=tiny_models)
    with pytest.raises(BankError, match="other captions"):
        collect(captions[::-1], tmp_path / "a", tiny_preset, "cpu", models=tiny_models)


@pytest.mark.parametrize("change", [{"steps": 3}, {"threshold": 0.5}, {"shard_size": 4}])
def test_other_options_are_refused(
    tmp_path: Path,
    tiny_preset: Preset,
    tiny_models: CollectModels,
    captions: list[str],
    change: dict[str, Any],
) -> None:
    collect(captions[:4], tmp_path, tiny_preset, "cpu", models=tiny_models)
    name = next(iter(change))
    with pytest.raises(BankError, match=f"other settings .options.{name}"):
        collect(
            captions[:4],
            tmp_path,
            tiny_preset,
            "cpu",
            options=replace(tiny_preset.collect, **change),
            models=tiny_models,
        )
    with pytest.raises(BankError, match="seed was 0, now 1"):
        collect(captions[:4], tmp_path, tiny_preset, "cpu", seed=1, models=tiny_models)


def test_the_batch_size_changes_rounding_only(
    tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels, captions: list[str]
) -> None:
    one, four = (
        collect(
            captions,
            tmp_path / str(n),
            tiny_preset,
            "cpu",
            models=tiny_models,
            options=replace(tiny_preset.collect, batch_size=n),
        )
        for n in (1, 4)
    )
    assert one.nouns == four.nouns and np.array_equal(one.keys, four.keys)
    np.testing.assert_allclose(
        one.prototypes.astype(np.float32), four.prototypes.astype(np.float32), atol=0.05
    )


def test_the_seed_changes_the_pictures(
    tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels
) -> None:
    assert picture_seed("7") == picture_seed("7") != picture_seed("8") != picture_seed("8", 1)
    assert 0 <= picture_seed("x", 5) < 2**63
    a, b = (
        collect(["a cat on the grass"], tmp_path / str(s), tiny_preset, "cpu", seed=s, models=tiny_models)
        for s in (0, 1)
    )
    assert a.row(0)["seed"] != b.row(0)["seed"]
    assert len(a) != len(b) or not np.array_equal(a.prototypes, b.prototypes)


def test_folders_that_are_no_bank_are_left_alone(tmp_path: Path, tiny_preset: Preset) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(BankError, match=r"thesis\.txt"):
        collect(["a cat"], tmp_path, tiny_preset, "cpu")
    with pytest.raises(BankError, match="is a file"):
        collect(["a cat"], tmp_path / "thesis.txt", tiny_preset, "cpu")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_to_collect(tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels) -> None:
    with pytest.raises(BankError, match="not one noun"):
        collect(["something of a kind"], tmp_path, tiny_preset, "cpu", models=tiny_models)
    with pytest.raises(InputError, match="no captions"):
        collect([], tmp_path, tiny_preset, "cpu", models=tiny_models)


def test_missing_generator_is_one_line(tmp_path: Path, tiny_preset: Preset) -> None:
    preset = replace(tiny_preset, generator=ModelSource(str(tmp_path / "none")))
    with pytest.raises(ModelError, match="generator: there is no folder") as error:
        collect(["a cat"], tmp_path / "b", preset, "cpu")
    assert "\n" not in str(error.value)


def test_a_lora_is_on_record_with_its_revision(tiny_preset: Preset) -> None:
    """Another revision draws other pictures: their rows do not mix with the older ones."""
    for revision, told in ((None, "some/lora@main"), ("v2", "some/lora@v2")):
        preset = replace(tiny_preset, lora=ModelSource("some/lora", revision))
        assert job.models_of(preset)["generator"]["lora"] == told
    assert "lora" not in job.models_of(tiny_preset)["generator"]


def test_collect_is_the_public_name(tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels) -> None:
    import freeda

    first = freeda.collect(
        ["a cat on the grass"], out=tmp_path, model=tiny_preset, device="cpu", models=tiny_models
    )
    second = freeda.collect(
        ["a cat on the grass"], out=tmp_path, model=tiny_preset, device="cpu", progress=True
    )
    assert isinstance(first, Bank) and len(first) == len(second)
    second.check_models(tiny_models.encoders.identity)


def test_long_captions_and_long_nouns_do_no_harm(
    tmp_path: Path,
    tiny_preset: Preset,
    tiny_models: CollectModels,
) -> None:
    odd = "a cat and a " + "x" * 200 + " on the grass"  # one word of more tokens than the model reads
    made = make_shard(to_captions([odd, "the " * 40 + "dog"]), tiny_models, tiny_preset.collect)
    assert {p.noun for p in made.pairs} <= {"cat"}
    assert made.tally.rejected["cut off"] >= 2 and made.tally.pictures == 1


def test_coco_captions_by_file(tmp_path: Path, tiny_preset: Preset, tiny_models: CollectModels) -> None:
    """COCO's own captions where they lie (FREEDA_DATA); words the tiny tokenizer has never seen."""
    folder = Path(os.environ.get("FREEDA_DATA", Path(__file__).parents[3] / "shared" / "data"))
    file = folder / "captions_val2017.json"
    if not file.is_file():
        pytest.skip(f"no {file} (set FREEDA_DATA)")
    options = replace(tiny_preset.collect, steps=1, size=64, batch_size=8, shard_size=20)
    bank = collect(file, tmp_path / "b", tiny_preset, "cpu", limit=50, options=options, models=tiny_models)
    assert bank.meta["captions"] == 50 and bank.meta["pictures"] >= 48 and len(bank) > 40
    assert len(bank.meta["shards"]) == 3 and np.isfinite(np.array(bank.prototypes, np.float32)).all()


def test_an_index_beside_the_bank_is_no_obstacle(
    tmp_path: Path, tiny_preset: Preset, captions: list[str]
) -> None:
    collect(captions, tmp_path / "b", tiny_preset, "cpu", limit=2)
    (tmp_path / "b" / "approximate.json").write_text("{}")
    (tmp_path / "b" / "approximate-0123456789abcdef.faiss").write_bytes(b"x")
    assert collect(captions, tmp_path / "b", tiny_preset, "cpu", limit=3).meta["captions"] == 3
    (tmp_path / "b" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(BankError, match=r"holiday\.jpg"):
        collect(captions, tmp_path / "b", tiny_preset, "cpu", limit=4)
