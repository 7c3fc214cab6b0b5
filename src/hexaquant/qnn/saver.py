"""QDQ ONNX to C source: the calls of the QNN API that build its graph, and the weights, by Qualcomm's saver backend."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as oir

from hexaquant.core.atomic import atomic_path
from hexaquant.core.errors import EnvironmentLacksError, TargetError
from hexaquant.qnn.explain import explain
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.lower import lowering_spec, prepare_io, read_model
from hexaquant.qnn.process import JobFailed, Limits, run_job

COMPLETE = "interface.graphFinalize("
"""Last call of a whole recording."""


@dataclass(frozen=True)
class Recording:
    """``source``: a C program of QNN calls; ``parameters``: the static tensors, which it reads at run time."""

    source: Path
    parameters: Path


def record_source(
    qdq_onnx: Path,
    folder: Path,
    soc_model: int,
    arch: int,
    *,
    float_io: bool | Collection[str] = False,
    limits: Limits | None = None,
) -> Recording:
    """Write ``folder``/saver_output.c and params.bin, both or neither new; arguments as in :func:`lower`.

    Raises TargetError for what the target refuses and for a recording that ends early, EnvironmentLacksError where the
    wheel has no saver library, WorkerError for crashes and timeouts.
    """
    libraries = find_libraries()
    if not libraries.saver.exists():
        raise EnvironmentLacksError(
            f"onnxruntime-qnn {libraries.release} has no {libraries.saver.name} here: leave the C source out"
        )
    model = read_model(qdq_onnx)
    prepare_io(model, float_io)
    with tempfile.TemporaryDirectory(prefix="hexaquant-saver-") as name:
        work = Path(name)
        oir.save(model, work / "model.onnx", external_data="model.data")
        spec = {**lowering_spec(libraries, work, soc_model, arch), "saver": str(libraries.saver)}
        try:
            outcome = run_job("record_source", spec, limits)
        except JobFailed as failure:
            raise explain(failure, spec, model, qdq_onnx.name, limits) from failure
        source = Path(outcome.result["source"])
        parameters = Path(outcome.result["parameters"])
        if COMPLETE not in source.read_text(errors="replace"):
            raise TargetError(f"{qdq_onnx.name}: the saver's recording ends before the graph does; use the DLC")
        done = Recording(folder / source.name, folder / parameters.name)
        with atomic_path(done.source) as first, atomic_path(done.parameters) as second:
            shutil.copyfile(source, first)
            shutil.copyfile(parameters, second)
    return done
