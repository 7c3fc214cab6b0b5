"""Why a target refuses a model: the provider and the backend are asked again for their reasons."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx_ir as oir

from hexaquant.core.errors import HexaquantError, TargetError
from hexaquant.htp.check import Judgement, by_name, judge
from hexaquant.htp.soc import TARGETS, target_of_model
from hexaquant.io.qdq_reader import from_qdq
from hexaquant.ir.graph import Graph
from hexaquant.qnn.log_text import FailedUnit, failed_units
from hexaquant.qnn.process import JobFailed, Limits, run_job
from hexaquant.sim.given_encodings import given_schemes

# What the legality table advises about the operators that a lowering refused, in the user's words.


def advice(model: oir.Model, soc_model: int, names: Iterable[str], source: str) -> list[str]:
    """For each node of ``names`` (of the QDQ ``model``) that the table refuses too: "layer 'head': remedy".

    Empty for SoCs that have no row in htp/soc.py, and where the table sees nothing wrong.
    """
    wanted = set(names)
    found = [j for j in _judgements(model, soc_model, source) if j.layer.node in wanted]
    return [f"{judgement.layer}: {judgement.remedy}" for judgement in found]


def _judgements(model: oir.Model, soc_model: int, source: str) -> list[Judgement]:
    target = target_of_model(soc_model)
    if target is None:
        return []
    try:
        graph, given = from_qdq(Graph(model, source))
        return [j for j in judge(graph, target, by_name(given_schemes(graph, given))) if j.is_bad]
    except HexaquantError:
        return []  # the refusal itself is the message; advice needs a network that can be read back


def explain(
    failure: JobFailed, spec: dict[str, Any], model: oir.Model, source: str, limits: Limits | None
) -> HexaquantError:
    """The error for the user, with the refused nodes and the reasons of the provider and the backend."""
    target = f"v{spec['arch']} (SoC model {spec['soc_model']})"
    if failure.kind != "target":
        return failure.as_error(f"lowering {source} for {target}")
    if "INVALID_CONFIG" in failure.stderr:
        known = ", ".join(target.name for target in TARGETS)
        return TargetError(f"{source}: unknown SoC model {spec['soc_model']}; known targets: {known}")
    units = _failed_units(spec, limits)
    reasons = _backend_reasons(spec, limits)
    if not units and not reasons:
        return TargetError(f"{source}: the target {target} refuses the model: {failure.message.splitlines()[0][:400]}")
    more = f" and {len(units) - 4} more" if len(units) > 4 else ""
    named = "; ".join(_describe(unit, model) for unit in units[:4]) + more
    told = f" [the backend says: {'; '.join(reasons[:2])}]" if reasons else ""
    hints = advice(model, spec["soc_model"], [unit.node for unit in units], source)
    help_ = f"; what to do for {'; for '.join(hints[:2])}" if hints else ""
    return TargetError(f"{source}: the target {target} refuses {named}{told}{help_}")


def _describe(unit: FailedUnit, model: oir.Model) -> str:
    """The unit; a stray DequantizeLinear is told by the operator that it feeds."""
    node = next((n for n in model.graph if n.name == unit.node), None)
    if node is None or node.op_type != "DequantizeLinear" or not node.outputs[0].uses():
        return str(unit)
    user = next(iter(node.outputs[0].uses()))[0]
    return (
        f"'{user.name}' ({user.op_type}): it forms no quantized unit with the nodes around it; quantize its output, "
        f"and where Relu or Clip follows, keep that encoding inside the activation's range ({unit.reason})"
    )


def _failed_units(spec: dict[str, Any], limits: Limits | None) -> list[FailedUnit]:
    """Ask again with a verbose log: the provider then says which group of nodes it does not take, and why."""
    try:
        run_job("lower", {**spec, "folder": _subfolder(spec, "verbose"), "log_severity": 0}, limits)
    except JobFailed as failure:
        return failed_units(failure.stderr)
    return []


def _backend_reasons(spec: dict[str, Any], limits: Limits | None) -> list[str]:
    """Ask again without the provider's check: the backend itself then says what it does not accept."""
    folder = _subfolder(spec, "unchecked")
    try:
        outcome = run_job("lower", {**spec, "folder": folder, "skip_validation": True}, limits)
        dlc = outcome.result["dlc"]
        graph = {"dlc": dlc, "name": None, "o_level": 1, "vtcm_mb": None}
        rest = {"bin": f"{dlc}.bin", "soc_model": spec["soc_model"], "arch": spec["arch"]}
        run_job("compile", {"graphs": [graph], **rest}, limits)
    except JobFailed as failure:
        return list(failure.details.get("reasons", ()))
    return []


def _subfolder(spec: dict[str, Any], name: str) -> str:
    folder = Path(spec["folder"]).parent / name
    folder.mkdir()
    return str(folder)
