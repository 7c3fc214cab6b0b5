"""How a command behaves as a process: limits, locks, signals, closed pipes, forks."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from cli.command import hexaquant
from cli.test_interrupt import SLOW_DATA
from cli.tiny import samples, save_data, tiny_model
from hexaquant.core.errors import WorkerError
from hexaquant.core.printable import printable
from hexaquant.qnn.runtime import Runtime


@pytest.fixture
def slow(net: Path, tmp_path: Path) -> list[str]:
    """A command that takes 100 seconds, once it has begun."""
    (tmp_path / "slow.py").write_text(SLOW_DATA)
    words = ["quantize", str(net), "--data", f"{tmp_path / 'slow.py'}:slow", "-o", str(tmp_path / "out")]
    return [sys.executable, "-m", "hexaquant", *words]


def begun(words: list[str], temporary: Path) -> subprocess.Popen[str]:
    """The command, when its data are being read."""
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        if "reading" in line:
            return process
    raise AssertionError(f"it ended with {process.wait()}")


def test_a_limit_on_memory_holds_for_the_children_too(deployed: Path) -> None:
    """ulimit -v below what a child would set itself: setting more than the hard limit is refused by the system."""
    most = 12 << 30
    words = [sys.executable, "-m", "hexaquant", "compile", str(deployed), "--target", "sm8550"]
    done = subprocess.run(
        words, capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most))
    )
    assert done.returncode == 0, done.stderr


def test_a_second_command_on_a_folder_is_told_who_works_there(slow: list[str], tmp_path: Path) -> None:
    first = begun(slow, tmp_path / "tmp")
    try:
        done = hexaquant(*slow[3:])
        done.assert_refused(2, str(tmp_path / "out"), f"process {first.pid}")
    finally:
        first.kill()
        first.wait()
    (tmp_path / "slow.py").write_text(SLOW_DATA.replace("2000", "4"))
    assert hexaquant(*slow[3:], "--recipe", "plain").code == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_it_and_leaves_no_temporary_file(name: str, slow: list[str], tmp_path: Path) -> None:
    process = begun(slow, tmp_path / "tmp")
    process.send_signal(getattr(signal, name))
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name)
    assert told.strip().splitlines()[-1] == "interrupted"
    assert not list((tmp_path / "tmp").iterdir())


def test_an_ignored_hangup_stays_ignored(slow: list[str], tmp_path: Path) -> None:
    """As nohup starts it."""
    command = ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *slow]
    process = begun(command, tmp_path / "tmp")
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.kill()
    process.wait()


@pytest.mark.parametrize("words", [["info"], ["info", "--json"]])
def test_a_reader_that_goes_away_is_no_error(words: list[str], deployed: Path) -> None:
    command = [sys.executable, "-m", "hexaquant", *words, str(deployed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    told = process.stderr.read()
    assert process.wait() == 0 and told == ""


def test_closed_output_is_no_error(deployed: Path) -> None:
    command = f"'{sys.executable}' -m hexaquant info '{deployed}' >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", command], check=False).returncode == 0


def test_a_forked_process_is_told_that_the_runtime_is_not_its_own(deployed: Path) -> None:
    with Runtime(deployed / "model.sm8650.bin", workers=1) as runtime:
        before = runtime.run({"x": samples(1)})["y"]
        child = os.fork()
        if child == 0:
            try:
                runtime.run({"x": samples(1)}, deadline_s=5)
            except WorkerError as error:
                runtime.close()
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        np.testing.assert_array_equal(runtime.run({"x": samples(1)})["y"], before)


def test_names_with_line_separators_and_escape_codes_compile(tmp_path: Path) -> None:
    model = tiny_model()
    for node, name in zip(model.graph.node, ("a\u2028b", "\x1b[31mred", "a\u202eb", "line\nfeed", "tab\there")):
        node.name = name
    rename = {"c": "c\u2028d", "r": "r\x1b[2J", "x": "x\u2029"}
    for node in model.graph.node:
        node.input[:] = [rename.get(name, name) for name in node.input]
        node.output[:] = [rename.get(name, name) for name in node.output]
    model.graph.input[0].name = rename["x"]
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", **{rename["x"]: samples(4)})
    words = ["--data", tmp_path / "data.npz", "--recipe", "plain", "-o", tmp_path / "out"]
    done = hexaquant("deploy", tmp_path / "net.onnx", *words)
    assert done.code == 0, done.err
    assert "\x1b" not in done.err + done.out


def test_what_steers_a_terminal_is_spelled_out() -> None:
    assert printable("a\x1b[2J\u2028\u202e\ud800\x9b") == "a\\x1b[2J\\u2028\\u202e\\ud800\\x9b"
    assert printable("größer\n\tals 数") == "größer\n\tals 数"


@pytest.mark.parametrize("out", ["photos", "here"])
def test_a_folder_of_someone_else_is_refused_before_any_work(out: str, net: Path, tmp_path: Path) -> None:
    """Data that cannot be read show that nothing was read."""
    (tmp_path / out).mkdir()
    (tmp_path / out / "holiday.jpg").write_bytes(b"x")
    done = hexaquant("deploy", net, "--data", tmp_path / "ghost.npz", "-o", tmp_path / out)
    done.assert_refused(2, "not an artifact folder", "holiday.jpg")
    assert [path.name for path in (tmp_path / out).iterdir()] == ["holiday.jpg"]


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(net: Path, tmp_path: Path) -> None:
    data = save_data(tmp_path / "data.npz", 4)
    done = hexaquant("deploy", net, "--data", data, "-o", "/proc/hexaquant")
    done.assert_refused(2, "/proc/hexaquant")
    assert "calibrate" not in done.err
