"""Finding: one thing that a rule has to say about one layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import onnx_ir as oir

from hexaquant.analysis.lint.repair import Applied
from hexaquant.ir.graph import Graph, Origin

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""The gravest first. *error*: the target refuses it or computes it wrongly. *warning*: it costs accuracy or time.
*info*: hexaquant mends it by itself at import, or the figures say that it does little harm."""
BY_IMPORT = "hexaquant does this for you at import"


@dataclass(frozen=True)
class Finding:
    """``text``: what was seen; ``why``: what that means on this target; ``fix``: what to do, in words.

    ``tensor``: the one concerned, if any. ``fixable``: ``--fix`` mends it in the ONNX file. ``cost_db``: SQNR of the
    network's outputs on the samples with the quantizer of ``tensor`` alone (None: not measured).
    """

    rule: str
    severity: Severity
    layer: Origin
    op_type: str
    text: str
    why: str
    fix: str
    tensor: str = ""
    fixable: bool = False
    cost_db: float | None = None

    @property
    def where(self) -> str:
        """The layer in the user's words."""
        return self.layer.module or self.layer.node


def about(
    graph: Graph,
    node: oir.Node,
    rule: str,
    severity: Severity,
    text: str,
    why: str,
    fix: str,
    *,
    fixable: bool = False,
    tensor: str | None = None,
) -> Finding:
    """A finding on ``node`` of ``graph``; its tensor is the node's first output unless given."""
    concerned = tensor or (node.outputs[0].name if node.outputs else "") or ""
    return Finding(rule, severity, graph.origin(node), node.op_type, text, why, fix, concerned, fixable)


# Findings as JSON (docs/insight.md describes the schema).

FORMAT = 1


def findings_document(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One entry a finding, in their order."""
    return [
        {
            "rule": f.rule,
            "severity": f.severity,
            "layer": f.where,
            "node": f.layer.node,
            "source": f.layer.source,
            "operator": f.op_type,
            "tensor": f.tensor,
            "text": f.text,
            "why": f.why,
            "fix": f.fix,
            "fixable": f.fixable,
            "cost_db": f.cost_db,
        }
        for f in findings
    ]


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Findings by severity, all three present."""
    found = Counter(f.severity for f in findings)
    return {severity: found[severity] for severity in SEVERITIES}


def repairs_document(repairs: Sequence[Applied]) -> list[dict[str, Any]]:
    """One entry a repair: what it changed, how far the outputs moved, why it was undone if it was."""
    return [
        {
            "rule": r.rule,
            "applied": not r.reason,
            "operators": list(r.operators),
            "deviation": r.deviation if r.deviation == r.deviation and r.deviation != float("inf") else None,
            "reason": r.reason or None,
        }
        for r in repairs
    ]
