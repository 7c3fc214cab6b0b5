"""A constant matrix times a computed one, over axis 1: W (N, C) @ x (B, C, L).

The target runs it as a product of two activations: refused with 16-bit activations, no scale a channel, no int32 bias.
As a 1x1 convolution it has both. Measured (release 2.7.0, sa8255p, 96 x 784 to 384 channels): 94 us against 158 in
w8a8, 109 against 469 in w8a16. Linear layers (x @ W) need no such help: Gemm and 1x1 convolution compile to the same
cycles, Transposes around included (64 to 196 tokens, 8 and 16 bits). hexaquant rewrites the former
(htp/form_pointwise.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject, formed_by
from hexaquant.htp.form_pointwise import form_pointwise

RULE = "linear-as-convolution"
WHY = "as a product of two activations it is slower, coarser, and refused with 16-bit activations"


def linear_as_convolution(subject: Subject) -> Iterator[Finding]:
    """One info a product, which hexaquant makes a convolution."""
    for node in formed_by(subject.imported, form_pointwise, "Conv"):
        text = "a constant matrix from the left: a 1x1 convolution"
        fix = f"{BY_IMPORT}: it is a 1x1 convolution"
        yield about(subject.imported, node, RULE, "info", text, WHY, fix, fixable=True)
