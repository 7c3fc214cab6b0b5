"""Operators whose 16-bit kernels are far from 16 bits: Softmax, Softplus, linear Resize.

Measured with networks of one operator that this package quantized in w8a16 and compiled for sm8650 (release 2.7.0), on
the emulator against the simulation: Softmax over 16 to 200 entries is off by 11 to 106 steps and has 58 dB where the
simulation promises 77; Softplus 88 steps, 49 dB; linear Resize 60 steps, 60 dB. In float16 each is as exact as the
type. Products of two activations are exact to 3 steps in the form that hexaquant gives them, Gelu to 20.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as oir

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.edit import string_attribute

RULE = "coarse-16-bit"
MEASURED = {"Softmax": (106, 58), "Softplus": (88, 49), "Resize": (60, 60)}
"""Operator -> (largest error in steps of 16 bits, SQNR in dB)."""


def coarse_16bit(subject: Subject) -> Iterator[Finding]:
    """One warning a layer."""
    for node in subject.prepared.nodes:
        if node.op_type not in MEASURED or subject.activation_bits(node) != 16 or not _is_meant(node):
            continue
        steps, db = MEASURED[node.op_type]
        text = f"{node.op_type} at 16 bits is accurate to about {steps} steps of 16 bits"
        why = f"the target's kernel has {db} dB against the simulation, where 16 bits could have 77 and more"
        fix = f'keep the layer in float16: --overrides with "{node.name}": fp16'
        yield about(subject.prepared, node, RULE, "warning", text, why, fix)


def _is_meant(node: oir.Node) -> bool:
    """Whether the figure of the operator holds for this form of it: nearest Resize only copies."""
    return node.op_type != "Resize" or string_attribute(node, "mode", "nearest") == "linear"
