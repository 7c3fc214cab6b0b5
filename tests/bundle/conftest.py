"""One tiny image classifier, deployed and bundled for this PC once a session, and the C programs of its bundle."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.local_sshd import LocalSshd
from bundle.native import RUNTIME, SANITIZERS, SOURCES, TESTS, compile_c, stand_in_libraries, tool
from cli.command import hexaquant
from cli.tiny import samples, save_data, tiny_model
from hexaquant.qnn.libraries import find_libraries

LABELS = ("cat", "dog", "bird", "fish")
PREPROCESSING = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact folder; data.npz with labels lies beside it."""
    room = tmp_path_factory.mktemp("bundle")
    onnx.save(tiny_model(), room / "net.onnx")
    save_data(room / "data.npz", 6, labels=np.arange(6) % 4)
    given = ("--data", room / "data.npz", "--recipe", "plain", "-o", room / "out")
    for words in (("quantize", room / "net.onnx", *given), ("compile", room / "out")):
        done = hexaquant(*words)
        assert done.code == 0, done.err
    return room / "out"


@pytest.fixture(scope="session")
def labels(out: Path) -> Path:
    path = out.parent / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n")
    return path


@pytest.fixture(scope="session")
def host(out: Path, labels: Path) -> Path:
    """The bundle for this PC, configured and built as its README says, with warnings as errors."""
    folder = out.parent / "host"
    done = hexaquant("bundle", out, "--for", "host", "-o", folder, "--labels", labels, *PREPROCESSING)
    assert done.code == 0, done.err
    for words in (("-S", folder / "c", "-B", folder / "build", "-DHQ_STRICT=ON"), ("--build", folder / "build")):
        built = subprocess.run([tool("cmake"), *map(str, words)], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="session")
def libraries() -> Path:
    """Qualcomm's libraries for this PC: the emulator."""
    return find_libraries().folder


@pytest.fixture(scope="session")
def inputs(out: Path) -> Path:
    """An input list of three inferences in two files."""
    folder, data = out.parent / "inputs", samples(3, seed=4)
    folder.mkdir()
    data[0].tofile(folder / "a.raw")
    data[1:].tofile(folder / "b.raw")
    (folder / "list.txt").write_text(f"# two lines\nx:={folder}/a.raw\n{folder}/b.raw\n")
    return folder / "list.txt"


@pytest.fixture(scope="session")
def expected(out: Path, inputs: Path) -> dict[str, bytes]:
    """What ``hexaquant run`` makes of ``inputs``."""
    results = out.parent / "expected"
    done = hexaquant("run", out, "--input-list", inputs, "-o", results, "--workers", 1)
    assert done.code == 0, done.err
    return tree(results)


def tree(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in for Qualcomm's libraries."""
    return stand_in_libraries(tmp_path_factory.mktemp("stand_in") / "lib")


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """c/harness.c without sanitizers, for valgrind."""
    return compile_c(tmp_path_factory.mktemp("harness") / "harness", [TESTS / "harness.c", *RUNTIME], "-Wno-conversion")


@pytest.fixture(scope="session")
def checked_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """hexaquant_run with address and undefined-behaviour sanitizers."""
    sources = [SOURCES / "hexaquant_run.c", SOURCES / "app_io.c", *RUNTIME]
    return compile_c(tmp_path_factory.mktemp("checked") / "hexaquant_run", sources, *SANITIZERS)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()
