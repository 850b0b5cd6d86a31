"""All that is worth knowing of freeda on one CUDA GPU, in one run of minutes that needs no network.

    python benchmarks/gpu.py --out gpu.json [--wheels FOLDER] [--parity FOLDER]   # see docs/gpu.md
    python benchmarks/gpu.py --tiny                                               # all of it on the CPU, tiny

Takes freeda from this checkout, torch from the python that runs it, and what else is missing from a folder of
wheels. gpu_work.py measures, in a process of its own; this one starts it, ends it when the minutes are over,
and starts it again for the rest where a measurement took the process or the GPU down with it. FILE is whole
after every row. Exit code 1 where anything failed, was left out or differs by more than is asked; 2 where
nothing could begin. Wheels, fetched elsewhere for the Python of that machine:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \\
        --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d wheels/ \\
        diffusers faiss-cpu textblob nltk importlib_metadata lazy-importer zipp defusedxml
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from table import section  # noqa: E402

from freeda.files import atomic_write_json  # noqa: E402

GRACE = 2.0
"""Seconds kept back for the report."""


def prepare(target: Path, wheels: Path | None) -> dict[str, str]:
    """The environment in which this checkout's freeda is found, with what `target` gets from the wheels.

    pip says what is missing, with what that needs in turn. Where it sees no way (what is installed may be at
    odds with itself), all wheels are taken.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    # freeda is not installed, but asks for its own version.
    about = target / f"freeda-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: freeda\nVersion: {project['version']}\n")
    if wheels is not None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"]
        plan = target / "plan.json"
        ask = ["--dry-run", "--report", str(plan), "--find-links", str(wheels), *project["dependencies"]]
        found = subprocess.run([*pip, *ask], capture_output=True, text=True)
        if found.returncode:
            print(f"all wheels of {wheels} are taken, since {found.stderr.strip()}", file=sys.stderr)
            missing = sorted(map(str, wheels.glob("*.whl")))
        else:
            missing = [item["download_info"]["url"] for item in json.loads(plan.read_text())["install"]]
        if missing:
            onto = ["--no-deps", "--no-compile", "--target", str(target), *missing]
            subprocess.run([*pip, *onto], check=True)
    places = [str(ROOT / "src"), str(target), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places)), "HF_HUB_OFFLINE": "1"}


def watch(command: list[str], environment: dict[str, str], out: Path, deadline: float) -> dict[str, Any]:
    """Run the measurements until none waits, none gets further, or the time is over; what was found."""
    while True:
        before = json.loads(out.read_text())
        child = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            code = child.wait(max(0.1, deadline - time.time()))
        except subprocess.TimeoutExpired:
            code = 0
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # the demo's processes too
                child.wait()
        ending = f"the process ended with {code}" if code else "no time was left"
        found = json.loads(out.read_text())
        notes = found["measurements"].values()
        over = code == 0 or found == before or time.time() > deadline
        for note in notes:
            if note["status"] == "running":
                note |= {"status": "failed", "error": ending}
            elif note["status"] == "waiting" and over:
                note |= {"status": "left out", "error": ending}
        atomic_write_json(out, found)
        if over or not any(note["status"] == "waiting" for note in notes):
            return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), metavar="FILE")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="install from there what is missing")
    parser.add_argument(
        "--parity", type=Path, metavar="FOLDER", help="the golden sets (default: where tests look)"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="everything is over by then (default 8)")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the CPU: shows that it runs")
    given = parser.parse_args()
    deadline = time.time() + 60 * given.minutes - GRACE
    for folder in (given.wheels, given.parity):
        if folder is not None and not folder.is_dir():
            parser.error(f"{folder} is no folder")
    atomic_write_json(given.out, {"benchmark": "gpu", "where": {}, "measurements": {}, "rows": []})
    with tempfile.TemporaryDirectory() as target:
        try:
            environment = prepare(Path(target), given.wheels)
        except subprocess.CalledProcessError as error:
            print(f"the wheels cannot be installed: pip ended with {error.returncode}", file=sys.stderr)
            return 2
        if given.tiny:
            environment.setdefault("OMP_NUM_THREADS", "1")  # threads would wait more than they work
        command = [
            sys.executable,
            str(Path(__file__).with_name("gpu_work.py")),
            str(given.out),
            str(deadline),
        ]
        command += ["--tiny"] * given.tiny + (["--parity", str(given.parity)] if given.parity else [])
        found = watch(command, environment, given.out, deadline)
    if not found["where"]:
        return 2  # why is on the terminal
    shapes = [list(row) for row in found["rows"]]
    found["rows"].sort(key=lambda row: shapes.index(list(row)))  # a table of each
    atomic_write_json(given.out, found)
    print(section(given.out))
    bad = {name: note for name, note in found["measurements"].items() if note["status"] != "done"}
    print(f"\n{len(found['measurements']) - len(bad)} of {len(found['measurements'])} measurements are done")
    for name, note in bad.items():
        print(f"{name}: {note['status']}: {note['error']}" + (f" ({note['line']})" if "line" in note else ""))
    apart = [row for row in found["rows"] if row.get("within") is False]
    for row in apart:
        print(f"{row['what']}, case {row['case']}: further apart than asked")
    return int(bool(bad or apart))


if __name__ == "__main__":
    sys.exit(main())
