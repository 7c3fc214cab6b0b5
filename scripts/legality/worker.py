"""Lowers, compiles and runs many small networks in one process: ``python -m legality.worker``.

A line on stdin is a request (onnx, feeds, reference, soc_model, arch); the answer on stdout is one JSON line with
``verdict`` (legal, refused), ``reasons``, and for legal ones the errors against the reference. The steps are those of
``qnn.lower`` and ``qnn.compile``, without a new process for each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.coverage import prove_coverage
from hexaquant.core.errors import HexaquantError
from hexaquant.io.manifest import sha256_of
from hexaquant.ir.graph import Graph
from hexaquant.qnn import compile_job, lower_job
from hexaquant.qnn.child import silence_stdout
from hexaquant.qnn.inspect_job import record_dlc
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.log_text import failed_units
from hexaquant.qnn.lower import LowerReport, lowering_spec, prepare_io, read_model
from hexaquant.qnn.name_map import map_names
from hexaquant.qnn.native_io import NativeIo
from hexaquant.qnn.preflight import check_lowerable
from hexaquant.qnn.refusal import Refusal
from hexaquant.qnn.silent_errors import check_silent_errors
from hexaquant.qnn.system import System
from hexaquant.qnn.tensor_io import ordered_specs, prepare, to_float
from hexaquant.qnn.worker import Session


def probe(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The verdict of the real backend on one network."""
    path = Path(request["onnx"])
    try:
        model = read_model(path)
        check_lowerable(model, "it")
        check_silent_errors(model, "it")
        io, originals = prepare_io(model)
        oir.save(model, folder / "model.onnx")
        spec = lowering_spec(find_libraries(), folder, request["soc_model"], request["arch"])
        dlc = Path(lower_job.lower(spec)["dlc"])
        _prove(path, model, dlc, io, originals)
        binary = _compile(dlc, spec)
    except HexaquantError as error:
        return {"verdict": "refused", "by": "hexaquant", "reasons": [str(error)]}
    except Refusal as refusal:
        told = _reasons(folder, refusal, request) if request.get("why", True) else []
        return {"verdict": "refused", "by": "target", "reasons": told}
    return {"verdict": "legal", **_run(binary, io, request)}


def _prove(path: Path, model: oir.Model, dlc: Path, io: NativeIo, originals: dict[str, str]) -> None:
    """As ``hq.compile`` does. Raises TargetError when an encoding did not arrive."""
    libraries = find_libraries()
    graph = record_dlc(System(libraries.system), libraries.abi.function_count, dlc)[0]
    names = {lowered: originals.get(name, name) for lowered, name in map_names(model, graph).items()}
    report = LowerReport(dlc, sha256_of(dlc), 0.0, io, graph, names)
    prove_coverage(Graph(oir.load(path), str(path)), report).require_complete()


def _compile(dlc: Path, spec: dict[str, Any]) -> Path:
    binary = dlc.with_suffix(".bin")
    graph = {"dlc": str(dlc), "name": None, "o_level": 3, "vtcm_mb": None}
    compile_job.compile({"graphs": [graph], "bin": str(binary), "soc_model": spec["soc_model"], "arch": spec["arch"]})
    return binary


def _run(binary: Path, io: NativeIo, request: dict[str, Any]) -> dict[str, Any]:
    """Execute once and compare: SQNR in dB of the worst float output, and the share of equal other values."""
    session = Session({"binary": str(binary), "soc_model": request["soc_model"]})
    feeds, reference = np.load(request["feeds"]), np.load(request["reference"])
    names = io.names()
    ins = {s.lowered or s.name: s for s in ordered_specs(session.record.inputs, names["inputs"])}
    outs = {s.lowered or s.name: s for s in ordered_specs(session.record.outputs, names["outputs"])}
    stored = [prepare(feeds[ins[t.name].name], ins[t.name], True) for t in session.record.inputs]
    payload = session.run(bytearray(b"".join(np.ascontiguousarray(a).tobytes() for a in stored)))
    errors: dict[str, Any] = {}
    for tensor, data in zip(session.record.outputs, payload):
        spec = outs[tensor.name]
        got = to_float(np.frombuffer(data, spec.dtype).reshape(spec.shape), spec)
        _worst(errors, got, reference[spec.name], spec.scale)
    return errors


def _worst(errors: dict[str, Any], got: np.ndarray, expected: np.ndarray, scale: float | None) -> None:
    if expected.dtype.kind != "f":
        errors["equal"] = min(errors.get("equal", 1.0), float((got.astype(expected.dtype) == expected).mean()))
        return
    difference = got.astype(np.float64).reshape(expected.shape) - expected
    noise, signal = float((difference**2).sum()), float((expected.astype(np.float64) ** 2).sum())
    sqnr = 200.0 if noise == 0 else -200.0 if signal == 0 or not np.isfinite(noise) else 10 * np.log10(signal / noise)
    errors["sqnr"] = min(errors.get("sqnr", 200.0), round(sqnr, 1))
    if scale is not None:
        errors["lsb"] = max(errors.get("lsb", 0.0), round(float(np.abs(difference).max()) / scale, 1))


def _reasons(folder: Path, refusal: Refusal, request: dict[str, Any]) -> list[str]:
    """What the provider and then the backend say, shortest first."""
    told = list(refusal.details.get("reasons", ()))
    if told:
        return told
    spec = lowering_spec(find_libraries(), _subfolder(folder, "why"), request["soc_model"], request["arch"])
    spec["onnx"] = str(folder / "model.onnx")
    units = failed_units(_loud(spec))
    told = [f"{unit.op}: {unit.reason}" for unit in units]
    try:
        spec["folder"] = str(_subfolder(folder, "unchecked"))
        dlc = Path(lower_job.lower({**spec, "skip_validation": True})["dlc"])
        _compile(dlc, spec)
    except Refusal as second:
        told += list(second.details.get("reasons", ()))
    return told or [refusal.message]


def _loud(spec: dict[str, Any]) -> str:
    """What a lowering with a verbose log writes to stderr."""
    with tempfile.TemporaryFile() as file:
        keep = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            lower_job.lower({**spec, "log_severity": 0})
        except Refusal:
            pass
        finally:
            os.dup2(keep, 2)
            os.close(keep)
        file.seek(0)
        return file.read().decode(errors="replace")


def _subfolder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def main() -> None:
    answers = os.fdopen(silence_stdout(), "w")
    for line in sys.stdin:
        with tempfile.TemporaryDirectory(prefix="legality-") as folder:
            try:
                answer = probe(json.loads(line), Path(folder))
            except Exception as error:
                answer = {"verdict": "failed", "reasons": [f"{type(error).__name__}: {error}"[:300]]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
