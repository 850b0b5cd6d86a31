"""A Ray cluster of this machine for the tests of one file: two nodes of one CPU each."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freeda.engines.on_ray import QUIETLY

# Ray reads some of these when it is imported, which may be before an engine is made.
for name, value in QUIETLY.items():
    os.environ.setdefault(name, value)
TESTS = str(Path(__file__).resolve().parents[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and another node; RAY_ADDRESS names it meanwhile."""
    pytest.importorskip("ray", reason="Ray (the extra `ray`) is not installed")
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    # What the nodes' processes are to find and to leave alone; they take it over when they are started.
    paths = [TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]
    patch.setenv("PYTHONPATH", os.pathsep.join(paths))
    patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("node")))  # killed workers leave a folder there
    # Sockets' paths must stay short; and no other cluster's address is overwritten, or found by its programs.
    own = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    patch.setenv("RAY_TMPDIR", own)
    patch.setenv("RAY_worker_register_timeout_seconds", "600")
    patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # no worker is killed for what other programs hold
    made = Cluster()
    add_node(made, include_dashboard=False)
    add_node(made)
    patch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()  # which takes its address back from where it noted it
    patch.undo()
    shutil.rmtree(own, ignore_errors=True)


def add_node(cluster: Any, **given: Any) -> None:
    """One more node of one CPU. Ray gives up after 30 s, which a busy machine may need: then once more."""
    for last in (False, False, True):
        try:
            cluster.add_node(num_cpus=1, **given)
            return
        except Exception as error:
            if last or "timed out" not in str(error).lower():
                raise


@pytest.fixture
def second(cluster: Any) -> Any:
    """The node that may be removed; there again for the next test."""
    if len(cluster.worker_nodes) == 0:
        add_node(cluster)
    cluster.wait_for_nodes(timeout=300)  # that a node is gone may be noticed late
    return next(iter(cluster.worker_nodes))
