"""What deploy leaves for the report, and what commands leave in the manifest."""

from __future__ import annotations

import json
from pathlib import Path

from cli.command import hexaquant


def test_deploy_writes_the_page_with_lint_and_its_own_command(room: Path) -> None:
    out = room / "deployed"
    text = (out / "report.html").read_text()
    command = f"hexaquant deploy {room / 'net.onnx'} --data {room / 'data.npz'} -o {out}"
    assert command in text
    assert json.loads((out / "lint.json").read_text())["kind"] == "lint"
    progress = json.loads((out / ".state" / "progress.json").read_text())
    assert progress["state"] == "done" and {"calibrate", "verify"} <= {task["task"] for task in progress["tasks"]}


def test_no_report_writes_none_and_says_that_one_is_old(deployed: Path, net: Path, data: Path) -> None:
    page, command = deployed / "report.html", ("deploy", net, "--data", data, "-o", deployed, "--no-report")
    assert f"{page} shows an earlier run" in hexaquant(*command).err
    page.unlink()
    result = hexaquant(*command)
    assert result.code == 0 and "earlier run" not in result.err
    assert not (deployed / "report.html").exists()


def test_later_commands_write_the_page_again_where_there_is_one(deployed: Path, data: Path) -> None:
    page, absent = deployed / "report.html", "Which quantizer costs what"
    assert absent in page.read_text()
    result = hexaquant("analyze", deployed, "--data", data, "--samples", 2, "--workers", 1, "--json")
    assert result.document["samples"] == 2 and f"report: {page}" in result.err
    assert absent not in page.read_text()
    page.unlink()
    assert hexaquant("verify", deployed, "--data", data, "--limit", 2, "--workers", 1).code == 0
    assert not page.exists()


def test_commands_on_a_folder_are_recorded_once_each_in_order(deployed: Path, data: Path) -> None:
    for _ in range(2):
        assert hexaquant("verify", deployed, "--data", data, "--limit", 2).code == 0
    hexaquant("verify", deployed, "--data", "absent.npz").assert_refused(2, "absent.npz")
    recorded = json.loads((deployed / "manifest.json").read_text())["sections"]["commands"]
    assert [entry["argv"][0] for entry in recorded] == ["deploy", "verify"]
    assert recorded[1]["argv"][1:] == [str(deployed), "--data", str(data), "--limit", "2"]
