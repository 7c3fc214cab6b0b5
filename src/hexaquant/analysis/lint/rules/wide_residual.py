"""Sums whose grid is too coarse for one of the two that are added.

A residual stream grows from block to block; what a late block adds to it may be smaller than a step of the stream. The
noise of the sum's grid, step^2 / 12, is compared with the variance of what is added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.graph import constant

RULE = "wide-residual"
LEAST_DB = 12.0


def wide_residual(subject: Subject) -> Iterator[Finding]:
    """One warning a sum of two computed tensors in 8 bits."""
    for node in subject.prepared.nodes:
        if node.op_type != "Add" or any(v is None or constant(v) is not None for v in node.inputs):
            continue
        db, branch = _left_of(subject, node)
        if db >= LEAST_DB:
            continue
        text = f"the grid of the sum leaves {db:.0f} dB to '{branch}'"
        why = "the stream's range is so wide that what the block adds drowns in its rounding"
        fix = "16 bits for the residual stream (--overrides); in transformers the step rotate_transformer"
        yield about(subject.prepared, node, RULE, "warning", text, why, fix)


def _left_of(subject: Subject, node: oir.Node) -> tuple[float, str]:
    """(SQNR of the operand that suffers more, its name); infinite where nothing is known."""
    seen, plan = (
        subject.statistics.get(node.outputs[0].name or ""),
        subject.plan.tensors.get(node.outputs[0].name or ""),
    )
    found = (math.inf, "")
    if seen is None or plan is None or plan.grid is None or plan.grid.bits != 8 or seen.high == seen.low:
        return found
    noise = ((seen.high - seen.low) / 255) ** 2 / 12
    for value in node.inputs:
        part = subject.statistics.get((value.name if value is not None else "") or "")
        if part is not None and part.values.size > 1:
            db = 10 * math.log10(max(float(part.values.var()), 1e-30) / noise)
            found = min(found, (db, part.name))
    return found
