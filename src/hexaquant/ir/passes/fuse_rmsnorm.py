"""x / sqrt(mean(x^2) + eps) [* gamma] -> RMSNormalization (opset 23) over the last dimension.

PyTorch exports ``rms_norm`` and its handwritten forms so. Quantized operator by operator the squares need a range that
leaves nothing for small values: on the emulator (release 2.7.0) 29 dB in 16 bits and -18 dB in 8, where the target's
own operator has 54 and 11 dB and takes a quarter to half of the time.

1. The mean reduces the last dimension only and keeps it; the rank of x is known where the axis is positive.
2. The square is Mul(x, x) or Pow(x, 2); eps is a one-element constant; x is float32 of rank 4 or less (the target
   takes no more) with a known last dimension.
3. The quotient is x / r, x * Reciprocal(r), x * (1 / r) with r = Sqrt(v) or Pow(v, 0.5), or x * Pow(v, -0.5).
4. gamma is taken in when it is a constant of shape [D] (D the last dimension) and the quotient is read nowhere else;
   without gamma a constant of ones serves.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, producer, replace_node
from hexaquant.ir.graph import Graph
from hexaquant.ir.opset import state_opset
from hexaquant.ir.passes.match import following_vector, is_number, mean_over_last, scalar, squared
from hexaquant.ir.rule import Declined, Rule

MAX_RANK = 4
"""Of the target's operator (release 2.7.0)."""


Norm = tuple[oir.Value, float, int]
"""x, epsilon and the size of the last axis."""


def _check(node: oir.Node) -> Norm | Declined | None:
    reason = ""
    for x, variance in _quotients(node):
        add = producer(variance, "Add")
        if x is None or add is None:
            continue
        for index in (0, 1):
            epsilon = scalar(add.inputs[index])
            mean = mean_over_last(add.inputs[1 - index])
            if epsilon is None or squared(mean) is not x:
                reason = reason or "under the root is no mean over the last axis of x^2, plus a single number"
                continue
            problem = _problem(x)
            return Declined(problem) if problem else (x, epsilon, int(str(x.shape[-1])))  # type: ignore[index]
    return Declined(reason) if reason else None


def _problem(x: oir.Value) -> str:
    """Why the target's operator does not take ``x``."""
    if x.dtype != oir.DataType.FLOAT:
        return f"x is {x.dtype}, not float32"
    if x.shape is None or not 1 <= len(x.shape) <= MAX_RANK:
        return f"the target's operator takes a rank of {MAX_RANK} at most"
    return "" if isinstance(x.shape[-1], int) else "the size of the last axis is not known"


def _quotients(node: oir.Node) -> list[tuple[oir.Value | None, oir.Value | None]]:
    """(x, v) for every way to read ``node`` as x / sqrt(v)."""
    left = node.inputs[0]
    right = node.inputs[1]
    if node.op_type == "Div":
        return [(left, _root(right))]
    return [(left, _inverse_root(right)), (right, _inverse_root(left))]


def _root(value: oir.Value | None) -> oir.Value | None:
    """v of sqrt(v)."""
    root = producer(value, "Sqrt")
    if root is not None:
        return root.inputs[0]
    power = producer(value, "Pow")
    return power.inputs[0] if power is not None and is_number(power.inputs[1], 0.5) else None


def _inverse_root(value: oir.Value | None) -> oir.Value | None:
    """v of 1 / sqrt(v)."""
    reciprocal = producer(value, "Reciprocal")
    if reciprocal is not None:
        return _root(reciprocal.inputs[0])
    divide = producer(value, "Div")
    if divide is not None and is_number(divide.inputs[0], 1.0):
        return _root(divide.inputs[1])
    power = producer(value, "Pow")
    return power.inputs[0] if power is not None and is_number(power.inputs[1], -0.5) else None


def _fuse(graph: Graph, quotient: oir.Node, found: Norm) -> None:
    """The graph then says opset 23."""
    x, epsilon, size = found
    root, gamma = following_vector(quotient, "Mul", size)
    if gamma is None:
        gamma = add_constant(graph.model.graph, f"{root.outputs[0].name}_ones", np.ones(size, np.float32))
    replace_node(root, "RMSNormalization", [x, gamma], {"axis": -1, "epsilon": epsilon})
    state_opset(graph.model)


fuse_rmsnorm = Rule("fuse_rmsnorm", ("Mul", "Div"), _check, _fuse)
