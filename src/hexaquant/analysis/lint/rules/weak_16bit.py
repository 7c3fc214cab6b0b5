"""Convolutions and products with 16-bit activations on Hexagon v68 and v69.

Kernels for 16-bit products came with v73. Before, a low-precision path is used: on the emulator (release 2.7.0) a
convolution in w8a16 is off by 21 steps of 16 bits on v68 where it is off by 1 on v73, a product by 13.
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import Finding, about
from hexaquant.analysis.lint.subject import Subject

RULE = "weak-16-bit"
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FIRST_ARCH = 73


def weak_16bit(subject: Subject) -> Iterator[Finding]:
    """One warning a layer."""
    if subject.target.arch >= FIRST_ARCH:
        return
    bad = {judgement.layer.node for judgement in subject.judgements if judgement.is_bad}
    for node in subject.prepared.nodes:
        if node.op_type not in PRODUCTS or subject.activation_bits(node) != 16 or node.name in bad:
            continue
        arch = subject.target.arch_name
        why = f"Hexagon {arch} multiplies 16-bit activations on a low-precision path, off by about 20 steps of 16 bits"
        fix = "use a target from v73 on, or 8 bits for this layer where they suffice (--overrides)"
        yield about(subject.prepared, node, RULE, "warning", f"16-bit activations on {arch}", why, fix)
