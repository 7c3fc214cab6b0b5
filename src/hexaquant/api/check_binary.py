"""What compile and the converters do with a binary that they made: hold it against the quantized model or refuse it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hexaquant.analysis.self_check import Expected, run_binary
from hexaquant.core.errors import TargetError
from hexaquant.folder.manifest import amend_manifest
from hexaquant.htp.soc import Target
from hexaquant.ir.graph import Graph
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.lower import LowerReport


def check_binary(
    binary: Path, expected: Expected, target: Target, qdq: Graph | None = None, graph: str | None = None
) -> None:
    """Run the samples of ``expected`` through ``binary`` (its graph ``graph``) and compare.

    ``qdq``: the quantized model, in which the first layer that parts is searched. Raises TargetError naming outputs,
    dB and that layer.
    """
    departures = expected.departures(run_binary(binary, expected.inputs, target.model, graph))
    if not departures:
        return
    found = ", ".join(f"'{name}' has {db:.1f} dB" for name, db in departures.items())
    least = f"{expected.least_db:.0f} are the least{', on noise' if expected.noise else ''}"
    raise TargetError(
        f"{binary.name}: {target.name} computes something else than the model (output {found} against onnxruntime, "
        f"where {least}); {_where(qdq, target, expected)}"
    )


def _where(qdq: Graph | None, target: Target, expected: Expected) -> str:
    if qdq is None:
        return "convert the network again for this target, which names the layer, or turn the check off with --no-check"
    from hexaquant.analysis.parting import find_parting

    parting = find_parting(qdq, target, expected.inputs)
    if parting is None:
        return "every layer by itself agrees, only the whole parts; compile with --no-check to look at it with debug"
    return (
        f"the first that parts is {parting.layer} (tensor '{parting.tensor}', {parting.db:.1f} dB): give it other bits "
        "with --overrides or leave it float; --no-check compiles all the same"
    )


@contextmanager
def apart(binary: Path, sections: Mapping[str, Any]) -> Iterator[Path]:
    """A copy of ``binary`` in a folder of its own, with ``sections`` (names of inputs and outputs) in its manifest: the
    one beside ``binary`` records an earlier binary until this one is found right."""
    with tempfile.TemporaryDirectory(prefix="hexaquant-check-") as name:
        copy = Path(name) / binary.name
        shutil.copyfile(binary, copy)
        amend_manifest(copy.parent, files=[copy.name], sections=dict(sections))
        yield copy


def check_dlc(dlc: Path, report: LowerReport, expected: Expected, target: Target, qdq: Graph) -> None:
    """As :func:`check_binary`, of a DLC just lowered from ``qdq``: it is compiled for that alone."""
    with tempfile.TemporaryDirectory(prefix="hexaquant-check-") as name:
        binary = Path(name) / f"{dlc.stem}.bin"
        compile_dlc(dlc, binary, target.model, target.arch)
        amend_manifest(binary.parent, files=[binary.name], sections={"lower": {"io": report.io.names()}})
        check_binary(binary, expected, target, qdq)
