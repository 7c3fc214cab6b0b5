"""QDQ ONNX to context binary without a DLC, for operators that DLCs of this release cannot hold.

The DLC that release 2.7.0 writes for a recurrent layer lacks its ``hidden_size``; Qualcomm's own reader aborts on
it. The execution provider itself compiles such networks (unrolled, the cells in float16).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import onnx_ir as oir

from hexaquant.core.atomic import atomic_path
from hexaquant.core.errors import InputError
from hexaquant.folder.manifest import sha256_of
from hexaquant.qnn.compile import CompileReport
from hexaquant.qnn.explain import explain
from hexaquant.qnn.inspect import inspect_binary
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.lower import adapt_forms, lowering_spec, prepare_io, read_model
from hexaquant.qnn.preflight import check_lowerable
from hexaquant.qnn.process import JobFailed, Limits, run_job


def compile_direct(
    qdq_onnx: Path,
    binary: Path,
    soc_model: int,
    arch: int,
    *,
    o_level: int = 3,
    vtcm_mb: int | None = None,
    limits: Limits | None = None,
) -> CompileReport:
    """Compile ``qdq_onnx`` for one SoC and write ``binary`` atomically; arguments and errors as in ``compile_dlc``."""
    if o_level not in (1, 2, 3):
        raise InputError(f"optimization level {o_level} does not exist: choose 1, 2 or 3")
    start = time.monotonic()
    libraries = find_libraries()
    model = read_model(qdq_onnx)
    check_lowerable(model, qdq_onnx.name)
    adapt_forms(model, qdq_onnx.name, arch)
    io, _ = prepare_io(model)
    with tempfile.TemporaryDirectory(prefix="hexaquant-direct-") as name, atomic_path(binary) as part:
        folder = Path(name)
        oir.save(model, folder / "model.onnx", external_data="model.data")
        spec = lowering_spec(libraries, folder, soc_model, arch)
        rest = {"bin": str(part.resolve()), "o_level": o_level, "vtcm_mb": vtcm_mb}
        try:
            run_job("compile_direct", {**spec, **rest}, limits)
        except JobFailed as failure:
            raise explain(failure, spec, model, qdq_onnx.name, limits) from failure
        info = inspect_binary(part)
        digest = sha256_of(part)
    return CompileReport(binary, digest, time.monotonic() - start, info, io)
