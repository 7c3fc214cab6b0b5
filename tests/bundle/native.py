"""Builds and runs C programs of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "hexaquant" / "bundle" / "c"
TESTS = Path(__file__).parent / "c"
STRICT = ("-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-ffp-contract=off")
LIBRARIES = ("-ldl", "-lm", "-pthread")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
RUNTIME = tuple(sorted(str(path) for path in SOURCES.glob("hq_*.c"))) + (str(SOURCES / "hexaquant_runtime.c"),)


def tool(name: str) -> str:
    """Path of a program that the tests need; a sentence where it is missing."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    assert found, f"{name} is not installed: run scripts/install_system_packages.sh"
    return found


def compile_c(output: Path, sources: Sequence[str | Path], *flags: str) -> Path:
    """``output``, compiled with gcc without a warning."""
    words = [tool("gcc"), *STRICT, *flags, f"-I{SOURCES}", "-o", str(output), *map(str, sources), *LIBRARIES]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


def stand_in_libraries(folder: Path) -> Path:
    """A folder with the stand-in for Qualcomm's two libraries (c/stand_in_qnn.c)."""
    folder.mkdir()
    built = compile_c(folder / "libQnnHtp.so", [TESTS / "stand_in_qnn.c"], "-shared", "-fPIC")
    shutil.copy(built, folder / "libQnnSystem.so")
    return folder


def call(*words: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program; the sanitizers' exit code is 99, so that it is no code of ours."""
    options = {"ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": "exitcode=99", "TSAN_OPTIONS": "exitcode=99"}
    full = {**os.environ, **options, **(env or {})}
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, env=full)


def valgrind(*words: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program under valgrind, which exits with 99 for an error or a leak."""
    flags = ("-q", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible")
    return call(tool("valgrind"), *flags, f"--suppressions={TESTS / 'loader.supp'}", *words, env=env)
