"""docs/tools.md: every flag is in it, and its script, written as for the SDK, runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from cli.tools.programs import PROGRAMS

DOCUMENT = Path(__file__).parents[3] / "docs" / "tools.md"
AIMET = Path(__file__).parents[2] / "data" / "aimet"


def test_every_flag_is_documented_with_its_program() -> None:
    sections = dict(re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text()))
    for name, main in PROGRAMS.items():
        if name == "qnn-onnx-converter":
            continue
        program = import_module(main.__module__).PROGRAM
        flags = [flag for one in program.flags for flag in one.names] + list(program.refused)
        missing = [flag for flag in flags if f"`{flag}`" not in sections[name]]
        assert not missing, f"{name}: {missing}"


def test_the_documented_script_runs(tmp_path: Path) -> None:
    """Converter, quantizer, generator with a config file, net-run with a profile, viewer, inspection."""
    shutil.copy(AIMET / "net_fp32.onnx", tmp_path / "net.onnx")
    shutil.copy(AIMET / "onnx_w8a8_1.0.0.encodings", tmp_path / "net.encodings")
    np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32).tofile(tmp_path / "image0.raw")
    (tmp_path / "calibration.txt").write_text("image0.raw\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, main in PROGRAMS.items():
        call = f"import sys; from {main.__module__} import main; sys.exit(main())"
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{call}" "$@"\n')
        (programs / name).chmod(0o755)
    (script,) = re.findall(r"(?ms)^```sh\n(.*?)^```", DOCUMENT.read_text())
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=environment, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stderr.decode()
    result = np.fromfile(tmp_path / "output" / "Result_0" / "output.raw", np.float32)
    assert result.shape == (10,) and abs(result.sum() - 1) < 0.03
    assert "Execute Stats (Average):" in done.stdout.decode()
    assert {"net_q.dlc", "profile.csv", "net.json"} <= {file.name for file in tmp_path.iterdir()}
