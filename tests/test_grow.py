"""Growing a layer: each word drawn once, whatever stops it; nothing foreign touched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collection.fakes import OPTIONS as PLAIN
from collection.fakes import PRESET, fake_models
from freeda.bank import Bank
from freeda.bank.format import SHARDS
from freeda.bank.verify import find_damage
from freeda.errors import BankError, FreedaError, InputError, ModelError
from freeda.grow import (
    grow,
    layer_beside,
    layers_with,
    open_layer,
    personal_layer,
    plan_growth,
    related_layers,
    seconds_a_picture,
    settle,
)
from freeda.presets import PRESETS, ModelSource

OPTIONS = replace(PLAIN, prompts_per_word=3)


def models(fails: Any = None) -> Any:
    return fake_models(fails)


def run(layer: Path, words: list[str], given: Any = None, **more: Any) -> Any:
    return grow(words, layer, PRESET, "cpu", options=OPTIONS, models=given or models(), **more)


def content(bank: Bank) -> dict[str, tuple[str, str, int, bytes]]:
    rows = [bank.row(i) for i in range(len(bank))]
    return {r["caption_id"]: (r["noun"], r["caption"], r["seed"], r["prototype"].tobytes()) for r in rows}


def test_every_word_gets_its_pictures_and_only_its_noun(tmp_path: Path) -> None:
    made = models()
    grown = run(tmp_path / "l", ["Cat", " fire  engine ", "cat"], made)
    assert grown.references == {"cat": 3, "fire engine": 3} == grown.pictures
    assert sorted(content(grown.layer)) == [f"{w}/{i}" for w in ("cat", "fire engine") for i in (1, 2, 3)]
    assert set(grown.layer.nouns) == {"cat", "fire engine"} and len(made.generator.drawn) == 6
    assert not list(find_damage(tmp_path / "l"))
    assert grown.layer.meta["words"] == {"cat": 3, "fire engine": 3}


def test_nothing_is_drawn_twice_and_more_is_added(tmp_path: Path) -> None:
    first = content(run(tmp_path / "l", ["cat"]).layer)
    made = models()
    again = run(tmp_path / "l", ["cat"], made)
    assert made.generator.drawn == [] and content(again.layer) == first
    more = run(tmp_path / "l", ["dog", "cat"], made, images=4)
    assert more.references == {"dog": 4, "cat": 4} and len(made.generator.drawn) == 5
    assert first.items() <= content(more.layer).items()
    # The order in which words were grown makes no difference to any row.
    other = run(tmp_path / "m", ["dog", "cat"], images=4)
    assert content(other.layer) == content(more.layer)
    # Asking for fewer than there are takes nothing away.
    assert run(tmp_path / "l", ["cat"], made, images=1).references == {"cat": 4}


@pytest.mark.parametrize("stop_at", range(5))
def test_a_run_that_was_stopped_goes_on(tmp_path: Path, stop_at: int) -> None:
    whole = content(run(tmp_path / "whole", ["cat", "dog", "tree"]).layer)
    calls = iter(range(100))

    def stop(texts: Any) -> None:
        if next(calls) >= stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "l", ["cat", "dog", "tree"], models(stop))
    kept = len(list((tmp_path / "l" / SHARDS).glob("*.parquet")))
    assert kept == stop_at
    made = models()
    assert content(run(tmp_path / "l", ["cat", "dog", "tree"], made).layer) == whole
    assert len(made.generator.drawn) == 9 - sum((2, 1)[i % 2] for i in range(kept))
    assert not list(find_damage(tmp_path / "l"))


def test_stopped_before_the_end_only_the_bank_was_unwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "l", ["cat"])

    def stop(layer: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("freeda.grow.finish_layer", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "l", ["dog"])
    there = open_layer(tmp_path / "l")
    assert there is not None and set(there.nouns) == {"cat"}  # readers see what was whole
    plan = plan_growth(["dog"], tmp_path / "l", OPTIONS)
    assert plan.pictures == 0
    assert set(settle(plan).layer.nouns) == {"cat", "dog"}


def test_a_damaged_leftover_is_drawn_again(tmp_path: Path) -> None:
    whole = content(run(tmp_path / "l", ["cat"]).layer)
    (tmp_path / "l" / "bank.json").unlink()
    shard = tmp_path / "l" / SHARDS / "00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    assert content(run(tmp_path / "l", ["cat"]).layer) == whole


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    whole = content(run(tmp_path / "whole", ["cat", "dog"]).layer)
    layer = run(tmp_path / "l", ["cat"]).layer.path
    shard = (layer / SHARDS / "00000.parquet").read_bytes()
    for name in (".0123.tmp", f"{SHARDS}/.4567.tmp", f"{SHARDS}/00009.parquet"):  # 9: no 2 to 8 before it
        (layer / name).write_bytes(shard)
    assert content(run(layer, ["dog"]).layer) == whole
    assert not list(find_damage(layer)) and not list(layer.rglob(".*.tmp"))


def test_pictures_that_fail_are_told_by_word(tmp_path: Path) -> None:
    def fail(texts: Any) -> None:
        if any("dog" in text and "sunny" in text for text in texts):
            raise RuntimeError("no kernel for it")

    grown = run(tmp_path / "l", ["cat", "dog"], models(fail))
    assert grown.rejected == {"cat": {}, "dog": {"failed": 1}}
    assert grown.references == {"cat": 3, "dog": 2} and grown.pictures == {"cat": 3, "dog": 3}


def test_words_that_no_picture_shows(tmp_path: Path) -> None:
    # Nothing passes where a mask must cover more than it can.
    none = replace(OPTIONS, min_area=0.9999999, max_area=1.0)
    made = models()
    for given in (made, made):
        with pytest.raises(BankError, match=r"no word was found in its 3 pictures \(3 too small\)"):
            grow(["cat"], tmp_path / "l", PRESET, "cpu", options=none, models=given)
    assert len(made.generator.drawn) == 3  # the second time nothing is drawn
    both = run(tmp_path / "l", ["dog"])
    assert both.references == {"dog": 3}
    lost = run(tmp_path / "l", ["cat", "dog"])
    assert lost.references == {"cat": 0, "dog": 3} and lost.rejected["cat"] == {"too small": 3}


def test_captions_that_contain_the_word(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a cat and a dog\nnothing\nthe dog sleeps\n")
    made = models()
    grown = run(tmp_path / "l", ["dog"], made, captions=tmp_path / "c.txt")
    assert (
        made.generator.drawn[:2] == ["a cat and a dog", "the dog sleeps"] and len(made.generator.drawn) == 3
    )
    assert set(grown.layer.nouns) == {"dog"}


def test_a_foreign_bank_is_no_layer(tmp_path: Path, tiny_bank: Path) -> None:
    import shutil

    shutil.copytree(tiny_bank, tmp_path / "bank")
    before = {p.name: p.read_bytes() for p in (tmp_path / "bank").rglob("*") if p.is_file()}
    with pytest.raises(BankError):
        run(tmp_path / "bank", ["cat"])
    (tmp_path / "bank" / "bank.json").unlink()
    with pytest.raises(BankError, match="was not grown"):
        run(tmp_path / "bank", ["cat"])
    after = {p.name: p.read_bytes() for p in (tmp_path / "bank").rglob("*") if p.is_file()}
    assert after == {name: data for name, data in before.items() if name != "bank.json"}


def test_other_models_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "l", ["cat"])
    other = models()
    other.encoders.identity["clip"] = {"id": "another/clip-b", "revision": None}
    with pytest.raises(BankError, match="another/clip-b"):
        run(tmp_path / "l", ["dog"], other)


def test_models_that_fail_leave_no_bank(tmp_path: Path) -> None:
    def fail(texts: Any) -> None:
        raise ModelError("the generator gave NaN")

    with pytest.raises(FreedaError, match="NaN"):
        run(tmp_path / "l", ["cat"], models(fail))
    assert open_layer(tmp_path / "l") is None
    assert run(tmp_path / "l", ["cat"]).references == {"cat": 3}


def test_what_cannot_be_grown(tmp_path: Path) -> None:
    for words, images, says in (
        ([], None, "no words"),
        (["cat"], 0, "at least 1"),
        (["..."], None, "no word"),
        (["one two three four five six seven"], None, "sentence"),
    ):
        with pytest.raises(InputError, match=says):
            run(tmp_path / "l", words, images=images)
    with pytest.raises(InputError, match=r"no\.txt"):
        run(tmp_path / "l", ["cat"], captions=tmp_path / "no.txt")
    assert not (tmp_path / "l").exists()


def test_words_as_one_text(tmp_path: Path) -> None:
    assert list(plan_growth("cat; sofa=couch", tmp_path / "l", OPTIONS).captions) == ["cat", "sofa", "couch"]


def test_where_layers_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert layer_beside(tmp_path / "bank") == tmp_path / "bank.grown"
    monkeypatch.chdir(tmp_path)
    assert layer_beside("bank/") == tmp_path / "bank.grown"
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path / "cache"))
    mine = personal_layer(PRESET)
    assert mine.parent == tmp_path / "cache" / "grown"
    same = replace(PRESET, collect=replace(PRESET.collect, prompts_per_word=5, batch_size=7))
    assert personal_layer(same) == mine
    templates = replace(PRESET.segment, templates=("a {}.",))
    drawn = (
        replace(PRESET, generator=ModelSource("other/generator")),
        replace(PRESET, lora=ModelSource("some/lora")),
        replace(PRESET, lora=ModelSource("some/lora", weight_name="b.safetensors")),
        replace(PRESET, collect=replace(PRESET.collect, steps=9)),
    )
    told = (
        replace(PRESET, clip=ModelSource("fake/clip", revision="b")),
        replace(PRESET, dense=ModelSource("other/dense")),
        replace(PRESET, dense_mean=(0.5, 0.5, 0.5)),
        replace(PRESET, segment=templates),
        replace(PRESET, name="another"),
    )
    places = [personal_layer(other) for other in (*drawn, *told)]
    assert len({mine, *places}) == 10
    for place in places:
        place.mkdir(parents=True)
    # Related are those that differ in how pictures are drawn, and the last one used comes first.
    assert set(related_layers(PRESET)) == {personal_layer(other) for other in drawn}
    os.utime(places[1], (2e9, 2e9))
    assert related_layers(PRESET)[0] == places[1]
    assert set(related_layers(drawn[0])) == {personal_layer(other) for other in drawn[1:]}


def test_layers_of_the_first_naming_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that versions before made for the presets as they are."""
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path))
    for name, old in (("vit-b", "vit-b-885882bde936"), ("vit-l", "vit-l-5137c0d3e614")):
        new = personal_layer(PRESETS[name])
        assert new.name != old
        (tmp_path / "grown" / old).mkdir(parents=True)
        assert personal_layer(PRESETS[name]) == tmp_path / "grown" / old
        faster = replace(PRESETS[name], collect=replace(PRESETS[name].collect, steps=5))
        assert personal_layer(faster).name != old


def test_words_are_found_in_other_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "own", ["cat"])
    run(tmp_path / "a", ["dog", "tree"], images=2)
    run(tmp_path / "b", ["cat", "dog"])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "bank.json").write_text("{")
    others = [tmp_path / name for name in ("damaged", "nowhere", "a", "b")]

    def found(words: list[str], own: str = "own", **more: Any) -> dict[str, set[str]]:
        layers = layers_with(words, tmp_path / own, others, **more)
        return {bank.path.name: set(bank.nouns) for bank in layers}

    # What was grown for other words takes no part, nor another layer's rows of a word that one has.
    assert found(["cat"]) == {"own": {"cat"}}
    assert found([" Dog ", "cat"]) == {"own": {"cat"}, "a": {"dog"}}
    assert found(["dog"], images=3) == {
        "b": {"dog"}
    }  # two pictures are not enough where three were asked for
    assert found(["cat", "tree"], "nowhere") == {"a": {"tree"}, "b": {"cat"}}
    assert found(["boat"], "nowhere") == {}
    with pytest.raises(BankError):
        found(["cat"], "damaged")


def test_options_given_in_python_have_a_layer_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path))
    other = replace(OPTIONS, steps=7)
    for options in (OPTIONS, other):
        grown = grow(["cat"], None, PRESET, "cpu", options=options, models=models())
        assert grown.layer.path == personal_layer(PRESET, options)
        assert grown.layer.meta["options"]["steps"] == options.steps
    assert personal_layer(PRESET, OPTIONS) != personal_layer(PRESET, other)


def test_the_expected_time_grows_with_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    made, now = models(), [0.0]
    real = made.generator.draw

    def draw(texts: Any, seeds: Any, columns: Any, options: Any) -> Any:
        now[0] += 3.0 + 0.5 * options.steps  # of which 3 s do not depend on the steps
        return real(texts, seeds, columns, options)

    monkeypatch.setattr(made.generator, "draw", draw)
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    for steps in (1, 4, 5, 30):
        assert seconds_a_picture(made, replace(OPTIONS, steps=steps)) == pytest.approx(3.0 + 0.5 * steps)


def test_other_work_on_the_machine_is_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    made, now, asked = models(), [0.0], []
    real = made.generator.draw

    def draw(texts: Any, seeds: Any, columns: Any, options: Any) -> Any:
        asked.append(options.steps)
        now[0] += each * options.steps * (2 if options.steps == 4 else 1)  # others work, just then
        return real(texts, seeds, columns, options)

    monkeypatch.setattr(made.generator, "draw", draw)
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    each = 1.0
    assert seconds_a_picture(made, replace(OPTIONS, steps=30)) == pytest.approx(60)  # not 86
    each = 0.1  # quick: measured as it will be drawn
    assert seconds_a_picture(made, replace(OPTIONS, steps=30)) == pytest.approx(3)
    assert asked[-1] == 30


def test_keys_are_the_words_own(tmp_path: Path) -> None:
    made = models()
    grown = run(tmp_path / "l", ["cat", "dog"], made)
    for i, noun in enumerate(grown.layer.nouns):
        np.testing.assert_allclose(grown.layer.keys[i], made.keys.noun(noun), atol=1e-3)
