"""Operators whose 16-bit kernels are far from 16 bits: Softmax, Softplus, products of two activations, Resize.

Measured one by one on the emulator against onnxruntime on the same QDQ model (targets/ops.py, error_16): Softplus is
off by 614 steps of 16 bits, Softmax by 203 (its real accuracy is that of 8 bits), a product of two activations by
128, linear Resize by 85. In float16 each is as exact as the type.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.edit import string_attribute
from hexaquant.ir.graph import constant
from hexaquant.targets import ops

RULE = "coarse-16-bit"
STEPS = 64
"""Error of at least so many steps of 16 bits."""


def coarse_16bit(subject: Subject) -> Iterator[Finding]:
    """One warning a layer."""
    for node in subject.prepared.nodes:
        rule = ops.rule_of(node.op_type)
        if rule is None or rule.error_16 < STEPS or subject.activation_bits(node) != 16 or not _is_meant(node):
            continue
        bits = 16 - math.log2(rule.error_16)
        text = f"{node.op_type} at 16 bits is accurate to about {rule.error_16} steps of 16 bits"
        why = f"the target's kernel is as exact as {bits:.0f} to {bits + 1:.0f} bits"
        fix = f'keep the layer in float16: --overrides with "{node.name}": fp16'
        yield about(subject.prepared, node, RULE, "warning", text, why, fix)


def _is_meant(node: oir.Node) -> bool:
    """Whether the figure of the operator holds for this form of it."""
    if node.op_type == "MatMul":
        return constant(node.inputs[0]) is None and constant(node.inputs[1]) is None
    return node.op_type != "Resize" or string_attribute(node, "mode", "nearest") == "linear"
