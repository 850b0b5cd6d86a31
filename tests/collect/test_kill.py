"""A process killed without warning leaves nothing that the next run trips over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from freeda.collect.job import collect
from freeda.presets import Preset

SCRIPT = """
import json, os, signal, sys
from freeda.collect import job
from freeda.collect.job import collect
from freeda.presets import find_preset

left = [2]
def stop(caption, image, words):
    left[0] -= 1
    if left[0] < 0 and (out / "shards" / "00000.parquet").exists():
        (out / "shards" / ".00001.parquet.dead.tmp").write_bytes(b"x")
        os.kill(os.getpid(), signal.SIGKILL)

from pathlib import Path
out = Path(sys.argv[2])
collect(sys.argv[3], out, sys.argv[1], "cpu", on_picture=stop)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_sigkill_and_resume(tmp_path: Path, tiny_preset: Preset, captions: list[str]) -> None:
    import json
    from dataclasses import asdict

    chosen = asdict(tiny_preset)
    preset = tmp_path / "tiny.json"
    preset.write_text(
        json.dumps(
            {k: chosen[k] for k in ("clip", "dense", "generator", "clip_size", "dense_size", "collect")}
        )
    )
    text = tmp_path / "captions.txt"
    text.write_text("\n".join(captions))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(preset), str(tmp_path / "a"), str(text)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (tmp_path / "a" / "bank.json").exists()
    collect(text, tmp_path / "a", preset, "cpu")
    collect(text, tmp_path / "b", preset, "cpu")
    found = [
        {str(p.relative_to(tmp_path / x)): p.read_bytes() for p in (tmp_path / x).rglob("*") if p.is_file()}
        for x in "ab"
    ]
    assert found[0] == found[1] and "bank.json" in found[0]
