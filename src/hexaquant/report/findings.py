"""Findings of lint and debugger in one form, and which operator each is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from hexaquant.report.network import Network
from hexaquant.report.schema import LintFinding
from hexaquant.report.sources import Sources

GOOD = ("legal", "ok", "runs")
"""Verdicts of lint that are no finding."""


@dataclass(frozen=True)
class Finding:
    """``node``: index of the operator in the drawing, None where it names none that is there."""

    by: str
    severity: str
    where: str
    text: str
    fix: str
    node: int | None

    def document(self) -> dict[str, Any]:
        return asdict(self)


def find_findings(sources: Sources, network: Network | None) -> list[Finding]:
    """Those of the debugger, then those of lint."""
    index = _Index(network)
    found = [
        Finding("debug", "finding", _where(f.origin or f.layer), f.text, f.fix or "", index.find(f.layer, f.tensor))
        for f in (sources.debug.findings if sources.debug else ())
    ]
    return found + [_lint(entry, index) for entry in _lint_entries(sources)]


def _lint_entries(sources: Sources) -> Iterable[LintFinding]:
    if sources.lint is None:
        return ()
    verdicts = [entry for entry in sources.lint.layers if entry.verdict not in GOOD]
    return [*sources.lint.findings, *verdicts]


def _lint(entry: LintFinding, index: _Index) -> Finding:
    fields = entry.fields
    text = entry.reason or str(fields.get("text") or fields.get("message") or fields.get("why") or "")
    fix = entry.remedy or str(fields.get("fix") or "")
    severity = str(fields.get("severity") or entry.verdict or "finding")
    where = entry.layer + (f" ({entry.source})" if entry.source else "")
    node = index.find(entry.node, str(fields.get("tensor") or ""), entry.layer)
    return Finding("lint", severity, where or entry.node, text, fix, node)


def _where(origin: str) -> str:
    return origin.removeprefix("layer ").replace("'", "")


class _Index:
    """Operators by name, tensor and module."""

    def __init__(self, network: Network | None) -> None:
        self._known: dict[str, int] = {}
        for index, node in enumerate(network.nodes if network else ()):
            for name in (*node.outputs, node.module, node.name):
                if name:
                    self._known.setdefault(name, index)

    def find(self, *names: str) -> int | None:
        return next((self._known[name] for name in names if name in self._known), None)
