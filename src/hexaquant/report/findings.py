"""Findings of lint and debugger in one form, and which operator each is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from hexaquant.report.network import Network
from hexaquant.report.schema import LintFinding
from hexaquant.report.sources import Sources

BAD = ("refused", "wrong")
"""Verdicts of lint on a layer that are findings, where the file has no findings of its own."""
GRAVE = ("error", "refused", "wrong", "warning", "finding", "info")
"""Severities, the gravest first."""


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
    """Those of the debugger and of lint, the gravest first."""
    index = _Index(network)
    found = [
        Finding("debug", "finding", _where(f.origin or f.layer), f.text, f.fix or "", index.find(f.layer, f.tensor))
        for f in (sources.debug.findings if sources.debug else ())
    ]
    found += [_lint(entry, index) for entry in _lint_entries(sources)]
    return sorted(found, key=lambda f: GRAVE.index(f.severity) if f.severity in GRAVE else len(GRAVE))


def _lint_entries(sources: Sources) -> Iterable[LintFinding]:
    if sources.lint is None:
        return ()
    return sources.lint.findings or [entry for entry in sources.lint.layers if entry.verdict in BAD]


def _lint(entry: LintFinding, index: _Index) -> Finding:
    fields = entry.fields
    sentences = [entry.reason, *(str(fields.get(key) or "") for key in ("text", "why"))]
    cost = fields.get("cost_db")
    if isinstance(cost, int | float):
        sentences.append(f"quantized alone: {cost:.1f} dB SQNR of the outputs")
    text = ". ".join(sentence.rstrip(".") for sentence in sentences if sentence)
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
