"""Output channels whose weights are all zero.

They cost memory and time and compute a constant. Their scale is a tiny number that has to be raised so as not to
overflow the bias (htp/overflow.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.analysis.lint.weights import weights_of

RULE = "dead-channel"
RELATIVE = 1e-6


def dead_channel(subject: Subject) -> Iterator[Finding]:
    """One info a layer."""
    for weight in weights_of(subject.prepared):
        peaks = weight.peaks
        dead = int((peaks <= RELATIVE * peaks.max()).sum())
        if not dead:
            continue
        text = f"{dead} of {peaks.size} output channels have no weights"
        why = "they take memory and time, and compute a constant"
        yield about(subject.prepared, weight.node, RULE, "info", text, why, "prune them", tensor=weight.name)
