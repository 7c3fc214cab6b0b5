"""The checks of ``hexaquant doctor``: Python, packages, Qualcomm's libraries, and the emulator on a tiny network."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from hexaquant.cli import options as o
from hexaquant.cli.console import Console, table
from hexaquant.core.errors import EnvironmentLacksError, HexaquantError

REQUIRED = (
    "torch",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-qnn",
    "numpy",
    "safetensors",
    "pydantic",
)
OPTIONAL = {"pillow": "reads folders of images"}
REINSTALL = "reinstall hexaquant: pip install --force-reinstall hexaquant"


@dataclass(frozen=True)
class Check:
    """``ok`` False: something is missing, and ``remedy`` says what to do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Check]:
    """All checks; those of the chain stop at the first that fails."""
    checks = [*_system(), *_packages(), _libraries()]
    return checks if not checks[-1].ok else [*checks, *self_test()]


def _system() -> Iterator[Check]:
    recent = sys.version_info >= (3, 11)
    yield Check("Python", recent, platform.python_version(), "" if recent else "install Python 3.11 or newer")
    yield Check("platform", True, platform.platform())
    from hexaquant.qnn.runtime import available_cores

    yield Check("cores", True, f"{available_cores()} (one emulator process on each)")


def _packages() -> Iterator[Check]:
    for name in REQUIRED:
        found = _version(name)
        yield Check(name, found is not None, found or "not installed", "" if found else f"pip install {name}")
    for name, use in OPTIONAL.items():
        found = _version(name)
        yield Check(name, True, found or f"not installed (optional: {use}; pip install {name})")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _libraries() -> Check:
    from hexaquant.qnn.libraries import PACKAGE, altered_libraries, find_libraries

    name = "Qualcomm's libraries"
    try:
        found = find_libraries()
    except EnvironmentLacksError as error:
        detail, _, remedy = str(error).rpartition(": ")
        return Check(name, False, detail, remedy)
    if altered := altered_libraries(found):
        remedy = f"pip install --force-reinstall {PACKAGE}=={found.release}"
        return Check(name, False, f"not as the wheel has them in {found.folder}: {', '.join(altered)}", remedy)
    return Check(name, True, f"release {found.release} in {found.folder}")


def self_test() -> list[Check]:
    """Quantize, lower, compile and execute a tiny convolution, and compare it with the simulation."""
    checks: list[Check] = []
    with tempfile.TemporaryDirectory(prefix="hexaquant-doctor-") as name:
        for step, run in _steps(Path(name)):
            try:
                checks.append(Check(step, True, run()))
            except HexaquantError as error:
                checks.append(Check(step, False, str(error), REINSTALL))
                break
    return checks


def _steps(folder: Path) -> Iterator[tuple[str, Any]]:
    """(name, function that does the step and says what it found)."""
    from hexaquant.api.compile import compile_folder
    from hexaquant.api.quantize import quantize, random_data
    from hexaquant.folder.artifacts import binary_name
    from hexaquant.frontends import load
    from hexaquant.htp.soc import DEFAULT_TARGET, find_target

    target = find_target(DEFAULT_TARGET)
    graph = load(tiny_network())
    samples = random_data(graph)
    model = quantize(graph, samples, target=target)

    def export() -> str:
        return f"{len(model.export(folder).files)} files, read back identically"

    def build() -> str:
        size = compile_folder(folder).binaries[target.name].stat().st_size
        return f"context binary for {target}, {size:,} B"

    def execute() -> str:
        return _compare(model, folder / binary_name(target), samples)

    yield "self-test: export", export
    yield "self-test: lower and compile", build
    yield "self-test: execute on the emulator", execute


def _compare(model: Any, binary: Path, samples: Any) -> str:
    """Raises EnvironmentLacksError when the emulator is not within one step of the simulation."""
    import numpy as np

    from hexaquant.analysis.verify import simulate
    from hexaquant.qnn.runtime import Runtime

    step = float(model.encodings()["y"].scale)
    worst = 0.0
    with Runtime(binary) as runtime:
        for batch in samples.batches(1):
            on_target = runtime.run(batch)["y"]
            worst = max(worst, float(np.abs(simulate(model, batch, ["y"])["y"] - on_target).max()) / step)
    if worst > 1.01:
        raise EnvironmentLacksError(f"the emulator differs from the simulation by {worst:.1f} LSB, not at most 1")
    return f"largest difference to the simulation {worst:.2f} LSB"


def tiny_network() -> Any:
    """An ONNX model: one 3x3 convolution with ReLU and seeded weights, x (1, 3, 8, 8) to y (1, 4, 8, 8)."""
    import numpy as np
    import onnx

    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 21]>
        tiny (float[1,3,8,8] x) => (float[1,4,8,8] y) {
            c = Conv <pads=[1,1,1,1]> (x, w)
            y = Relu (c)
        }"""
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return model


# ``hexaquant doctor``: what this machine has, and whether the whole chain works on it.

EPILOG = """Examples:

\b
  hexaquant doctor
  hexaquant doctor --json

Exit code 4 when something is missing; the last column says what to do."""


def doctor(context: typer.Context, json: o.JsonOption = False) -> None:
    """Report versions and libraries, and lower, compile, execute and compare a tiny network."""
    console: Console = context.obj

    checks = examine()
    lacking = [check for check in checks if not check.ok]
    document: dict[str, Any] = {"ok": not lacking, "checks": [check.to_json() for check in checks]}
    rows = [[c.name, "ok" if c.ok else "MISSING", c.detail, c.remedy] for c in checks]
    console.result(document, lambda: table("", ["check", "", "found", "what to do"], rows))
    if lacking:
        raise EnvironmentLacksError(f"{lacking[0].name}: {lacking[0].detail}; {lacking[0].remedy}")
