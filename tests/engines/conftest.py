"""A Ray cluster of this machine for the tests of one file: two nodes of one CPU each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    patch.setenv("RAY_TMPDIR", "/tmp")  # whose sockets' paths must stay short
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_worker_niceness", "0")  # else they starve on a machine that is busy with other tests
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    patch.setenv("RAY_ADDRESS", made.address)
    yield made
    patch.undo()
    made.shutdown()


@pytest.fixture
def second(cluster: Any) -> Any:
    """The node that may be removed; there again for the next test."""
    if len(cluster.worker_nodes) == 0:
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    return next(iter(cluster.worker_nodes))
