"""Profiles: what the programs write, and how qnn-profile-viewer shows it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from cli.tools.programs import program
from hexaquant.cli.tools.profile_viewer import combined, profile_lines
from hexaquant.qnn.profile import Event, Profile, Stage, read_profile


@pytest.fixture(scope="module")
def log(dlc: Path, room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detailed profile of compiling the tiny network and running it twice."""
    folder = tmp_path_factory.mktemp("profile")
    (folder / "x.raw").write_bytes(bytes(4 * 3 * 8 * 8))
    (folder / "list.txt").write_text("x.raw\nx.raw\n")
    done = program("qnn-net-run", "--dlc_path", dlc, "--input_list", folder / "list.txt", "--output_dir", folder / "o",
                   "--profiling_level", "detailed")  # fmt: skip
    assert done.code == 0, done.err
    assert "not a device's" in done.err
    return folder / "o" / "qnn-profiling-data_0.log"


def test_text_has_the_blocks_of_the_original(log: Path) -> None:
    done = program("qnn-profile-viewer", "--input_log", log)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    blocks = ("Init Stats:", "Compose Graphs Stats:", "Finalize Stats:", "Execute Stats (Average):",
              "Execute Stats (Min):", "Execute Stats (Max):", "Execute Stats (Overall):")  # fmt: skip
    assert [line for line in lines if line in blocks] == list(blocks)
    assert "Graph 0 (model):" in lines
    assert any(line.startswith("    Backend (QNN (execute) time): ") and line.endswith(" us") for line in lines)
    assert any("(cycles): " in line and line.startswith("        ") for line in lines), "no operator has its cycles"
    assert lines[-1].startswith("    NetRun IPS:  ") and lines[-1].endswith(" inf/sec")
    assert "not a device's" in done.err


def test_csv_and_json_hold_every_figure(log: Path, tmp_path: Path) -> None:
    document = program("qnn-profile-viewer", "--input_log", log, "--json").document
    assert [s["kind"] for s in document["stages"]] == ["compose", "finalize", "init", "execute", "execute"]
    done = program("qnn-profile-viewer", "--input_log", log, "--csv", "--output", tmp_path / "p.csv")
    assert done.out.splitlines() == (tmp_path / "p.csv").read_text().splitlines()
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert {row["Message"] for row in rows} == {"COMPOSE GRAPHS", "FINALIZE", "INIT", "EXECUTE", "NODE"}
    net_run = [int(row["Time"]) for row in rows if row["Timing Source"] == "NETRUN"]
    assert net_run == [stage["us"] for stage in document["stages"]]
    program("qnn-profile-viewer", "--input_log", log, "--output", tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text()) == document


def test_an_execution_as_the_caller_sees_it_holds_what_the_backend_measured(log: Path) -> None:
    for stage in read_profile(log).of("execute"):
        (whole,) = [event for event in stage.events if event.name == "QNN (execute) time"]
        assert 0 < whole.value <= stage.us


def test_figures_of_several_executions_are_combined_event_by_event() -> None:
    stages = [
        Stage("execute", "g", us, (Event(3003, "cycles", us * 10, "all", (Event(404, "cycles", us, "op"),)),))
        for us in (1, 2, 6)
    ]
    assert combined(stages, max) == stages[2]
    lines = profile_lines(Profile("p", "detailed", 57, tuple(stages)))
    average = lines[lines.index("Execute Stats (Average):") :]
    assert average[5:8] == ["    NetRun:  3 us", "    Backend (all): 30 cycles", "        op: 3 cycles"]
    assert lines[-1] == f"    NetRun IPS:  {1e6 / 3:.4f} inf/sec"


def test_client_level_asks_the_backend_for_nothing(binary: Path, listed: Path, tmp_path: Path) -> None:
    program("qnn-net-run", "--retrieve_context", binary, "--input_list", listed, "--output_dir", tmp_path,
            "--profiling_level", "client")  # fmt: skip
    stages = read_profile(tmp_path / "qnn-profiling-data_0.log").stages
    assert [stage.kind for stage in stages] == ["init"] + 3 * ["execute"]
    assert all(stage.us > 0 and stage.events == () for stage in stages)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--input_log", "none.log"], ["none.log", "--profiling_level"]),
        (["--input_log", __file__], ["no profile of this package"]),
        (["--reader", "libQnnHtpOptraceProfilingReader.so"], ["--reader", "SDK"]),
        (["--json", "--csv"], ["contradict"]),
        (["--output", "p.txt"], [".csv or .json"]),
    ],
)
def test_what_is_refused(arguments: list[str], words: list[str], log: Path) -> None:
    program("qnn-profile-viewer", "--input_log", log, *arguments).assert_refused(2, *words)
