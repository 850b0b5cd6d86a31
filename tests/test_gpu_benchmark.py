"""benchmarks/gpu.py, which a GPU sees rarely: what it does when measurements fail, and all of it in tiny."""

from __future__ import annotations

import json
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from types import ModuleType
from typing import Any

import pytest

import golden

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    return gpu


# As gpu_work.py does it: a measurement is marked running before and done after: the second dies of it.
WORKER = """
import json, os, sys
for name in ("first", "second", "third"):
    found = json.load(open(sys.argv[1]))
    if found["measurements"][name]["status"] == "waiting":
        for status in ("running", "done"):
            found["measurements"][name]["status"] = status
            json.dump(found, open(sys.argv[1], "w"))
            if name == "second":
                os.abort()
"""


def waiting(out: Path, **names: str) -> Path:
    out.write_text(json.dumps({"measurements": {name: {"status": s} for name, s in names.items()}}))
    return out


def test_what_kills_the_process_is_told_and_the_rest_goes_on(gpu: ModuleType, tmp_path: Path) -> None:
    out = waiting(tmp_path / "gpu.json", first="waiting", second="waiting", third="waiting")
    command = [sys.executable, "-c", WORKER, str(out)]
    found = gpu.watch(command, dict(os.environ), out, time.time() + 600)
    assert found == json.loads(out.read_text())
    died = {"status": "failed", "error": "the process ended with -6"}
    assert found["measurements"] == {"first": {"status": "done"}, "second": died, "third": {"status": "done"}}


def test_what_hangs_is_ended_when_the_time_is_over(gpu: ModuleType, tmp_path: Path) -> None:
    out = waiting(tmp_path / "gpu.json", first="done", second="running", third="waiting")
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    found = gpu.watch(command, dict(os.environ), out, time.time() + 0.5)
    hung, never = ({"status": s, "error": "no time was left"} for s in ("failed", "left out"))
    assert found["measurements"] == {"first": {"status": "done"}, "second": hung, "third": never}


def test_what_cannot_begin_ends_at_once(gpu: ModuleType, tmp_path: Path) -> None:
    out = waiting(tmp_path / "gpu.json", first="waiting")
    found = gpu.watch([sys.executable, "-c", "exit(1)"], dict(os.environ), out, time.time() + 60)
    assert found["measurements"]["first"] == {"status": "left out", "error": "the process ended with 1"}


def wheel(folder: Path, name: str, needs: str = "") -> None:
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", "")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")


@pytest.mark.parametrize("solvable", [True, False])
def test_wheels_fill_in_what_is_missing(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solvable: bool
) -> None:
    wheels, target = tmp_path / "wheels", tmp_path / "target"
    wheels.mkdir()
    wheel(wheels, "needed", "Requires-Dist: needed_in_turn\n")
    wheel(wheels, "needed_in_turn")
    wheel(wheels, "numpy")  # there already, and new enough
    wanted = ["needed", "numpy>=1"] + ["not-to-be-had"] * (not solvable)
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "7.0"\ndependencies = {wanted}\n')
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    environment = gpu.prepare(target, wheels)
    there = {path.stem for path in target.glob("*.py")}
    assert there == {"needed", "needed_in_turn"} | (set() if solvable else {"numpy"})
    ask = "from importlib.metadata import version; print(version('freeda'))"
    done = run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "7.0\n"


def test_parity_is_missed_by_what_is_too_far_apart_and_by_nan() -> None:
    good, nan = {"case": 7, "texts apart": 1e-6, "labels equal": 1.0, "grey levels apart": 1.0}, float("nan")
    assert golden.missed(good) == {}
    for bad in ({"texts apart": 1e-4}, {"labels equal": 0.99}, {"logits apart": nan}, {"labels equal": nan}):
        assert list(golden.missed({**good, **bad})) == list(bad)


def test_a_failed_measurement_keeps_its_rows_and_names_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_work

    def fails() -> Iterator[dict[str, Any]]:
        yield {"figure": float("nan")}
        gpu_work.PRESETS["no such"]

    found = {"measurements": {"it": {"status": "waiting"}}, "rows": []}
    gpu_work.attempt(fails, "it", found, lambda: json.dumps(found, allow_nan=False))
    note = found["measurements"]["it"]
    assert found["rows"] == [{"what": "it", "figure": "nan"}]
    assert note["status"] == "failed" and note["error"] == "KeyError: 'no such'"
    assert note["line"].startswith("tests/test_gpu_benchmark.py:") and 'PRESETS["no such"]' in note["line"]


@pytest.mark.slow
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--out", str(tmp_path / "gpu.json")]
    done = run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "torch sees no CUDA device here: --tiny tries all of it on the CPU\n"


@pytest.mark.slow
def test_all_of_it_in_tiny(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", "--out", str(out), "--minutes", "12"]
    done = run(command, capture_output=True, text=True)
    found = json.loads(out.read_text())
    failed = [name for name, note in found["measurements"].items() if note["status"] == "failed"]
    there = Path(__file__).parents[2] / "shared" / "parity"
    assert failed == ([] if there.is_dir() else ["parity online", "parity attribution"]), done.stdout
    assert done.returncode == int(bool(failed)) and len(found["measurements"]) == 16
    assert {row["what"] for row in found["rows"]} == set(found["measurements"]) - set(failed)
    for row in found["rows"]:
        assert row.get("within", True) and "nan" not in row.values()
        assert row.get("the same pictures", True) is True
