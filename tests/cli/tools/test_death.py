"""Every program, when the child with Qualcomm's libraries dies, hangs or finds the disk full: a sentence, no traces.

The children are real and end really: a sitecustomize module in their PYTHONPATH, which acts in them only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.tools.programs import PROGRAMS, program

ENDINGS = {
    "SIGSEGV": "os.kill(os.getpid(), 11)",
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "hang": "time.sleep(3600)",
    "full disk": "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); signal.signal(25, signal.SIG_IGN)",
}
TOLD = {
    "SIGSEGV": (70, "died of SIGSEGV"),
    "SIGKILL": (70, "died of SIGKILL"),
    "hang": (70, "took longer than"),
    "full disk": (4, "disk is full"),
}
"""Exit code and words of the message."""
CHILD = """
import os, resource, signal, sys, time
if any(word.startswith("hexaquant.qnn.") for word in sys.orig_argv):
    open(os.environ["CHILD_LOG"], "a").write(f"{os.getpid()}\\n")
    ENDING
"""


@dataclass(frozen=True)
class Room:
    """What the programs read, in ``inputs``; they write into ``out`` and hold their temporary files in ``tmp``."""

    inputs: Path
    out: Path
    tmp: Path
    hook: Path
    log: Path


@pytest.fixture(scope="module")
def float_dlc(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DLC for qairt-quantizer, with its .source folder."""
    path = tmp_path_factory.mktemp("float") / "float.dlc"
    assert program("qairt-converter", "-i", room / "net.onnx", "-o", path).code == 0
    return path


@pytest.fixture
def stage(dlc: Path, binary: Path, float_dlc: Path, room: Path, tmp_path: Path) -> Room:
    folders = {name: tmp_path / name for name in ("inputs", "out", "tmp", "hook")}
    for folder in folders.values():
        folder.mkdir()
    inputs = folders["inputs"]
    for file in (dlc, binary, dlc.parent / "manifest.json", dlc.parent / "model.qdq.onnx", room / "net.onnx"):
        shutil.copy(file, inputs)
    shutil.copy(float_dlc, inputs)
    shutil.copytree(float_dlc.with_name("float.dlc.source"), inputs / "float.dlc.source")
    (inputs / "x.raw").write_bytes(bytes(4 * 3 * 8 * 8))
    (inputs / "list.txt").write_text("x.raw\n")
    return Room(**folders, log=tmp_path / "children")


def commands(stage: Room) -> dict[str, list[object]]:
    """A call of each program that starts a child."""
    inputs, out = stage.inputs, stage.out
    listed = ["--input_list", inputs / "list.txt"]
    return {
        "qairt-converter": ["-i", inputs / "model.qdq.onnx", "-o", out / "net.dlc"],
        "qairt-quantizer": ["-i", inputs / "float.dlc", "-o", out / "q.dlc", *listed],
        "onnx-qnn-converter": ["-i", inputs / "model.qdq.onnx", "-o", out],
        "qnn-context-binary-generator": ["--dlc_path", inputs / "model.dlc", "--binary_file", "n", "--output_dir", out],
        "qnn-net-run": ["--retrieve_context", inputs / "model.sm8650.bin", "--output_dir", out, *listed],
        "qairt-dlc-info": ["-i", inputs / "model.dlc", "-s", out / "layers.csv"],
        "qnn-context-binary-utility": [
            "--context_binary",
            inputs / "model.sm8650.bin",
            "--json_file",
            out / "info.json",
        ],
        "hexaquant estimate": [inputs / "model.dlc"],
    }


NAMES = (
    "qairt-converter",
    "qairt-quantizer",
    "onnx-qnn-converter",
    "qnn-context-binary-generator",
    "qnn-net-run",
    "qairt-dlc-info",
    "qnn-context-binary-utility",
    "hexaquant estimate",
)


def start(name: str, stage: Room, ending: str) -> subprocess.CompletedProcess[str]:
    (stage.hook / "sitecustomize.py").write_text(CHILD.replace("ENDING", ENDINGS[ending]))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(stage.hook), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(stage.tmp),
        "CHILD_LOG": str(stage.log),
        "HEXAQUANT_CHILD_SECONDS": "3" if ending == "hang" else "60",
    }
    words = [str(word) for word in commands(stage)[name]]
    if name.startswith("hexaquant"):
        module, words = "hexaquant.cli.main", ["estimate", *words]
    else:
        module = PROGRAMS[name].__module__
    call = f"import sys; from {module} import main; sys.exit(main({words!r}))"
    return subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, text=True, timeout=580)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().split(")")[-1].split()[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_dead_child_is_one_sentence_without_traces(name: str, ending: str, stage: Room) -> None:
    before = sorted(stage.inputs.rglob("*"))
    done = start(name, stage, ending)
    if (name, ending) == ("qnn-net-run", "full disk"):  # its child writes no file: the program itself does
        assert done.returncode == 0, done.stderr
        return
    last, (code, words) = done.stderr.strip().splitlines()[-1], TOLD[ending]
    assert done.returncode == code and last.startswith("error: ") and words in last, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
    assert_no_traces(stage, before)


def assert_no_traces(stage: Room, before: list[Path]) -> None:
    """Nothing written, no temporary files, no process."""
    assert list(stage.out.rglob("*")) == [], "the program left files"
    assert sorted(stage.inputs.rglob("*")) == before, "the program left files beside its inputs"
    assert list(stage.tmp.iterdir()) == [], "the program left temporary files"
    children = [int(line) for line in stage.log.read_text().split()]
    assert children, "no child was started"
    deadline = time.monotonic() + 5
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, children)), "a child lives on"
