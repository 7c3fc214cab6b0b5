"""hq.compile: from an exported folder to a DLC and one context binary for each SoC."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.analysis.coverage import prove_coverage
from hexaquant.analysis.self_check import Expected, check_file, expect, keep_expected, kept_expected
from hexaquant.api.check_binary import apart, check_binary
from hexaquant.core.atomic import write_text
from hexaquant.core.errors import TargetError
from hexaquant.core.events import Events
from hexaquant.folder.artifacts import DLC, QDQ, Folder, binary_name
from hexaquant.folder.check_samples import read_samples
from hexaquant.folder.manifest import amend_manifest, read_manifest, sha256_of
from hexaquant.folder.resume import KEY, is_current, step_fingerprint
from hexaquant.htp.recurrent.rule import recurrent_nodes
from hexaquant.htp.soc import Target, find_target
from hexaquant.ir.graph import Graph
from hexaquant.ir.normalize import freeze_batch
from hexaquant.qnn.compile import compile_dlc
from hexaquant.qnn.ep_context import write_ep_context
from hexaquant.qnn.lower import lower

STATIC = ".state/static.qdq.onnx"
COVERAGE = "coverage.json"
"""Every tensor of the DLC with the encoding asked for and the one it has (analysis/coverage.py)."""


@dataclass(frozen=True)
class Compiled:
    """What compile wrote: the DLC and, by SoC name, the context binaries. ``reused``: those it found up to date."""

    folder: Path
    dlc: Path
    binaries: dict[str, Path]
    reused: tuple[str, ...] = ()


def compile_folder(
    folder: str | Path,
    target: str | Target | Sequence[str | Target] | None = None,
    *,
    batch: int = 1,
    o_level: int = 3,
    force: bool = True,
    check: bool = True,
    events: Events | None = None,
) -> Compiled:
    """Lower ``folder``'s QDQ model and compile it for ``target`` (default: the one it was quantized for).

    Dimensions that are still symbolic become ``batch``: the NPU needs static shapes. Without ``force``, what was made
    from the same model with the same settings is kept. Beside each binary stands the ONNX file by which onnxruntime's
    QNN provider loads it (model.<soc>.ctx.onnx). ``check``: each binary runs two samples and is held against the
    quantized model in onnxruntime. Raises TargetError naming the operators that the target refuses, with the library's
    reason, the tensor whose encoding did not arrive unchanged in the DLC, or the layer that a binary computes wrong.
    """
    found = Folder.open(folder)
    found.verify([QDQ])
    out = found.path
    manifest = found.manifest
    targets = _targets(target, manifest.target)
    log = events or Events()
    qdq = manifest.files[QDQ].sha256
    lowered = step_fingerprint({"qdq": qdq, "target": targets[0].name, "batch": batch})
    reused = []
    if force or not is_current(out, "lower", lowered, [DLC]):
        _lower(out, targets[0], batch, lowered, log)
    for soc in log.track(targets, "compile"):
        name = binary_name(soc)
        section = f"compile {soc.name}"
        wanted = step_fingerprint({"lower": lowered, "target": soc.name, "o_level": o_level})
        if not force and is_current(out, section, wanted, [name]):
            reused.append(soc.name)
            log.note("compile", f"{name} is up to date")
            continue
        done = compile_dlc(out / DLC, out / name, soc.model, soc.arch, o_level=o_level, graph_name="model")
        if check:
            _check_or_remove(out, soc, log)
        contexts = write_ep_context(out / name, done.info, io=read_manifest(out).lowering.io)
        info = {KEY: wanted, "qdq": qdq, "batch": batch, "o_level": o_level, "seconds": round(done.seconds, 3)}
        amend_manifest(out, files=[name, *(file.name for file in contexts)], sections={section: info})
    binaries = {soc.name: out / binary_name(soc) for soc in targets}
    return Compiled(out, out / DLC, binaries, tuple(reused))


def _lower(out: Path, soc: Target, batch: int, fingerprint: str, log: Events) -> None:
    """Write the DLC and record it."""
    graph = freeze_batch(Graph(oir.load(out / QDQ), str(out / QDQ)), batch)
    (out / ".state").mkdir(exist_ok=True)
    graph.save(out / STATIC)
    log.note("lower", f"lowering for {soc}")
    report = lower(out / STATIC, out / DLC, soc.model, soc.arch)
    coverage = prove_coverage(graph, report)
    coverage.require_complete()
    log.note("lower", "encodings in the DLC: " + (coverage.summary() or "none (a float network)"))
    for node in recurrent_nodes(graph):
        log.note("lower", f"{graph.origin(node)} ({node.op_type}) computes in float16, written out step by step")
    if report.float_tensors and coverage.rows:
        islands = ", ".join(report.float_tensors[:4])
        log.warn("lower", f"{len(report.float_tensors)} tensors stay float16 inside the DLC: {islands}")
    write_text(out / COVERAGE, json.dumps([asdict(row) for row in coverage.rows], indent=1))
    section: dict[str, Any] = {KEY: fingerprint, "target": soc.name, "seconds": round(report.seconds, 3)}
    section |= {"batch": batch, "io": report.io.names(), "coverage": coverage.counts()}
    amend_manifest(out, files=[DLC, COVERAGE], sections={"lower": section}, names=report.lowered_names)


def check_compiled(out: Path, soc: Target, log: Events) -> None:
    """Hold the binary for ``soc`` against the lowered model. Raises TargetError where it computes something else."""
    binary = out / binary_name(soc)
    log.note("check", f"running {binary.name} beside onnxruntime")
    qdq = Graph(oir.load(out / STATIC), str(out / QDQ))
    expected = _expected(out, qdq)
    with apart(binary, {"lower": {"io": read_manifest(out).lowering.io}}) as copy:
        check_binary(copy, expected, soc, qdq)


def _check_or_remove(out: Path, soc: Target, log: Events) -> None:
    try:
        check_compiled(out, soc, log)
    except TargetError:
        (out / binary_name(soc)).unlink(missing_ok=True)
        raise


def _expected(out: Path, qdq: Graph) -> Expected:
    """What onnxruntime gives for the folder's samples: kept beside the DLC, or computed and kept."""
    digest = sha256_of(out / DLC)
    kept = kept_expected(out / DLC, digest)
    if kept is not None:
        return kept
    expected = expect(qdq, read_samples(out) or None, digest)
    keep_expected(check_file(out / DLC), expected)
    amend_manifest(out, files=[check_file(out / DLC).name])
    return expected


def _targets(target: str | Target | Sequence[str | Target] | None, default: str) -> list[Target]:
    if target is None:
        return [find_target(default)]
    if isinstance(target, str | Target):
        return [find_target(target)]
    return [find_target(one) for one in target]
