"""run --throughput: requests and latency of several callers, on the real emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cli.command import hexaquant


def test_throughput_counts_answers_and_orders_percentiles(deployed: Path) -> None:
    document = hexaquant("run", deployed, "--throughput", "1", "--callers", "3", "--workers", "1", "--json").document
    latency = document["latency_ms"]
    assert latency["p50"] <= latency["p90"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert document["requests"] > 0 and document["failures"] == {} and document["workers"] == 1
    assert (
        abs(document["per_second"] - document["requests"] / document["seconds"]) < 0.01 * document["per_second"] + 0.01
    )


def test_throughput_sends_the_users_samples(deployed: Path, room: Path, tmp_path: Path) -> None:
    sample = np.load(room / "data.npz")["x"][:1]
    np.save(tmp_path / "x.npy", sample)
    result = hexaquant("run", deployed, "--throughput", "0.5", "--input", f"x={tmp_path / 'x.npy'}")
    assert result.code == 0 and "a second" in result.out
    np.save(tmp_path / "x.npy", sample[..., :-1])
    refused = hexaquant("run", deployed, "--throughput", "0.5", "--input", f"x={tmp_path / 'x.npy'}")
    assert refused.code == 2 and "'x'" in refused.err


def test_run_needs_a_folder_for_results(deployed: Path, tmp_path: Path) -> None:
    result = hexaquant("run", deployed, "--input-list", tmp_path / "list.txt")
    assert result.code == 2 and "give a folder for the results" in result.err
