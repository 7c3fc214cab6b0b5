"""Ctrl-C: exit 130, no half-written file, no process left behind, and the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command import hexaquant

MARK = "HEXAQUANT_TEST_RUN"

SLOW_DATA = """
import time
import numpy as np

class Slow:
    def __init__(self, pause):
        self.pause = pause

    def __iter__(self):
        rng = np.random.default_rng(0)
        print("reading", flush=True)
        for _ in range(2000):
            time.sleep(self.pause)
            yield {"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)}

def slow():
    return Slow(0.05)
"""


@pytest.fixture
def mark() -> Iterator[str]:
    """A value in the environment of the command and so of every process that it starts."""
    value = uuid.uuid4().hex
    yield value
    for process in processes(value):
        os.kill(process, signal.SIGKILL)


def processes(mark: str) -> list[int]:
    """Processes that live (zombies do not) with ``mark`` in their environment. Linux only."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def start(mark: str, temporary: Path, *arguments: object) -> subprocess.Popen[str]:
    temporary.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "hexaquant", *map(str, arguments)],
        env={**os.environ, MARK: mark, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """A test run in the background of a shell ignores SIGINT, and its children would too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)


def wait_until(condition: object, process: subprocess.Popen[str]) -> None:
    assert callable(condition)
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("the command did not get there in a minute")


def half_written(*folders: Path) -> list[Path]:
    """Temporary files and folders left in ``folders``."""
    left = [
        file for folder in folders for file in folder.rglob("*") if file.name.startswith(".") and file.name != ".state"
    ]
    return left + list(folders[-1].iterdir())


def test_while_reading_calibration_data(net: Path, tmp_path: Path, mark: str) -> None:
    (tmp_path / "slow.py").write_text(SLOW_DATA)
    out = tmp_path / "out"
    process = start(mark, tmp_path / "tmp", "deploy", net, "--data", f"{tmp_path / 'slow.py'}:slow", "-o", out)
    assert process.stderr is not None
    assert "reading" in process.stderr.readline()
    stdout, stderr = interrupt(process)
    assert process.returncode == 130 and stderr.strip() == "interrupted" and stdout == ""
    assert processes(mark) == [] and not out.exists() and list((tmp_path / "tmp").iterdir()) == []


def test_while_the_emulator_runs(net: Path, data: Path, tmp_path: Path, mark: str) -> None:
    (tmp_path / "slow.py").write_text(SLOW_DATA)
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    slow = f"{tmp_path / 'slow.py'}:slow"
    process = start(mark, temporary, "deploy", net, "--data", data, "--eval-data", slow, "-o", out, "--json")
    wait_until(lambda: any((out / ".state" / "target").rglob("*.outputs")), process)
    assert len(processes(mark)) > 1, "workers run"
    stdout, stderr = interrupt(process)
    assert process.returncode == 130 and stderr.strip().endswith("interrupted")
    assert stdout.strip().startswith('{"error": "interrupted"')
    assert processes(mark) == [] and half_written(out, temporary) == []
    assert not (out / "verify.json").exists()
    again = hexaquant("deploy", net, "--data", data, "--eval-data", data, "-o", out)
    assert again.code == 0 and "up to date" in again.err


def test_while_lowering(net: Path, data: Path, tmp_path: Path, mark: str) -> None:
    """The child that holds Qualcomm's libraries is ended with its parent."""
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    process = start(mark, temporary, "deploy", net, "--data", data, "-o", out)
    wait_until(lambda: len(processes(mark)) > 1, process)
    _, stderr = interrupt(process)
    assert process.returncode == 130, stderr
    assert stderr.strip().endswith("interrupted") and "Traceback" not in stderr
    assert processes(mark) == [] and half_written(out, temporary) == []
    assert not (out / "model.sm8650.bin").exists()
