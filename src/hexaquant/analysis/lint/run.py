"""Runs the rules and measures what their findings cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hexaquant.analysis.lint.catalog import RULES
from hexaquant.analysis.lint.cost import QuantizerCost
from hexaquant.analysis.lint.finding import SEVERITIES, Finding
from hexaquant.analysis.lint.statistics import collect_statistics
from hexaquant.analysis.lint.subject import Subject
from hexaquant.core.encoding import Encoding
from hexaquant.core.errors import HexaquantError

HARMLESS_DB = 45.0
"""SQNR of the outputs with one quantizer alone above which a measured finding is an info."""
Samples = Sequence[Mapping[str, Any]]


def with_data(subject: Subject, samples: Samples) -> Subject:
    """``subject`` with what ``samples`` (batches: input name -> array) show. Errors as of the executor."""
    return replace(subject, statistics=collect_statistics(subject.prepared, samples))


def run_rules(subject: Subject, samples: Samples = ()) -> list[Finding]:
    """The findings of every rule, the gravest first and in the order of the network; costs measured on ``samples``."""
    measured = {rule.name for rule in RULES if rule.measured}
    found = [finding for rule in RULES for finding in rule.check(subject)]
    cost = _cost_meter(subject, samples) if samples and any(_is_measured(f, measured) for f in found) else None
    if cost is not None:
        found = [_judged(f, cost(f)) if _is_measured(f, measured) else f for f in found]
    order = {node.name: index for index, node in enumerate(subject.written.nodes)}
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), order.get(f.layer.node, len(order))))


def _is_measured(finding: Finding, rules: set[str]) -> bool:
    return finding.rule in rules and finding.severity != "info" and bool(finding.tensor)


def _cost_meter(subject: Subject, samples: Samples) -> Callable[[Finding], float | None] | None:
    """A function from a finding to what its quantizer alone costs; None where the network cannot be simulated."""
    given: dict[str, Encoding] = dict(subject.given)
    try:
        meter = QuantizerCost(subject.prepared, subject.target, subject.scheme, subject.overrides, samples, given)
    except HexaquantError:
        return None
    known: dict[str, float | None] = {}

    def cost(finding: Finding) -> float | None:
        if finding.tensor not in known:
            known[finding.tensor] = meter.db(finding.tensor)
        return known[finding.tensor]

    return cost


def _judged(finding: Finding, db: float | None) -> Finding:
    if db is not None and db >= HARMLESS_DB and finding.severity == "warning":
        return replace(finding, cost_db=db, severity="info")
    return replace(finding, cost_db=db)
