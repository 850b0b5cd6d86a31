"""What a run says of itself, and its log."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from freeda.collection.job import LOG, append_line, cut_broken_line
from freeda.collection.runner import CaptionProgress, counts_line
from freeda.collection.shard import Tally
from freeda.progress import LINE_EVERY, duration


def shown(terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=150), out


def tally(captions: int, pictures: int, **given: int) -> Tally:
    reasons = {name.replace("_", " "): n for name, n in given.items() if name not in ("pairs", "failed")}
    return Tally(captions, pictures, given.get("pairs", 0), Counter(reasons), given.get("failed", 0))


def test_pace_is_that_of_this_run() -> None:
    now = [100.0]
    console, _ = shown()
    with CaptionProgress(1000, 400, True, console, lambda: now[0]) as bar:
        assert bar.said() == "0 pairs"
        now[0] = 500.0  # loading the models took its time, which does not count
        bar.count(tally(10, 0))
        now[0] = 520.0
        bar.count(tally(40, 30, pairs=100, too_small=7, cut_off=1))
        # 50 captions in 20 s; 550 are left.
        counts = "100 pairs, 8 nouns rejected (7 too small, 1 cut off)"
        assert bar.said() == f"1.5 images/s, 3.7 min left, {counts}"


def test_lines_where_there_is_no_terminal() -> None:
    now = [0.0]
    console, out = shown()
    with CaptionProgress(100, 0, True, console, lambda: now[0]) as bar:
        for _ in range(5):
            now[0] += LINE_EVERY / 2 + 1
            bar.count(tally(10, 10, pairs=20))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3  # two on the way, one at the end
    assert lines[-1].startswith("collecting: 50 of 100 captions, ") and "100 pairs" in lines[-1]


def test_the_end_is_said_once() -> None:
    now = [0.0]
    console, out = shown()
    with CaptionProgress(20, 0, True, console, lambda: now[0]) as bar:
        for _ in range(2):  # a line is due at the very end
            now[0] += LINE_EVERY
            bar.count(tally(10, 10, pairs=20))
    assert [line.split(",")[0] for line in out.getvalue().splitlines()] == [
        "collecting: 10 of 20 captions",
        "collecting: 20 of 20 captions",
    ]


def test_nothing_where_it_is_not_asked_for_or_nothing_was_done() -> None:
    for show in (False, True):
        console, out = shown()
        with CaptionProgress(100, 100, show, console) as bar:
            if not show:
                bar.count(tally(1, 1))
        assert out.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    console, out = shown(terminal=True)
    with CaptionProgress(4, 1, True, console) as bar:
        bar.count(tally(3, 3, pairs=7, failed=1))
    assert "4/4" in out.getvalue() and "7 pairs, 1 captions failed" in out.getvalue()


def test_counts_in_words() -> None:
    many = tally(9, 9, pairs=1234, a=9, b=8, c=7, d=6, e=5, f=1)
    assert counts_line(many) == "1,234 pairs, 36 nouns rejected (9 a, 8 b, 7 c, 6 d, 6 other)"
    assert counts_line(Tally()) == "0 pairs"


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        *((0, "0 s"), (0.312, "0.31 s"), (9.97, "10 s"), (59, "59 s"), (60, "1 min"), (100, "1.7 min")),
        *((599, "10 min"), (725, "12 min"), (3600, "1.0 h"), (86400, "24.0 h"), (2 * 86400, "2.0 days")),
    ],
)
def test_durations(seconds: float, says: str) -> None:
    assert duration(seconds) == says


@pytest.mark.parametrize("size", [0, 10, 70_000, 200_000])
def test_an_unfinished_line_is_taken_away(tmp_path: Path, size: int) -> None:
    cut_broken_line(tmp_path)  # there is no log: nothing to do
    assert list(tmp_path.iterdir()) == []
    append_line(tmp_path, {"a": "x" * size})
    append_line(tmp_path, {"b": "ü\n"})
    whole = (tmp_path / LOG).read_bytes()
    assert whole.count(b"\n") == 2
    for cut in (1, 5, size // 2 + 1, size):
        if cut < size + 8:
            (tmp_path / LOG).write_bytes(whole + whole[:cut].replace(b"\n", b""))
            cut_broken_line(tmp_path)
            assert (tmp_path / LOG).read_bytes() == whole
    (tmp_path / LOG).write_bytes(b"never finished" * 9999)
    cut_broken_line(tmp_path)
    assert (tmp_path / LOG).read_bytes() == b""
