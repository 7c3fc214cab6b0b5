"""Transposes that cancel: behind each other, or once they are moved past the operators between.

Left in the graph each may move the whole tensor through memory. Import composes a Transpose of a Transpose; moving them
(ir/passes/move_transposes.py) is done with --fix only, since encodings that other tools made name tensors in their old
layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject, gone_by
from hexaquant.ir.edit import producer
from hexaquant.ir.graph import shape_of
from hexaquant.ir.passes.move_transposes import move_transposes

RULE = "transpose-chain"
WHY = "a Transpose that the compiler cannot absorb moves the whole tensor through memory"


def transpose_chain(subject: Subject) -> Iterator[Finding]:
    """Info for chains that import composes, warning for Transposes that cancel once they are moved."""
    for node in subject.written.nodes:
        first = producer(node.inputs[0], "Transpose") if node.op_type == "Transpose" and node.inputs else None
        if first is None or (subject.remains(node) and subject.remains(first)):
            continue
        text = f"Transpose of the Transpose '{first.name}'"
        yield about(
            subject.written, node, RULE, "info", text, WHY, f"{BY_IMPORT}: they become one or none", fixable=True
        )
    fewer = move_transposes(subject.imported.clone())
    for node in gone_by(subject.imported, move_transposes, ("Transpose",)) if fewer else ():
        text = f"Transpose{_size(node)} that cancels once moved ({fewer} fewer in all)"
        yield about(
            subject.imported, node, RULE, "warning", text, WHY, "use one layout from input to output", fixable=True
        )


def _size(node: oir.Node) -> str:
    shape = shape_of(node.outputs[0]) or ()
    known = [d for d in shape if isinstance(d, int)]
    return f" of {math.prod(known):,} values" if known else ""
