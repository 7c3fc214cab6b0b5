"""A sweep over a Ray cluster of two nodes on this machine gives the figures of a local run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from analysis.nets import quantized_net, samples
from hexaquant.analysis.sensitivity import MODES, Task, make_study
from hexaquant.analysis.sweep import run_sweep

X = samples(4, seed=3)
TASKS = [Task(mode, i, {"x": X[i : i + 1]}, np.array([i])) for i in range(4) for mode in MODES]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
ENVIRONMENT = {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes of one core; sockets need a short path, and tokens go into the home folder."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        for name, value in (ENVIRONMENT | {"HOME": folder, "RAY_TMPDIR": folder}).items():
            monkeypatch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args=NODE)
        try:
            made.add_node(**NODE)
            ray.init(address=made.address, log_to_driver=False)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def test_modules_beside_the_users_files_run_in_no_worker(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would put the folder in which it connects on its workers' path."""
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.chdir(tmp_path)
    for name in ("torch", "onnx", "safetensors", "onnx_ir"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('x')\n")
    study = make_study(quantized_net(), {}, "top1")
    assert len(run_sweep(study, TASKS[:2], "ray", tmp_path / "state")) == 2
    assert not (tmp_path / "ran").exists()


def test_two_nodes_give_the_figures_of_a_local_run(cluster: Cluster, tmp_path: Path) -> None:
    assert len(ray.nodes()) == 2
    study = make_study(quantized_net(), {}, "top1")
    there = run_sweep(study, TASKS, "ray", tmp_path / "ray")
    assert there == run_sweep(study, TASKS, 1, tmp_path / "local")
