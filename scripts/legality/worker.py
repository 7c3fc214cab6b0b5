"""Lowers, compiles and runs many small networks in one process: ``python -m legality.worker``.

The process that imports everything forks another, which loads the libraries and is replaced when they kill it. A line
on stdin is a request (onnx, feeds, reference, soc_model, arch; ``lower_only``: without compiling); the answer on stdout
is one JSON line with ``verdict`` (legal, refused, crash), ``reasons``, and for legal ones the errors against the
reference. The steps are those of ``qnn.lower`` and ``qnn.compile``, without a new process for each.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.coverage import prove_coverage
from hexaquant.core.errors import HexaquantError
from hexaquant.folder.manifest import sha256_of
from hexaquant.ir.graph import Graph
from hexaquant.qnn import compile_job, lower_job
from hexaquant.qnn.child import silence_stdout
from hexaquant.qnn.inspect_job import record_dlc
from hexaquant.qnn.libraries import find_libraries
from hexaquant.qnn.log_text import failed_units
from hexaquant.qnn.lower import LowerReport, adapt_forms, lowering_spec, prepare_io, read_model
from hexaquant.qnn.name_map import map_names
from hexaquant.qnn.native_io import NativeIo
from hexaquant.qnn.preflight import check_lowerable
from hexaquant.qnn.refusal import Refusal
from hexaquant.qnn.system import System
from hexaquant.qnn.tensor_io import ordered_specs, prepare, to_float
from hexaquant.qnn.worker import Session

SECONDS = 60.0
"""After which a probe counts as hung."""
PROBES = 250
"""After which a process is replaced: the emulator has room for some hundred contexts, and frees none."""


def probe(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The verdict of the real backend on one network."""
    path = Path(request["onnx"])
    try:
        model = read_model(path)
        check_lowerable(model, "it")
        refined = adapt_forms(model, "it", request["arch"])
        io, originals = prepare_io(model)
        oir.save(model, folder / "model.onnx")
        spec = lowering_spec(find_libraries(), folder, request["soc_model"], request["arch"])
        dlc = Path(lower_job.lower(spec)["dlc"])
        if request.get("lower_only"):
            return {"verdict": "legal", "lower_only": True}
        _prove(path, dlc, refined, model, (io, originals))
        binary = _compile(dlc, spec)
    except HexaquantError as error:
        return {"verdict": "refused", "by": "hexaquant", "reasons": [str(error)]}
    except Refusal as refusal:
        told = _reasons(folder, refusal, request) if request.get("why", True) else []
        stage = "compiling" if (folder / "dlc").is_dir() and any((folder / "dlc").glob("*.dlc")) else "lowering"
        return {"verdict": "refused", "by": "target", "stage": stage, "reasons": told}
    return {"verdict": "legal", **_run(binary, io, request)}


def _prove(
    path: Path,
    dlc: Path,
    refined: dict[str, tuple[int, ...]],
    model: oir.Model,
    names: tuple[NativeIo, dict[str, str]],
) -> None:
    """As ``hq.compile`` does. Raises TargetError when an encoding did not arrive."""
    libraries = find_libraries()
    graph = record_dlc(System(libraries.system), libraries.abi.function_count, dlc)[0]
    io, originals = names
    ours = {lowered: originals.get(name, name) for lowered, name in map_names(model, graph).items()}
    report = LowerReport(dlc, sha256_of(dlc), 0.0, io, graph, ours, refined)
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
    if signal == 0:  # of a constant zero there is no ratio: as if all of it were 1
        signal = float(expected.size)
    sqnr = 200.0 if noise == 0 else -200.0 if not np.isfinite(noise) else 10 * np.log10(signal / noise)
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


class Probing:
    """A fork of this process in which the libraries are loaded; it answers requests until they kill it."""

    def __init__(self) -> None:
        questions, self._questions = os.pipe()
        self._answers, answers = os.pipe()
        self.asked = 0
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._questions)
            os.close(self._answers)
            _serve(os.fdopen(questions), os.fdopen(answers, "w"))
        os.close(questions)
        os.close(answers)

    def ask(self, line: str) -> dict[str, Any]:
        """The answer; verdict "crash" when the process died or hung."""
        self.asked += 1
        try:
            os.write(self._questions, line.encode())
        except BrokenPipeError:
            return self._crash("died")
        ready, _, _ = select.select([self._answers], [], [], SECONDS)
        told = bytearray()
        while ready and not told.endswith(b"\n"):
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                return self._crash("died")
            told += piece
        return dict(json.loads(told)) if told else self._crash(f"took longer than {SECONDS:g} s")

    def _crash(self, what: str) -> dict[str, Any]:
        code = self.end()
        signal = os.WTERMSIG(code) if os.WIFSIGNALED(code) else 0
        return {"verdict": "crash", "reasons": [f"the library {what}{f' of signal {signal}' if signal else ''}"]}

    def end(self) -> int:
        """End and reap the process; its wait status."""
        pid, code = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            time.sleep(0.05)
            pid, code = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            os.kill(self.pid, 9)
            _, code = os.waitpid(self.pid, 0)
        os.close(self._questions)
        os.close(self._answers)
        return code


def _serve(questions: TextIO, answers: TextIO) -> None:
    """In the fork: answer until the questions end."""
    for line in iter(questions.readline, ""):
        with tempfile.TemporaryDirectory(prefix="legality-") as folder:
            try:
                answer = probe(json.loads(line), Path(folder))
            except Exception as error:
                answer = {"verdict": "failed", "reasons": [f"{type(error).__name__}: {error}"[:300]]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)


def main() -> None:
    """What failed in a used process is asked again in a new one: it may have been the leavings of others."""
    answers = os.fdopen(silence_stdout(), "w")
    probing = Probing()
    for line in sys.stdin:
        if probing.asked >= PROBES:
            probing.end()
            probing = Probing()
        answer, used = probing.ask(line), probing.asked > 1
        if answer["verdict"] == "crash":
            probing = Probing()
        if answer["verdict"] in ("crash", "failed") and used:
            if answer["verdict"] == "failed":
                probing.end()
                probing = Probing()
            answer = probing.ask(line)
            if answer["verdict"] == "crash":
                probing = Probing()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    probing.end()
    os._exit(0)


if __name__ == "__main__":
    main()
