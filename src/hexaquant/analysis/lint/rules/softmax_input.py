"""Scores of a Softmax on a grid so coarse that the probabilities are wrong.

A rounding error of d in a score multiplies its probability by exp(d). With a step of 0.5 probabilities are off by up to
28 %. 8 bits over a range of 64 have a step of 0.25.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject

RULE = "softmax-input"
WIDEST_STEP = 0.5


def softmax_input(subject: Subject) -> Iterator[Finding]:
    """One warning a Softmax; its tensor is the scores."""
    for node in subject.prepared.nodes:
        if node.op_type not in ("Softmax", "LogSoftmax") or node.inputs[0] is None:
            continue
        name = node.inputs[0].name or ""
        seen = subject.statistics.get(name)
        grid = subject.plan.root(name).grid if name in subject.plan.tensors else None
        if seen is None or grid is None or grid.is_float:
            continue
        step = (seen.high - seen.low) / (2**grid.bits - 1)
        if step < WIDEST_STEP:
            continue
        text = f"its scores span {seen.low:.3g} to {seen.high:.3g}: one step of {grid.bits} bits is {step:.2g}"
        why = f"half a step multiplies a probability by {math.exp(min(step / 2, 50)):.3g}"
        fix = "16 bits or float16 for the scores (--overrides); masks of -100 instead of -1e4 and less"
        yield about(subject.prepared, node, RULE, "warning", text, why, fix, tensor=name)
