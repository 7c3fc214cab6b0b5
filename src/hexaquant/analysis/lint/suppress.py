"""What the user does not want to hear: rules, or rules on some layers, from the command line or a YAML file.

suppress:
  - long-tail
  - coarse-16-bit:encoder.*
severity:
  outlier-channel: info
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hexaquant.analysis.lint.finding import SEVERITIES, Finding, Severity
from hexaquant.core.errors import InputError
from hexaquant.core.text_file import read_yaml


@dataclass(frozen=True)
class LintConfig:
    """``suppress``: (rule, glob over layers and tensors); ``severity``: rule -> the one it shall have."""

    suppress: tuple[tuple[str, str], ...] = ()
    severity: dict[str, Severity] = field(default_factory=dict)

    def apply(self, findings: Sequence[Finding]) -> tuple[list[Finding], int]:
        """The findings that stay, with their severities, and how many were suppressed."""
        kept = [f for f in findings if not any(_matches(f, rule, glob) for rule, glob in self.suppress)]
        told = [replace(f, severity=self.severity.get(f.rule, f.severity)) for f in kept]
        return told, len(findings) - len(kept)


def _matches(finding: Finding, rule: str, glob: str) -> bool:
    names = (finding.layer.module, finding.layer.node, finding.tensor)
    return finding.rule == rule and any(name and fnmatchcase(name, glob) for name in names)


def read_config(texts: Sequence[str], path: str | Path | None, rules: Collection[str]) -> LintConfig:
    """From ``texts`` ("RULE" or "RULE:layer-glob") and the YAML file ``path``. Raises InputError for unknown rules."""
    document = {} if path is None else _document(Path(path))
    listed = document.get("suppress", [])
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise InputError(f"lint config {path}: 'suppress' must be a list of RULE or RULE:layer-glob")
    suppress = []
    for text in [*texts, *listed]:
        rule, _, glob = text.partition(":")
        _require_rule(rule, rules)
        suppress.append((rule, glob or "*"))
    severity = document.get("severity", {})
    if not isinstance(severity, dict) or not all(word in SEVERITIES for word in severity.values()):
        raise InputError(f"lint config {path}: 'severity' must map rules to {', '.join(SEVERITIES)}")
    for rule in severity:
        _require_rule(rule, rules)
    return LintConfig(tuple(suppress), severity)


def _require_rule(rule: str, rules: Collection[str]) -> None:
    if rule not in rules:
        close = difflib.get_close_matches(rule, rules, 1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise InputError(f"there is no lint rule '{rule}'{hint}; rules are {', '.join(sorted(rules))}")


def _document(path: Path) -> dict[str, Any]:
    document = read_yaml(path, "lint config") or {}
    if not isinstance(document, dict) or not set(document) <= {"suppress", "severity"}:
        raise InputError(f"lint config {path} must be a mapping with 'suppress' and 'severity'")
    return document
