"""`freeda segment` without a bank, `--grow`, `freeda bank grow` and `coverage`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import refused, run
from freeda.cli import growing
from freeda.collection.captions import Caption
from freeda.grow import Plan
from freeda.presets import PRESETS, RECIPES, ModelSource, drawing_with


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FREEDA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a CLIP of random weights all words may lie close together: only a word itself counts as near."""
    from freeda.bank import layered
    from freeda.segment import coverage

    monkeypatch.setattr(coverage, "NEAR", 0.9995)
    monkeypatch.setattr(layered, "SAME", 0.0005)


@pytest.fixture
def lenient(model: Path, tmp_path: Path) -> Path:
    """The tiny preset with random models that reject no mask."""
    preset = json.loads(model.read_text())
    preset["collect"] |= {"min_area": 0.0, "max_area": 1.0, "prompts_per_word": 2}
    path = tmp_path / "lenient" / model.name  # a bank's models go by the preset's name
    path.parent.mkdir()
    path.write_text(json.dumps(preset))
    return path


def segment(photo: Path, model: Path, words: str, *more: Any) -> Any:
    out = photo.parent / "out"
    how = () if {"--no-grow", "--bank"} & set(more) else ("--grow",)
    given = ("--classes", words, "--model", model, "--out", out, "--device", "cpu")
    return run("segment", photo, *given, *how, *more)


def test_no_bank_grows_one_and_keeps_it(photo: Path, lenient: Path, cache: Path, tmp_path: Path) -> None:
    at_once = segment(photo, lenient, "cat, stop sign", "--no-grow")
    assert at_once.exit_code == 0, at_once.output
    told = " ".join(at_once.output.split())
    assert (
        "(method no-bank)" in told and "--grow draws one for these (4 pictures (cat 2, stop sign 2))" in told
    )
    assert not cache.exists()
    kept = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert kept["options"]["method"] == "no-bank" and kept["options"]["ensemble"]["own"] == 1
    done = segment(photo, lenient, "cat, stop sign")
    assert done.exit_code == 0, done.output
    assert "4 pictures (cat 2, stop sign 2)" in done.output and " on cpu (" in done.output
    (layer,) = (cache / "grown").iterdir()
    assert str(layer) in done.output
    record = json.loads((tmp_path / "out" / "photo.json").read_text())

    again = segment(photo, lenient, "cat, stop sign", "--again", "--no-grow")
    assert again.exit_code == 0 and "drawing" not in again.output, again.output
    assert json.loads((tmp_path / "out" / "photo.json").read_text())["classes"] == record["classes"]

    more = segment(photo, lenient, "cat=puss, stop sign, tree", "--images-per-word", 2, "--yes")
    assert more.exit_code == 0 and "2 pictures (tree 2)" in more.output, more.output
    assert list((cache / "grown").iterdir()) == [layer]
    # What was grown for other words changes nothing.
    after = segment(photo, lenient, "cat, stop sign", "--again", "--no-grow")
    assert f"with references grown for cat, stop sign ({layer})" in " ".join(after.output.split())
    assert json.loads((tmp_path / "out" / "photo.json").read_text())["classes"] == record["classes"]
    table = run("bank", "info", layer).output
    assert "6 from 6 captions" in table


@pytest.mark.slow
def test_a_terminal_is_asked(
    photo: Path, lenient: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Terminal:
        stdin = type("In", (), {"isatty": staticmethod(lambda: True)})

    monkeypatch.setattr(growing, "sys", Terminal)
    monkeypatch.setattr(growing.typer, "confirm", lambda text, **_: bool(asked.append(text)))
    refused(segment(photo, lenient, "cat"), "nothing was drawn")
    assert asked == ["go on?"] and not list(cache.rglob("*.parquet"))
    done = segment(photo, lenient, "cat", "--yes")
    assert done.exit_code == 0 and len(asked) == 1


@pytest.mark.slow
def test_pictures_drawn_in_another_way_are_used(photo: Path, lenient: Path, cache: Path) -> None:
    place = ("--model", lenient, "--device", "cpu")
    done = run("bank", "grow", "cat", *place, "--set", "steps=1", "--draw", "size=64")
    assert done.exit_code == 0 and "cat: 2 references from 2 pictures" in done.output, done.output
    (quick,) = (cache / "grown").iterdir()
    found = segment(photo, lenient, "cat", "--no-grow")
    assert found.exit_code == 0 and "drawing" not in found.output, found.output
    (line,) = [line for line in found.output.splitlines() if "references" in line]
    assert f"references drawn before for cat (options.size was 64, now 128; {quick})" in line
    known = run("bank", "coverage", "--classes", "cat", *place)
    assert known.exit_code == 0 and "2 of 2" in known.output, known.output

    more = segment(photo, lenient, "cat, tree", "--again")  # only what is nowhere, as the preset draws
    assert "drawing 2 pictures (tree 2)" in more.output and "before for cat" in more.output, more.output
    assert len(list((cache / "grown").iterdir())) == 2
    own = segment(photo, lenient, "cat, tree", "--again", "--images-per-word", 3)  # more than there are
    assert "drawing 4 pictures (cat 3, tree 1)" in own.output and "before" not in own.output, own.output

    told = segment(photo, lenient, "cat", "--again", "--draw", "steps=1", "--draw", "size=64", "--no-grow")
    assert told.exit_code == 0 and "before" not in told.output, told.output
    new = segment(photo, lenient, "tree", "--again", "--draw", "steps=1", "--draw", "size=64")
    assert "drawing 2 pictures (tree 2)" in new.output and str(quick) in new.output, new.output
    # How fast they are drawn is no other way; and other prompts are other keys.
    paced = segment(photo, lenient, "cat, tree", "--again", "--draw", "batch_size=1", "--no-grow")
    assert paced.exit_code == 0, paced.output
    keys = segment(photo, lenient, "cat", "--again", "--set", "templates=simple", "--no-grow")
    assert "(method no-bank)" in keys.output and "(2 pictures (cat 2))" in " ".join(keys.output.split())


def test_what_takes_long_is_told_in_minutes(
    photo: Path, lenient: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freeda.cli.growing.seconds_a_picture", lambda *_: 100.0)
    long = segment(photo, lenient, "cat", "--images-per-word", 6)  # no terminal: it goes on
    (line,) = [line for line in long.output.splitlines() if line.startswith("drawing")]
    told = r"drawing 6 pictures \(cat 6\): about 10 min on cpu \(1\.7 min a picture, \d+\.\d GB of memory "
    assert long.exit_code == 0 and re.fullmatch(told + r"at most\)", line), long.output
    assert "faster: --images-per-word 2\n" in long.output
    asked = segment(photo, lenient, "tree", "--images-per-word", 6, "--yes")
    assert "about 10 min" in asked.output and "faster" not in asked.output
    short = segment(photo, lenient, "dog", "--images-per-word", 2)
    assert "about 3.3 min" in short.output and "faster" not in short.output


def test_what_draws_faster(tmp_path: Path) -> None:
    plan = Plan(tmp_path, {"cat": [Caption("1", "a cat")] * 12})
    (lcm, fewer) = growing._faster(plan, PRESETS["vit-l"])
    lora, settings = RECIPES["lcm"]
    assert fewer == "--images-per-word 4"
    assert lcm.startswith(f"--draw lcm (4 steps instead of 30, with {lora.id}, {lora.licence}")
    fast = drawing_with(PRESETS["vit-l"], ["lcm", "size=384"])
    assert fast.lora == lora and len(settings) == 3 and growing._faster(plan, fast) == [fewer]
    collect = fast.collect
    assert (collect.scheduler, collect.steps, collect.guidance, collect.size) == ("lcm", 4, 1.0, 384)
    assert drawing_with(PRESETS["vit-l"], ["steps=6", "lcm"]).collect.steps == 6  # whatever stands first
    other = replace(PRESETS["vit-l"], generator=ModelSource("another/generator"))
    assert growing._faster(plan, other) == [fewer]


@pytest.mark.usefixtures("strict")
def test_grow_beside_a_bank(photo: Path, lenient: Path, bank: Path, cache: Path, tmp_path: Path) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(bank, mine)
    before = {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    plain = segment(photo, lenient, "zamboni, cat", "--bank", mine)
    assert plain.exit_code == 0 and "zamboni: not in this bank; answered by " in plain.output, plain.output
    assert "(--grow draws" in plain.output and not (tmp_path / "mine.grown").exists()
    grown = segment(photo, lenient, "zamboni, cat", "--bank", mine, "--grow")
    assert grown.exit_code == 0 and "zamboni 2" in grown.output, grown.output
    assert "with references grown for" in grown.output and (tmp_path / "mine.grown" / "bank.json").is_file()
    # From now on it is used unasked, and nothing is drawn any more.
    again = segment(photo, lenient, "zamboni, cat", "--bank", mine)
    assert "was there already" in again.output and "with references grown for" in again.output
    assert "not in this bank" not in again.output
    third = segment(photo, lenient, "zamboni, cat", "--bank", mine, "--grow")
    assert "drawing" not in third.output
    assert {p: p.read_bytes() for p in mine.rglob("*") if p.is_file()} == before
    assert not cache.exists()
    assert run("bank", "verify", tmp_path / "mine.grown").exit_code == 0


@pytest.mark.usefixtures("strict")
def test_bank_grow_and_coverage(lenient: Path, bank: Path, tmp_path: Path) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(bank, mine)
    places = ("--bank", mine, "--model", lenient, "--device", "cpu")
    before = run("bank", "coverage", "--classes", "okapi", *places)
    assert before.exit_code == 0 and "poorly covered: okapi" in before.output, before.output
    done = run("bank", "grow", "okapi", "fire engine", *places, "--images-per-word", 3)
    assert done.exit_code == 0 and "okapi: 3 references from 3 pictures" in done.output, done.output
    after = run("bank", "coverage", "--classes", "okapi", *places)
    assert "3 of 3" in after.output and "poor" not in after.output, after.output
    without = run("bank", "coverage", "--classes", "okapi", *places, "--no-layer")
    assert "poorly covered: okapi" in without.output
    again = run("bank", "grow", "okapi", *places, "--images-per-word", 3)
    assert again.exit_code == 0 and "drawing" not in again.output


def test_prompts_from_a_file(lenient: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "c.txt").write_text("a cat in a video game\na dog\n")
    done = run("bank", "grow", "cat", "--model", lenient, "--prompts", tmp_path / "c.txt", "--device", "cpu")
    assert done.exit_code == 0, done.output
    from freeda.bank import Bank

    (layer,) = (cache / "grown").iterdir()
    found = {Bank.open(layer).row(i)["caption"] for i in range(2)}
    assert found == {"a cat in a video game", "a photo of the cat"}


def test_words_that_cannot_be_found(photo: Path, model: Path, tmp_path: Path, cache: Path) -> None:
    preset = json.loads(model.read_text())
    preset["collect"] |= {"min_area": 0.999999, "max_area": 1.0, "prompts_per_word": 2}
    path = tmp_path / "strict.json"
    path.write_text(json.dumps(preset))
    refused(segment(photo, path, "cat"), "no word was found in its 2 pictures", "too small")
    refused(run("bank", "grow", "cat", "--model", path, "--device", "cpu"), "no word was found")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["grow", "..."], "no word"),
        (["grow", "cat", "--images-per-word", "0"], "at least 1"),
        (["grow", "cat", "--prompts", "no.txt"], "no.txt"),
        (["grow", "cat", "--bank", "no/bank"], "no/bank"),
        (["grow", "cat", "--set", "colour=3"], "colour"),
        (["grow", "cat", "--draw", "fast"], "'fast' is neither NAME=VALUE (steps=20) nor lcm"),
        (["coverage", "--classes", "cat", "--bank", "no/bank"], "no/bank"),
        (["coverage", "--classes", "cat,cat"], "twice"),
        (["coverage"], "--classes"),
    ],
)
def test_bad_input(arguments: list[str], says: str, cache: Path) -> None:
    refused(run("bank", *arguments, "--device", "cpu"), says)
    assert not cache.exists()


def test_coverage_without_any_bank(lenient: Path) -> None:
    refused(run("bank", "coverage", "--classes", "cat", "--model", lenient), "no bank")


def test_the_miniature_is_not_for_photographs(photo: Path, tmp_path: Path) -> None:
    scene = Path(__file__).resolve().parents[2] / "docs" / "scene.png"
    words = ("--classes", "zamboni, tree", "--save-vocabulary", tmp_path / "words.npz")
    told = run("segment", photo, *words, "--out", tmp_path)
    knows = "This model knows drawn scenes, not photographs: its labels of anything else mean little"
    assert told.exit_code == 0 and f"{knows} (--model)" in told.output, told.output
    assert told.output.count("zamboni: not in this bank; answered by ") == 1 and "--grow" not in told.output
    kept = ("--vocabulary", tmp_path / "words.npz")
    both = run("segment", photo, scene, *kept, "--out", tmp_path / "both")
    assert f"{knows} (1 of 2 photographs; --model)" in both.output, both.output
    assert both.output.count("zamboni: not in this bank; answered by ") == 1
    own = run("segment", scene, "--classes", "sunset, tree", "--out", tmp_path / "own")
    assert own.exit_code == 0 and "knows" not in own.output and "bank" not in own.output, own.output
