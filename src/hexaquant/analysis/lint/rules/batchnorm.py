"""BatchNormalization that stands in the graph.

Behind a convolution or linear layer it disappears into the weights. Anywhere else the target multiplies and adds: two
more tensors to quantize, and the factors of all channels share one grid. hexaquant folds it at import where that is
legal (ir/passes/fold_batchnorm.py, which also gives the reason where it is not).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.passes.fold_batchnorm import affine_of, decline_reason

RULE = "batchnorm"
WHY = "unfolded it is a Mul and an Add: two more quantized tensors, and one grid for the factors of all channels"


def batchnorm(subject: Subject) -> Iterator[Finding]:
    """Info where it folds, warning with the reason where it does not."""
    left = {node.name: node for node in subject.cleaned.nodes if node.op_type == "BatchNormalization"}
    for node in subject.written.nodes:
        if node.op_type != "BatchNormalization" or node.domain != "":
            continue
        if node.name not in left:
            fix = f"{BY_IMPORT}: it is folded into the layer before"
            yield about(subject.written, node, RULE, "info", "BatchNormalization is not folded", WHY, fix, fixable=True)
            continue
        reason = decline_reason(left[node.name]) or "its parameters are computed"
        text = f"BatchNormalization cannot be folded: {reason}{_spread(left[node.name])}"
        tensor = f"{node.outputs[0].name}_scaled"  # of the Mul that import makes of it
        yield about(subject.written, node, RULE, "warning", text, WHY, _remedy(reason), tensor=tensor)


def _spread(node: oir.Node) -> str:
    affine = affine_of(node)
    if affine is None:
        return ""
    sizes = np.abs(affine[0])
    ratio = float(sizes.max() / max(float(np.median(sizes)), 1e-30))
    return f"; its largest factor is {ratio:.0f} times the median" if ratio >= 10 else ""


def _remedy(reason: str) -> str:
    if "also used elsewhere" in reason:
        return "let the other reader take the normalized tensor, or put the normalization into both branches"
    if "shared" in reason:
        return "give the layer a weight of its own"
    if "parameters" in reason:
        return "export the model in eval mode"
    return "put it directly behind a convolution or linear layer, or keep this layer in 16 bits (--overrides)"
