"""hexaquant compare-converters: the ways to the NPU on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.command import hexaquant
from hexaquant.cli.compare_converters import notes, ways_table


def test_both_carriers_end_in_the_same_binary_and_scales_a_channel_are_closer(net: Path, data: Path) -> None:
    done = hexaquant("compare-converters", net, "--data", data, "--scheme", "w8a8", "--o-level", "3", "--recipe",
                     "plain", "--limit", "4", "--json")  # fmt: skip
    assert done.code == 0, done.err
    document = done.document
    rows = {(row["granularity"], row["carrier"]): row for row in document["rows"]}
    assert len(rows) == 4 and document["samples"] == 4 and document["fp32"] == 1.0
    for granularity in ("channel", "tensor"):
        first, second = (rows[granularity, carrier] for carrier in ("overrides", "QDQ nodes"))
        assert first["binary_sha256"] == second["binary_sha256"] and first["error"] is None
        assert first["estimate"]["soc_model"] == 52 and first["estimate"]["us"] > 0
        assert first["binary_bytes"] > 0 and 0 <= first["agreement"] <= 1
    assert rows["channel", "overrides"]["binary_sha256"] != rows["tensor", "overrides"]["binary_sha256"]
    assert rows["channel", "overrides"]["sqnr_db"] > rows["tensor", "overrides"]["sqnr_db"] > 30


def test_a_way_that_the_target_refuses_is_a_row_with_the_reason(net: Path, data: Path) -> None:
    done = hexaquant("compare-converters", net, "--data", data, "--scheme", "w16a16", "--target", "v68",
                     "--o-level", "1", "--json")  # fmt: skip
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = done.document["rows"]
    assert len(rows) == 4 and all("16-bit weights" in row["error"] for row in rows)
    assert len(ways_table(done.document).rows) == 4
    assert notes(done.document).count("refused: ") == 1


def test_no_estimates_for_a_phone(net: Path, data: Path) -> None:
    hexaquant("compare-converters", net, "--data", data, "--estimate-soc", "sm8650").assert_refused(
        2, "sm8650", "sa8255p"
    )
