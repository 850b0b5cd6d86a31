"""Many readers while one process appends; processes killed while they merge, clean or import."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bank.appending import PAUSE
from forks import child, ended
from freeda.bank import Bank
from freeda.bank.clean import Rules, clean
from freeda.bank.merge import merge
from freeda.bank.released import export_release, import_release
from freeda.bank.verify import find_damage
from small_banks import make_bank, make_pair, tree

SCRIPT = Path(__file__).with_name("appending.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent), "OMP_NUM_THREADS": "1"}


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_readers_see_a_whole_state_while_one_appends(tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    make_bank(folder, [[make_pair(i) for i in range(3)]])
    readers = [start("read", folder) for _ in range(2)]
    try:
        writer = start("write", folder, 20, len(readers))
        _, said = writer.communicate(timeout=600)
        assert writer.returncode == 0, said
    finally:
        (tmp_path / "stop").write_text("")
    told = []
    for reader in readers:
        out, said = reader.communicate(timeout=600)
        assert reader.returncode == 0, said[-2000:]
        told.append(json.loads(out))
    assert min(t["states"] for t in told) >= 20 // PAUSE, told
    assert len(Bank.open(folder)) == 3 + 20 * 3 and not list(find_damage(folder))


def test_an_open_bank_stays_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "bank"
    early = make_bank(folder, [[make_pair(i) for i in range(3)]])
    done = start("write", folder, 2, 0)
    assert done.communicate(timeout=600) and done.returncode == 0
    written = tree(folder)
    # Opened before and first read after: the arrays on disk are longer than what it knows of.
    assert len(early) == 3 and early.keys.shape[0] == early.prototypes.shape[0] == len(early.nouns) == 3
    assert tree(folder) == written, "a reader must not cut the writer's arrays back"
    late = Bank.open(folder)
    assert len(late) == 9 and late.keys.shape[0] == 9


KINDS: dict[str, Callable[[Path, Path, Path], object]] = {
    "merge": lambda a, release, out: merge([a, a], out),
    "clean": lambda a, release, out: clean(a, out, Rules(per_noun=200, outliers=3.0)),
    "import": lambda a, release, out: import_release(release, out),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(
    "kind", ["merge", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("clean", "import"))]
)
def test_killed_at_any_moment_there_is_all_or_nothing(tmp_path: Path, kind: str) -> None:
    a, out, release = tmp_path / "a", tmp_path / "banks" / "out", tmp_path / "release"
    make_bank(a, [[make_pair(i) for i in range(s, s + 40)] for s in range(0, 1200, 40)])
    if kind == "import":
        pytest.importorskip("faiss")
        export_release(a, release)
    before = tree(a)
    run = KINDS[kind]
    run(a, release, tmp_path / "whole")
    whole = tree(tmp_path / "whole")
    began = time.monotonic()
    run(a, release, tmp_path / "timed")
    step = (time.monotonic() - began) / 10
    killed = 0  # in the middle of it
    while True:
        pid = child(lambda: run(a, release, out))
        status = ended(pid, step * (killed + 0.5))
        if status is None:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        if out.exists():
            assert tree(out) == whole
            if killed >= 3:
                break
            shutil.rmtree(out)  # quicker than the one that was timed: more often, and sooner
            killed, step = 0, step / 2
            continue
        assert status == signal.SIGKILL, "it failed by itself"
        killed += 1
        assert len(list(out.parent.glob(".out.*"))) <= 1, "each run sweeps what the one before left"
    assert tree(out.parent) == {f"out/{name}": data for name, data in whole.items()} and tree(a) == before
