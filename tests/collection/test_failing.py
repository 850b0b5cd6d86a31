"""Models that fail on a caption, on all of them, or only in company; disks that are full or read-only."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from commands import fill_the_disk
from freeda.bank import Bank
from freeda.bank.arrays import FILES
from freeda.bank.format import read_info, shard_name
from freeda.collection import job, shard
from freeda.collection.captions import Caption, to_captions
from freeda.collection.job import collect
from freeda.collection.shard import HOPELESS, Tally, make_shard
from freeda.collection.tagging import prove_tagger
from freeda.errors import BankError, FreedaError, InputError, ModelError
from freeda.identity import first_difference

from .fakes import OPTIONS, PRESET, Keys, captions, fake_models
from .test_kill import bank_files


def run(out: Path, n: int = 9, **given: Any) -> Bank:
    given = {"models": fake_models(), "options": OPTIONS, **given}
    return collect(captions(n), out, PRESET, "cpu", **given)


def on(*numbers: int, error: Callable[[], Exception]) -> Callable[[Sequence[str]], None]:
    """Fails on a batch that holds one of these captions."""

    def fails(texts: Sequence[str]) -> None:
        if any(text.endswith(f"number {n}") for text in texts for n in numbers):
            raise error()

    return fails


def rows(bank: Bank) -> list[tuple[str, str, bytes]]:
    found = (bank.row(i) for i in range(len(bank)))
    return [(r["caption_id"], r["noun"], r["prototype"].tobytes()) for r in found]


def test_one_caption_fails_and_the_rest_goes_on(tmp_path: Path) -> None:
    def broken() -> Exception:
        return RuntimeError("no\nkernel \x1b[31m for it")

    models = fake_models(on(4, error=broken))
    bank, whole = run(tmp_path / "a", models=models), run(tmp_path / "b")
    assert rows(bank) == [row for row in rows(whole) if row[0] != "5"]
    info = read_info(tmp_path / "a" / shard_name(1))
    assert info.failed == [{"caption_id": "5", "error": "RuntimeError: no"}] and info.pictures == 2
    assert bank.meta["failed"] == 1 and bank.meta["pictures"] == 8 and bank.meta["captions"] == 9
    lines = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert lines[1]["failed"] == info.failed and lines[1]["batches_retried"] == 1
    assert [line["failed"] for line in (lines[0], lines[2])] == [[], []]
    # Its neighbour in the batch was drawn by itself.
    assert sorted(models.generator.drawn) == sorted(c for c in captions(9) if not c.endswith("number 4"))


def test_a_pipeline_that_gives_nan_is_one_failure(tmp_path: Path) -> None:
    models = fake_models(on(0, error=lambda: ModelError("the generator gave NaN")))
    bank = run(tmp_path, models=models)
    assert bank.meta["failed"] == 1
    assert read_info(tmp_path / shard_name(0)).failed[0]["error"] == "the generator gave NaN"


def test_failed_captions_are_tried_again_when_asked(tmp_path: Path) -> None:
    run(tmp_path / "a", models=fake_models(on(4, error=KeyError)))
    again = fake_models()
    assert run(tmp_path / "a", models=again).meta["failed"] == 1 and again.generator.drawn == []
    assert run(tmp_path / "a", models=again, retry_failed=True).meta["failed"] == 0
    assert again.generator.drawn == captions(9)[3:6]
    run(tmp_path / "b")
    assert bank_files(tmp_path / "a") == bank_files(tmp_path / "b")


def test_a_batch_that_only_fails_together_loses_nothing(tmp_path: Path) -> None:
    def crowded(texts: Sequence[str]) -> None:
        if len(texts) > 1:
            raise MemoryError

    run(tmp_path / "a", models=fake_models(crowded))
    run(tmp_path / "b")
    assert bank_files(tmp_path / "a") == bank_files(tmp_path / "b")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            lambda: ValueError("boom"),
            ModelError,
            "^no caption could be drawn, the first one failed with ValueError: boom$",
        ),
        (lambda: InputError("the generator refuses"), InputError, "^the generator refuses$"),
        (lambda: ModelError("NaN"), ModelError, "^NaN$"),
    ],
)
def test_broken_models_stop_the_run(
    tmp_path: Path, error: Callable[[], Exception], kind: type[FreedaError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        run(tmp_path, models=fake_models(on(*range(9), error=error)))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "shards").glob("*.parquet"))
    run(tmp_path)  # and it goes on as if nothing had been


def test_models_that_break_later_stop_the_run_at_a_large_shard_only(tmp_path: Path) -> None:
    fails = fake_models(on(3, 4, 5, error=ValueError))
    assert run(tmp_path / "small", models=fails).meta["failed"] == 3  # a whole shard, but a small one
    found = to_captions(captions(HOPELESS + 5))
    models = fake_models(on(*range(HOPELESS), error=ValueError))
    with pytest.raises(ModelError, match="no caption could be drawn"):
        make_shard(found, models, OPTIONS)
    assert len(models.generator.drawn) == 0
    made = make_shard(found, fake_models(on(*range(HOPELESS - 2), error=ValueError)), OPTIONS)
    assert list(made.failed) == [str(i + 1) for i in range(HOPELESS - 2)]
    assert made.tally.pictures == 7


def test_a_tagger_that_fails_is_a_failed_caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shard.nouns_of

    def nouns(caption: Any, tagger: str) -> Any:
        if caption.id == "2":
            raise KeyError("x")
        return real(caption, tagger)

    monkeypatch.setattr(shard, "nouns_of", nouns)
    bank = run(tmp_path)
    assert bank.meta["failed"] == 1 and bank.meta["pictures"] == 8
    assert read_info(tmp_path / shard_name(0)).failed == [{"caption_id": "2", "error": "KeyError: 'x'"}]
    made = make_shard(to_captions(captions(4)), fake_models(on(0, error=ValueError)), OPTIONS)
    assert list(made.failed) == ["1", "2"]  # in the captions' order, whoever failed first


@pytest.mark.parametrize(
    ("place", "broken", "says"),
    [
        ("tagging._tags", ValueError("no home"), r"tagger 'pattern' .*\(ValueError: no home\)"),
        ("tagging._tags", ["", "NN", "", "", "", ""], "tagger 'pattern' does not work here: in"),
        ("tokens.token_offsets", OSError("gone"), r"tokenizer .* \(OSError: gone\)"),
        ("tokens.token_offsets", [(0, 0)] * 16, "tokenizer does not say where a word stands"),
    ],
)
def test_tools_that_fail_on_any_caption_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, broken: Any, says: str
) -> None:
    def fails(*_: Any) -> Any:
        if isinstance(broken, Exception):
            raise broken
        return broken

    prove_tagger.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(f"freeda.collection.{place}", fails)
        with pytest.raises(ModelError, match=says):
            run(tmp_path)
        assert not list(tmp_path.glob("**/*.parquet"))
        if "tagger" in says:  # which words that were asked for do not need
            given = {"models": fake_models(), "options": OPTIONS}
            assert len(collect(None, tmp_path, PRESET, "cpu", 3, words=["cat"], **given)) == 3
    assert len(run(tmp_path / "whole"))


def test_a_noun_cut_in_two_is_cut_off() -> None:
    """The tokenizer keeps "fire" and no more: the map of half a name is none of the whole."""
    found = [
        Caption("1", "so " * 13 + "fire engine", "fire engine"),
        Caption("2", "a fire engine", "fire engine"),
    ]
    made = make_shard(found, fake_models(), OPTIONS)
    assert made.tally.rejected == {"cut off": 1} and [p.caption_id for p in made.pairs] == ["2"]


def test_options_of_the_run_reach_the_work(tmp_path: Path) -> None:
    """A limit of words, the tagger, and the keys asked for where models were loaded for others."""

    class Turned(Keys):
        def noun(self, lemma: str) -> Any:
            return -super().noun(lemma)

    class Loaded(Keys):
        def under(self, options: Any) -> Keys:
            return Turned()

    given = {"models": fake_models(), "options": OPTIONS}
    bank = collect(None, tmp_path / "words", PRESET, "cpu", 3, words=["cat", "dog"], **given)
    assert bank.meta["captions"] == 3
    with pytest.raises(InputError, match="tagger"):
        run(tmp_path / "none", tagger="by guess")
    usual, turned = (
        make_shard(to_captions(captions(2)), replace(fake_models(), keys=keys), OPTIONS).pairs
        for keys in (Keys(), Loaded())
    )
    assert usual and all(np.array_equal(a.key, -b.key) for a, b in zip(usual, turned, strict=True))


def test_encoders_see_the_picture_from_0_to_1() -> None:
    models, seen, drawn = fake_models(), [], []
    dense = models.encoders.dense.encode
    models.encoders.dense.encode = lambda pixels: (seen.extend(pixels), dense(pixels))[1]
    make_shard(to_captions(captions(3)), models, OPTIONS, on_picture=lambda _, image, __: drawn.append(image))
    for pixels, image in zip(seen, drawn, strict=True):
        np.testing.assert_allclose(pixels.permute(1, 2, 0), image / 255, atol=1e-6)


def test_a_damaged_array_is_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    before = bank_files(tmp_path)
    for name in FILES.values():
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-3])
        run(tmp_path)
        assert bank_files(tmp_path) == before


def test_a_callback_that_fails_is_no_caption_s_fault(tmp_path: Path) -> None:
    def show(*_: Any) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(tmp_path, on_picture=show)


def test_what_batches_are_told_adds_up(tmp_path: Path) -> None:
    sums = Tally()
    options = OPTIONS
    found = to_captions([*captions(7), "something of a kind", "a cat " + "and so on " * 9 + "a dog"])
    made = make_shard(found, fake_models(on(3, error=ValueError)), options, on_batch=sums.add)
    assert (sums.captions, sums.pictures, sums.pairs) == (9, made.tally.pictures, len(made.pairs))
    assert sums.failed == len(made.failed) == 1 and dict(sums.rejected) == made.tally.rejected
    assert made.tally.rejected["cut off"] == 1 and made.tally.pictures == 7


def test_a_disk_that_fills_up_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it strikes, it is one line, nothing is half-written, and the next run goes on."""
    run(tmp_path / "whole", 30)
    chance, refused = random.Random(0), 0
    while True:
        with monkeypatch.context() as patch:
            fill_the_disk(patch, after=chance.randrange(5))
            try:
                run(tmp_path / "a", 30)
                break
            except InputError as error:
                assert "No space left on device" in str(error) and "\n" not in str(error)
        refused += 1
        assert refused < 200
        kept = {p.name for p in (tmp_path / "a").rglob("*") if p.is_file()}
        assert not any(name.endswith(".tmp") or name == ".lock" for name in kept)
        if len([name for name in kept if name.endswith(".parquet")]) == 10:
            break  # the end needs more room at once than this disk ever has
    assert refused > 3
    run(tmp_path / "a", 30)
    assert bank_files(tmp_path / "a") == bank_files(tmp_path / "whole")


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """A limit that the system itself holds, met inside the writer of Parquet files."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(InputError, match=r"00000\.parquet: cannot be written \(File too large\)"):
            run(tmp_path / "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in (tmp_path / "a").rglob("*")] == ["shards"]
    run(tmp_path / "a")
    run(tmp_path / "b")
    assert bank_files(tmp_path / "a") == bank_files(tmp_path / "b")


def test_no_room_for_the_log(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=r"log\.jsonl: cannot be written"):
        run(tmp_path)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Told in one line before any model is loaded; a finished bank in one is opened as it is."""
    run(tmp_path / "done")
    (tmp_path / "new").mkdir()
    real, models = os.open, fake_models()

    def refuse(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(code, os.strerror(code), str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BankError, match=rf"new: cannot be written to \({os.strerror(code)}\)"):
        run(tmp_path / "new", models=models)
    assert len(run(tmp_path / "done", models=models)) > 9 and models.generator.drawn == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_without_the_right_to_write(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir(mode=0o500)
    with pytest.raises(BankError, match="cannot be written to"):
        run(tmp_path / "new")


def test_settings_of_an_older_version_count_as_defaults(tmp_path: Path) -> None:
    new = job.settings_of("fake", {}, OPTIONS, 0, torch.float32, "pattern")
    old = json.loads(json.dumps(new))
    for name in ("threshold_rule", "min_contrast", "superpixels"):
        del old["options"][name]
    old["options"]["batch_size"] = 99  # once recorded, though the rows do not depend on it
    assert first_difference(job.comparable(old), new) == ""
    other = json.loads(json.dumps(new))
    other["options"]["superpixels"]["scale"] = 7.0
    del other["options"]["superpixels"]["sigma"]
    assert first_difference(job.comparable(other), new).startswith("options.superpixels.scale was 7.0")
    changed = json.loads(json.dumps(new))
    changed["options"]["threshold_rule"] = "otsu"
    assert "threshold_rule" in first_difference(job.comparable(old), changed)


def test_a_bank_is_continued_in_the_precision_that_drew_it(tmp_path: Path) -> None:
    """One made before it was recorded was drawn in that of its encoders."""

    def drawing(dtype: torch.dtype) -> Any:
        models = fake_models()
        models.generator.dtype = dtype
        return models

    run(tmp_path / "half", 3, models=drawing(torch.float16))
    meta = json.loads((tmp_path / "half" / "bank.json").read_text())
    assert (meta["dtype"], meta["drawing_dtype"]) == ("float32", "float16")
    run(tmp_path / "half", models=drawing(torch.float16))
    with pytest.raises(BankError, match="drawing_dtype was 'float16', now 'float32'"):
        run(tmp_path / "half", 12)
    run(tmp_path / "old", 3)
    for file in (tmp_path / "old" / "shards").iterdir():
        table = pq.read_table(file)
        about = json.loads(table.schema.metadata[b"freeda"])
        del about["settings"]["drawing_dtype"]
        pq.write_table(table.replace_schema_metadata({b"freeda": json.dumps(about).encode()}), file)
    (tmp_path / "old" / "bank.json").unlink()
    with pytest.raises(BankError, match="drawing_dtype was 'float32', now 'float16'"):
        run(tmp_path / "old", models=drawing(torch.float16))
    assert run(tmp_path / "old").meta["captions"] == 9


def test_an_edited_bank_json_is_made_again(tmp_path: Path) -> None:
    run(tmp_path)
    file, whole = tmp_path / "bank.json", bank_files(tmp_path)
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 5'))
    with pytest.raises(BankError, match=r"bank\.json: damaged: it was changed after it was written"):
        Bank.open(tmp_path)
    run(tmp_path)
    assert bank_files(tmp_path) == whole
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "digest"}))
    assert len(Bank.open(tmp_path)) == len(run(tmp_path))  # as banks were written before


@pytest.mark.parametrize("finished", [True, False])
def test_a_bank_of_another_version_is_left_alone(tmp_path: Path, finished: bool) -> None:
    """It is whole, and may have taken weeks: it is refused, not made again."""
    run(tmp_path)
    for file in (tmp_path / "shards").iterdir():
        table = pq.read_table(file)
        about = {**json.loads(table.schema.metadata[b"freeda"]), "version": 1}
        pq.write_table(table.replace_schema_metadata({b"freeda": json.dumps(about).encode()}), file)
    meta = json.loads((tmp_path / "bank.json").read_text())
    (tmp_path / "bank.json").write_text(json.dumps({**meta, "version": 1}))
    if not finished:
        (tmp_path / "bank.json").unlink()
    before = bank_files(tmp_path)
    with pytest.raises(BankError, match="bank format this version does not read"):
        run(tmp_path)
    assert bank_files(tmp_path) == before


@pytest.mark.parametrize("place", [0.1, 0.4, 0.7])
def test_a_shard_damaged_inside_is_made_again(tmp_path: Path, place: float) -> None:
    """Also before there is a bank.json, and where its length and its end are as they should be."""
    run(tmp_path)
    before = bank_files(tmp_path)
    file = tmp_path / shard_name(1)
    data = bytearray(file.read_bytes())
    at = int(place * pq.read_metadata(file).row_group(0).column(11).data_page_offset)
    data[at : at + 40] = bytes(40)
    file.write_bytes(data)
    (tmp_path / "bank.json").unlink()
    models = fake_models()
    run(tmp_path, models=models)
    assert models.generator.drawn == captions(9)[3:6] and bank_files(tmp_path) == before


@pytest.mark.parametrize(("batch", "other"), [(1, 2), (2, 5), (1, 9)])
def test_the_batch_size_is_no_setting(tmp_path: Path, batch: int, other: int) -> None:
    """A run begun with one goes on with another; these models do not even round."""
    run(tmp_path / "a", 5, options=replace(OPTIONS, batch_size=batch))
    run(tmp_path / "a", 20, options=replace(OPTIONS, batch_size=other))
    run(tmp_path / "b", 20)
    assert bank_files(tmp_path / "a") == bank_files(tmp_path / "b")
