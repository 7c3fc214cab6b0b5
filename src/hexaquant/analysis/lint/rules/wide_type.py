"""Tensors in float64.

The target computes in integers and float16; what a model computes in double precision because it needs it will come out
differently. Most often the double is an accident of the export (a numpy scalar).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject

RULE = "wide-type"


def wide_type(subject: Subject) -> Iterator[Finding]:
    """One warning an operator that computes float64 from something that is not float64, or first does."""
    for node in subject.written.nodes:
        if node.outputs[0].dtype != oir.DataType.DOUBLE:
            continue
        if any(v is not None and v.dtype == oir.DataType.DOUBLE and v.producer() is not None for v in node.inputs):
            continue
        why = "the target has no float64; accuracy that rests on it is lost"
        yield about(subject.written, node, RULE, "warning", "computes in float64", why, "use float32 in the model")
