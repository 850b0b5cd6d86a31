"""`freeda nouns`: what captions hold, before a picture is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import fill_the_disk, refused, run

LINES = "a red stop sign beside two dogs\n\nA dog\nthe front of something\nA dog\n"


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "captions.txt"
    path.write_text(LINES)
    return path


def test_counts_and_the_most_frequent(lines: Path, tmp_path: Path) -> None:
    done = run("nouns", lines, "--tagger", "pattern", "--show", 1, "--json", tmp_path / "n.json")
    assert done.exit_code == 0, done.output
    assert "a red [stop sign] beside two [dogs = dog]\n" in done.stdout
    assert "The 2 most frequent: dog 3, stop sign 1\n" in done.stdout
    for said in (
        "4, of them 1 repeat",
        "1 (25.00%): never drawn",
        "4, 1.00 a caption",
        "captions/s (pattern)",
    ):
        assert said in done.stdout
    counts = json.loads((tmp_path / "n.json").read_text())
    seconds = counts.pop("seconds")
    assert seconds > 0 and list(counts["nouns"]) == ["dog", "stop sign"]
    assert counts == {
        "tagger": "pattern",
        "captions": 4,
        "repeated": 1,
        "without_nouns": 1,
        "mentions": 4,
        "nouns_per_caption": 1.0,
        "captions_by_nouns": {"0": 1, "1": 2, "2": 1},
        "nouns": {"dog": 3, "stop sign": 1},
    }


def test_limit_column_and_top(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("said,caption\na cat and a dog,x\na dog,x\na tree,x\n")
    done = run("nouns", table, "--column", "said", "--limit", 2, "--top", 1)
    assert done.exit_code == 0 and "The 1 most frequent: dog 2\n" in done.stdout


def test_nothing_found(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("?!\n")
    done = run("nouns", tmp_path / "c.txt")
    assert done.exit_code == 0 and "1 (100.00%)" in done.stdout and "frequent" not in done.stdout


def test_text_that_steers_terminals_or_markup(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a [bold]dog[/bold] \x1b[31m and a cat\n")
    done = run("nouns", tmp_path / "c.txt", "--show", 1)
    assert "\x1b" not in done.stdout and "[bold][dog][/bold]" in done.stdout


def test_refusals(lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(run("nouns", tmp_path / "none.txt"), "none.txt", "no such file")
    refused(run("nouns", "https://example.org/c.json"), "https://example.org/c.json: an address")
    refused(run("nouns", lines, "--limit", 0), "limit is 0")
    refused(run("nouns", lines, "--top", -1), "--top is -1")
    refused(run("nouns", lines, "--tagger", "x"), "'x'", "pattern")
    refused(run("nouns", lines, "--column", "text"), str(lines), "'text'")
    fill_the_disk(monkeypatch)
    refused(run("nouns", lines, "--json", tmp_path / "n.json"), "n.json", "space")
