"""Attention that scales its queries, keys or scores by a number in operators of their own.

Each is one more pass over the tensor and one more rounding to the grid. The number belongs into the linear layer that
makes the queries (ir/passes/fold_scalar.py), which costs nothing. Not done at import, since encodings that other tools
made name the scaled tensors.
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject, gone_by
from hexaquant.ir.passes.fold_scalar import fold_scalar

RULE = "attention-scale"
WHY = "it is a pass over the tensor and a rounding to the grid that the linear layer before can do for nothing"


def attention_scale(subject: Subject) -> Iterator[Finding]:
    """One warning a Mul or Div that the linear layer could do."""
    for node in gone_by(subject.imported, fold_scalar, ("Mul", "Div")):
        text = f"{node.op_type} by a number behind a linear layer"
        yield about(subject.imported, node, RULE, "warning", text, WHY, "multiply the weights by it", fixable=True)
