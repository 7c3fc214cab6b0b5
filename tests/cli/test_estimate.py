"""hexaquant estimate: Qualcomm's figures for the SoCs that have them, recorded with the DLC they are of."""

from __future__ import annotations

import json
from pathlib import Path

from cli.command import hexaquant
from hexaquant.folder.manifest import sha256_of, verify_files
from hexaquant.qnn.estimate import estimates_of
from hexaquant.qnn.profile import Event, Stage


def test_estimates_of_a_folder_name_their_soc_and_are_recorded(deployed: Path) -> None:
    done = hexaquant(
        "estimate", deployed, "--soc", "sa8255p", "--soc", "62", "--o-level", "1", "--o-level", "3", "--json"
    )
    assert done.code == 0, done.err
    rows = done.document["estimates"]
    assert [(row["soc_model"], row["o_level"]) for row in rows] == [(52, 1), (52, 3), (62, 1), (62, 3)]
    for row in rows:
        assert 0 < row["cycles_low"] <= row["cycles"] <= row["cycles_high"]
        assert 0 < row["us_low"] <= row["us"] <= row["us_high"]
        assert row["input_fill"] >= 3 * 8 * 8, "the input must come from memory"
        assert str(row["soc_model"]) in row["soc"] and row["graph"] == "model"
    manifest = verify_files(deployed, ["info.json"])
    assert manifest.sections["estimate model.dlc"] == rows
    written = json.loads((deployed / "info.json").read_text())
    assert written["sha256"] == sha256_of(deployed / "model.dlc") and written["estimates"] == rows


def test_table_says_what_the_figures_are(deployed: Path) -> None:
    done = hexaquant("estimate", deployed / "model.dlc", "--o-level", "3")
    assert done.code == 0, done.err
    assert "sa8255p (SoC model 52)" in done.out and "not measurements" in done.out
    assert (deployed / "model.dlc.info.json").is_file()


def test_no_estimate_for_phones(deployed: Path) -> None:
    hexaquant("estimate", deployed, "--soc", "sm8650").assert_refused(2, "sm8650", "sa8255p")
    hexaquant("estimate", deployed, "--soc", "9999").assert_refused(2, "9999")
    hexaquant("estimate", deployed / "model.onnx").assert_refused(2, "no DLC")
    (deployed / "model.dlc").unlink()
    hexaquant("estimate", deployed).assert_refused(2, "model.dlc")


def test_traffic_of_several_cores_is_summed() -> None:
    core = Event(
        2010, "us", 0, "HTP ID", (Event(2011, "bytes", 5, "Input Fill"), Event(2016, "bytes", 1, "Output Spill"))
    )
    bandwidth = Event(2009, "us", 0, "Bandwidth Stats", (core, core))
    whole = Event(2004, "us", 0, "Performance Estimates", (Event(2006, "cycles", 9, "cycles"), bandwidth))
    (one,) = estimates_of([Stage("compose", "g", 1), Stage("finalize", "g", 1, (whole,))], 52, 3)
    assert (one.cycles, one.input_fill, one.output_spill, one.graph) == (9, 10, 2, "g")
    assert estimates_of([Stage("finalize", "g", 1)], 52, 3) == []
