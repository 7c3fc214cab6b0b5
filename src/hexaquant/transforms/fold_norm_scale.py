"""gamma and beta of a LayerNormalization or RMSNormalization go into the linear layers that read it.

    gamma x^ + beta -> x^,    W -> W diag(gamma),    b -> b + W beta

Channels that a large gamma blows up decide the range of the activation; without it all have unit variance. The
target quantizes gamma to 8 bits with one scale and an all-ones gamma exactly, while each row of W has its own scale.

Paper: Li et al., "RepQ-ViT", ICCV 2023 (arXiv:2212.08254), section 3.2, whose per-channel scales and offsets are
folded in the same way; here the reparametrized quantities are gamma and beta themselves. Legal when:

1. gamma, beta, and the weights and biases of the readers are constants of their own;
2. the normalized values are read by linear layers only, directly or through data movement;
3. every reader has a bias, or beta is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as oir

from hexaquant.ir.graph import Graph, constant
from hexaquant.transforms.rotation_spaces import Matrix, Norm, Space, Spaces, data_of, store


@dataclass
class Folded:
    """``layers``: layer -> ratio of its largest to its smallest |gamma|; ``declined``: layer -> reason."""

    layers: dict[str, float] = field(default_factory=dict)
    declined: dict[str, str] = field(default_factory=dict)


def fold_norm_scale(graph: Graph, wanted: Callable[[oir.Node], bool] = lambda node: True) -> Folded:
    """Fold the normalizations of ``graph`` (prepared for the target) that are ``wanted``, in place."""
    spaces = Spaces(graph)
    report = Folded()
    for norm in spaces.norms:
        name = str(graph.origin(norm.node))
        reason = decline_reason(spaces, norm)
        if reason is not None:
            report.declined[name] = reason
        elif wanted(norm.node):
            size = np.abs(affine(norm.node)[0])
            report.layers[name] = round(float(size.max() / max(size.min(), 1e-12)), 3)
            fold(norm, spaces[norm.result])
    return report


def decline_reason(spaces: Spaces, norm: Norm) -> str | None:
    """Why gamma and beta of ``norm`` cannot go into the layers that read it; None when they can."""
    space = spaces[norm.result]
    if space.blocked:
        return space.blocked
    if space.writers or sum(other.result == norm.result for other in spaces.norms) > 1:
        return "its output is added to another tensor (post-norm)"
    if any(other.source == norm.result for other in spaces.norms):
        return "its output is normalized again"
    if not space.readers:
        return "no linear layer reads it"
    if any(port.node.op_type == "Conv" for port in space.readers):
        return "a convolution reads it"
    shift = affine(norm.node)[1]
    if shift.any() and any(port.bias is None for port in space.readers):
        return "a layer that reads it has no bias to take up beta"
    return None


def fold(norm: Norm, space: Space) -> None:
    """Fold ``norm``, whose output lies in ``space``; its gamma becomes 1, its beta 0."""
    gamma, beta = affine(norm.node)
    for port in space.readers:
        weight = data_of(port.value)
        if port.bias is not None:
            bias = data_of(port.bias)
            store(port.bias, bias + np.tensordot(beta, weight, (0, port.axis)).reshape(bias.shape))
        shape = [1, 1]
        shape[port.axis] = len(gamma)
        store(port.value, weight * gamma.reshape(shape))
    reset(norm.node)


def affine(node: oir.Node) -> tuple[Matrix, Matrix]:
    """gamma and beta of a normalization, float64; beta is zero where there is none."""
    gamma = np.asarray(constant(node.inputs[1]), np.float64)
    beta = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return gamma, np.zeros_like(gamma) if beta is None else np.asarray(beta, np.float64)


def reset(node: oir.Node) -> None:
    """gamma = 1, beta = 0."""
    for index, fill in ((1, 1.0), (2, 0.0)):
        value = node.inputs[index] if len(node.inputs) > index else None
        if value is not None:
            store(value, np.full(data_of(value).shape, fill))
