"""``hexaquant analyze`` and ``hexaquant debug``: documents, tables, refusals."""

from __future__ import annotations

import json
from pathlib import Path

from cli.command import hexaquant


def test_analyze_prints_the_document_that_it_writes(deployed: Path, data: Path) -> None:
    result = hexaquant("analyze", deployed, "--data", data, "--samples", 6, "--workers", 1, "--json")
    assert result.code == 0, result.err
    document = result.document
    assert document == json.loads((deployed / "analysis.json").read_text())
    assert document["samples"] == 6 and document["metric"] == "top1" and document["fp32"]["metric"] == 1.0
    assert {q["kind"] for q in document["quantizers"]} == {"activation", "weight"}
    assert all(q["alone_on"]["sqnr_db"] > document["simulation"]["sqnr_db"] - 1 for q in document["quantizers"])
    assert [t["name"] for t in document["tensors"]] == [q["name"] for q in document["quantizers"]]


def test_debug_shows_every_tensor_and_names_nothing_where_all_is_well(deployed: Path, data: Path) -> None:
    result = hexaquant("debug", deployed, "--data", data, "--samples", 2, "--workers", 1)
    assert result.code == 0, result.err
    assert "No layer stands out" in result.out and "target/sim" in result.out
    document = json.loads((deployed / "debug.json").read_text())
    assert document["without_target"] == "" and document["findings"] == []
    assert all(entry["max_steps"] <= 1.01 for entry in document["tensors"] if entry["max_steps"] is not None)


def test_bad_input_is_refused(deployed: Path, data: Path, tmp_path: Path) -> None:
    hexaquant("analyze", deployed, "--data", data, "--workers", "many").assert_refused(2, "many", "ray")
    hexaquant("analyze", tmp_path, "--data", data).assert_refused(2, "artifact folder")
    hexaquant("debug", deployed, "--data", data, "--mode", "sideways").assert_refused(2, "sideways", "isolated")
    hexaquant("debug", deployed, "--data", data, "--encodings", tmp_path / "no.json").assert_refused(2, "no.json")
