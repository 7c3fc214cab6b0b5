"""No module that lies beside the user's files runs: not in the command, not in any of its child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from cli.tiny import save_data, tiny_model
from hexaquant.core.child_process import child_command, child_environment

NAMES = ("numpy", "json", "torch", "sitecustomize", "usercustomize", "onnx", "onnxruntime", "typing", "__future__")
COMMANDS = {
    "module": [sys.executable, "-m", "hexaquant"],
    "script": [
        sys.executable,
        "-c",
        "import sys; sys.path.pop(0); from hexaquant.cli.main import main; sys.exit(main())",
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network, data, and modules that leave a trace when they run, here and in OUT."""
    here = tmp_path / "work"
    for place in (here, here / "out"):
        plant(place, tmp_path / "ran")
    (here / "out" / ".state").mkdir()  # what an interrupted run leaves: the folder is ours
    onnx.save(tiny_model(), here / "net.onnx")
    save_data(here / "data.npz", 4, labels=np.arange(4) % 4)
    return here


def plant(place: Path, trace: Path) -> None:
    place.mkdir(parents=True)
    for name in NAMES:
        (place / f"{name}.py").write_text(
            f"with open({str(trace)!r}, 'a') as f: f.write({name!r} + '\\n')\nraise SystemExit(9)\n"
        )


def ran(folder: Path) -> str:
    trace = folder.parent / "ran"
    return trace.read_text() if trace.exists() else ""


def call(folder: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_trap_works(folder: Path) -> None:
    call(folder, sys.executable, "-c", "import json")
    assert ran(folder) == "json\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_deployment_runs_nothing_that_lies_about(command: str, folder: Path) -> None:
    """Relative paths of the user lead where they led; the trace stays empty in the parent and in five children."""
    words = ["deploy", "net.onnx", "--data", "data.npz", "--eval-data", "data.npz", "--recipe", "plain", "-o", "out"]
    done = call(folder, *COMMANDS[command], *words)
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "model.sm8650.bin").is_file()
    analyzed = call(folder, *COMMANDS[command], "analyze", "out", "--data", "data.npz", "--workers", "2")
    assert analyzed.returncode == 0, analyzed.stderr
    assert ran(folder) == ""


@pytest.mark.parametrize("path", ["", ".", f"{os.pathsep}/nowhere", "out", "HERE"])
def test_a_pythonpath_that_leads_to_the_folder_at_hand_reaches_no_child(
    path: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", path.replace("HERE", str(folder)))
    words = child_command("hexaquant.qnn.child", "lower")
    done = subprocess.run(words, env=child_environment(), input=b"", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ran(folder) == ""


def test_a_conversion_by_tensorflow_runs_nothing_that_lies_about(folder: Path) -> None:
    (folder / "net.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    done = call(folder, *COMMANDS["module"], "lint", "net.tflite")
    assert done.returncode == 2 and "net.tflite" in done.stderr, done.stderr
    assert ran(folder) == ""


def test_the_users_own_metric_is_found_in_the_working_folder(folder: Path) -> None:
    """module:function is the user's code: it runs in the children too, and can read files there."""
    (folder / "mine.py").write_text("def score(outputs, label):\n    return float(open('score.txt').read())\n")
    (folder / "score.txt").write_text("0.25")
    words = ["quantize", "net.onnx", "--data", "data.npz", "--recipe", "plain", "-o", "out"]
    assert call(folder, *COMMANDS["script"], *words).returncode == 0
    for name in NAMES:
        (folder / f"{name}.py").unlink()
    for metric in ("mine:score", "mine.py:score"):
        words = ["analyze", "out", "--data", "data.npz", "--metric", metric, "--workers", "2", "--json"]
        done = call(folder, *COMMANDS["script"], *words)
        assert done.returncode == 0 and "0.25" in done.stdout, done.stderr


def test_children_find_the_package_that_started_them() -> None:
    code = "import hexaquant, sys; print(hexaquant.__file__)"
    words = [child_command("x")[0], "-P", "-c", code]
    done = subprocess.run(words, env=child_environment(), capture_output=True, text=True, check=True, cwd="/")
    import hexaquant

    assert Path(done.stdout.strip()).samefile(hexaquant.__file__)
