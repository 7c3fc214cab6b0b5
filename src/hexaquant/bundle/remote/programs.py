"""What runs on the device: the C program, built here, or where no compiler is, the Python runner."""

from __future__ import annotations

import os
import platform as this_pc
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from hexaquant.bundle.platforms import Platform
from hexaquant.core.errors import EnvironmentLacksError

NDK = "ANDROID_NDK_HOME"
_FLAGS = ("-std=c11", "-O2", "-ffp-contract=off", "-fno-fast-math", "-pthread")
_NOT_IN_IT = ("classify.c",)


def find_compiler(platform: Platform) -> str | None:
    """The C compiler for ``platform``, or None."""
    return next((found for name in _candidates(platform) if (found := shutil.which(name))), None)


def _candidates(platform: Platform) -> Iterator[str]:
    yield from platform.compilers
    if platform.name == "linux-arm64" and this_pc.machine() in ("aarch64", "arm64"):
        yield "cc"
    ndk = os.environ.get(NDK)
    if platform.name == "android" and ndk:
        for folder in sorted(Path(ndk).glob("toolchains/llvm/prebuilt/*/bin")):
            yield from (str(folder / name) for name in platform.compilers)


def build_program(compiler: str, output: Path) -> None:
    """Compile hexaquant_run into ``output``. Raises EnvironmentLacksError with what the compiler said."""
    with as_file(files("hexaquant.bundle") / "c") as source:
        sources = sorted(str(path) for path in source.glob("*.c") if path.name not in _NOT_IN_IT)
        words = [compiler, *_FLAGS, "-o", str(output), *sources, "-ldl", "-lm"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-200:])
        raise EnvironmentLacksError(f"{compiler} cannot build the runner: {said}")
