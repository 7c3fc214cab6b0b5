"""The folder, the programs and the process that documentation snippets run with; made once a test process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.workshop import fill

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with every program of pyproject.toml, each answered by one process that has imported the package."""
    folder = tmp_path_factory.mktemp("programs")
    address = str(folder / "socket")
    _write_shims(folder, address)
    command = [sys.executable, "-m", "docs.programs_server", address]
    server = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    yield folder
    server.communicate()  # closes its stdin, on which it ends


def _write_shims(folder: Path, address: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    caller = Path(__file__).with_name("call_program.py")
    for name, program in scripts.items():
        shim = folder / name
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{caller}" "{address}" {program} "$@"\n')
        shim.chmod(0o755)


@pytest.fixture(scope="session")
def environment(programs: Path) -> dict[str, str]:
    """The programs and this Python first on the PATH; output without colours, 200 columns."""
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": ""}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """Networks, data and the artifact folder ``out``, deployed once; pages get copies."""
    folder = tmp_path_factory.mktemp("workshop")
    fill(folder)
    command = ["hexaquant", "deploy", "net.onnx", "--data", "calib.npz", "--eval-data", "test.npz", "-o", "out"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def room(workshop: Path, tmp_path: Path) -> Path:
    """A copy of the workshop for one page."""
    return Path(shutil.copytree(workshop, tmp_path / "room"))
