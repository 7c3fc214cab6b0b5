"""``--fix``: the safe findings mended in the network as it was written, by graph passes, each checked on its own.

After every pass that changed something the network runs in onnxruntime (float32, no optimizations) on the same inputs
as before; where an output differs by more than ``TOLERANCE`` of its largest value, or onnxruntime refuses the graph,
the pass is undone and reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from hexaquant.core.errors import HexaquantError
from hexaquant.htp.form_pointwise import form_pointwise
from hexaquant.ir.graph import Graph
from hexaquant.ir.opset import state_opset
from hexaquant.ir.passes.clamp_masks import clamp_masks
from hexaquant.ir.passes.eliminate_identity import eliminate_identity
from hexaquant.ir.passes.fold_batchnorm import fold_batchnorm
from hexaquant.ir.passes.fold_constants import fold_constants
from hexaquant.ir.passes.fold_pad import fold_pad
from hexaquant.ir.passes.fold_scalar import fold_scalar
from hexaquant.ir.passes.form_gemm import form_gemm
from hexaquant.ir.passes.fuse_gelu import fuse_gelu
from hexaquant.ir.passes.fuse_hardswish import fuse_hardswish
from hexaquant.ir.passes.fuse_layernorm import fuse_layernorm
from hexaquant.ir.passes.fuse_rmsnorm import fuse_rmsnorm
from hexaquant.ir.passes.inline_if import inline_if
from hexaquant.ir.passes.lift_constants import lift_constants
from hexaquant.ir.passes.merge_reshapes import merge_reshapes
from hexaquant.ir.passes.merge_transposes import merge_transposes
from hexaquant.ir.passes.move_transposes import move_transposes
from hexaquant.ir.passes.remove_unused import remove_unused
from hexaquant.ir.passes.resolve_casts import resolve_casts
from hexaquant.ir.save import to_proto

TOLERANCE = 1e-5
"""Of an output's largest value, float32."""
MAX_ROUNDS = 12


@dataclass(frozen=True)
class Repair:
    """``passes`` are repeated until they change nothing; ``rule``: the findings that they mend."""

    rule: str
    passes: tuple[Callable[[Graph], int], ...]

    def __call__(self, graph: Graph) -> int:
        changed = 0
        for _ in range(MAX_ROUNDS):
            now = sum(step(graph) for step in self.passes)
            changed += now
            if not now:
                break
        return changed


REPAIRS: tuple[Repair, ...] = (
    Repair("dead-branch", (remove_unused,)),
    Repair(
        "dynamic-reshape",
        (fold_constants, inline_if, lift_constants, resolve_casts, eliminate_identity, remove_unused),
    ),
    Repair("batchnorm", (fold_batchnorm, fold_pad, remove_unused)),
    Repair("overflowing-constant", (clamp_masks,)),
    Repair("decomposed-gelu", (fuse_gelu, remove_unused)),
    Repair("decomposed-hardswish", (fuse_hardswish, remove_unused)),
    Repair("decomposed-layernorm", (fuse_layernorm, remove_unused)),
    Repair("decomposed-rmsnorm", (fuse_rmsnorm, remove_unused)),
    Repair("transpose-chain", (merge_transposes, move_transposes, fold_constants, remove_unused)),
    Repair("reshape-chain", (merge_reshapes, remove_unused)),
    Repair("linear-as-convolution", (form_pointwise,)),
    Repair("attention-scale", (form_gemm, fold_scalar, remove_unused)),
)
"""In this order: shapes are folded before patterns are looked for."""


@dataclass(frozen=True)
class Applied:
    """``operators``: names of what is gone or changed; ``deviation``: of outputs, relative; ``reason``: why undone."""

    rule: str
    operators: tuple[str, ...]
    deviation: float
    reason: str = ""


def repair(written: Graph, feeds: Sequence[Mapping[str, Any]]) -> tuple[Graph, list[Applied]]:
    """A mended copy of ``written`` and what was done, in order. ``feeds``: inputs on which outputs are compared."""
    graph = written.clone()
    report = []
    wanted = _outputs(graph, feeds)
    for step in REPAIRS:
        trial = graph.clone()
        if not step(trial):
            continue
        state_opset(trial.model)
        operators = _changed(graph, trial)
        deviation, reason = _deviation(trial, feeds, wanted)
        report.append(Applied(step.rule, operators, deviation, reason))
        if not reason:
            graph = trial
    return graph, report


def _changed(before: Graph, after: Graph) -> tuple[str, ...]:
    left = {(node.name, node.op_type) for node in after.nodes}
    return tuple(node.name or "" for node in before.nodes if (node.name, node.op_type) not in left)


def _deviation(graph: Graph, feeds: Sequence[Mapping[str, Any]], wanted: list[np.ndarray]) -> tuple[float, str]:
    try:
        got = _outputs(graph, feeds)
    except HexaquantError as error:
        return float("nan"), str(error)
    worst = 0.0
    for before, after in zip(wanted, got, strict=True):
        if before.shape != after.shape or before.dtype != after.dtype:
            return float("inf"), f"an output changed from {before.dtype}{before.shape} to {after.dtype}{after.shape}"
        worst = max(worst, _difference(before, after))
    if not worst <= TOLERANCE:
        return worst, f"the outputs would differ by {worst:.1g} of their size"
    return worst, ""


def _difference(before: np.ndarray, after: np.ndarray) -> float:
    if before.dtype.kind != "f":
        return 0.0 if np.array_equal(before, after) else float("inf")
    known = np.isfinite(before)
    if not np.array_equal(known, np.isfinite(after)):
        return float("inf")
    gap = np.abs(before[known].astype(np.float64) - after[known].astype(np.float64))
    return float(gap.max(initial=0.0)) / max(float(np.abs(before[known]).max(initial=0.0)), 1e-30)


def _outputs(graph: Graph, feeds: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """Every output for each of ``feeds``. Raises HexaquantError with onnxruntime's reason."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        proto = to_proto(graph.model).SerializeToString()
        session = ort.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
        return [np.asarray(out) for feed in feeds for out in session.run(None, dict(feed))]
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise HexaquantError(f"onnxruntime cannot run it ({reason})") from error
