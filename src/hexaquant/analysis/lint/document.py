"""Findings as JSON (docs/insight.md describes the schema)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hexaquant.analysis.lint.finding import SEVERITIES, Finding
from hexaquant.analysis.lint.repair import Applied

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
