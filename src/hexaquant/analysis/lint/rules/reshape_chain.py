"""Reshapes of Reshapes, and reductions that drop a dimension which the next operator brings back.

Most cost nothing on the target, but each is a tensor more in the graph. Merged with --fix
(ir/passes/merge_reshapes.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject, gone_by
from hexaquant.ir.passes.merge_reshapes import merge_reshapes
from hexaquant.ir.passes.remove_unused import remove_unused

RULE = "reshape-chain"
KINDS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten")
WHY = "each is one more tensor in the graph, and outside of rank 4 it may be moved through memory"


def reshape_chain(subject: Subject) -> Iterator[Finding]:
    """One info an operator that would be gone."""
    for node in gone_by(subject.imported, lambda g: merge_reshapes(g) and remove_unused(g) + 1, KINDS):
        text = f"{node.op_type} whose result is only reshaped again"
        yield about(subject.imported, node, RULE, "info", text, WHY, "write one Reshape", fixable=True)
