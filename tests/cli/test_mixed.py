"""``hexaquant mixed``: its overrides quantize the network as it says."""

from __future__ import annotations

from pathlib import Path

import yaml

from cli.command import hexaquant


def test_the_file_it_writes_is_what_quantize_takes(net: Path, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    result = hexaquant("mixed", net, "--data", data, "--budget-bops", "140%", "-o", file, "--json")
    assert result.code == 0, result.err
    document = result.document
    assert yaml.safe_load(file.read_text()) == document["overrides"] and document["overrides"]
    assert document["choice"]["bops"] <= 1.4 * document["w8a8"]["bops"]
    assert document["choice"]["predicted_sqnr_db"] > document["w8a8"]["predicted_sqnr_db"]
    assert len(document["pareto"]) >= 3 and len(document["layers"]) == sum(document["choice"]["layers"].values())
    out = tmp_path / "out"
    done = hexaquant(
        "quantize", net, "--data", data, "--scheme", document["scheme"], "--overrides", file, "-o", out, "--json"
    )
    assert done.code == 0, done.err
    assert len({(t["role"], t["grid"]) for t in done.document["tensors"] if t["role"] in ("activation", "input")}) > 1


def test_bad_input_is_refused(net: Path, data: Path) -> None:
    hexaquant("mixed", net, "--data", data, "--choice", "w5a5").assert_refused(2, "w5a5")
    hexaquant("mixed", net, "--data", data, "--budget-size", "1").assert_refused(2, "the least is size")
    hexaquant("mixed", net).assert_refused(2, "--data")
