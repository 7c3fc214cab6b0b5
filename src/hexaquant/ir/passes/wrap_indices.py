"""Indices that may be negative count from the end: i < 0 is i + n.

Kernels read them as they are, beyond the end. An index that is computed gets Where (i < 0, i + n, i); a constant is
wrapped by what lowers the network. Legal when

1. the node is a Gather, GatherElements or GatherND with computed indices that nothing shows to be 0 or more;
2. the sizes of the indexed axes are numbers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import int_attribute
from hexaquant.ir.emitter import Emitter
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import names_in
from hexaquant.ir.symbolic import dims_of

INDEXING = ("Gather", "GatherElements", "GatherND")
COUNTS = frozenset(["ArgMax", "ArgMin", "Shape", "Size", "NonZero", "Abs", "Relu"])
"""Operators whose integers are never negative; of TopK it is the second output."""
KEEPS = names_in(
    "Reshape Transpose Cast Slice Squeeze Unsqueeze Flatten Identity Expand Tile Concat Gather GatherElements "
    "Split Mul Div Add Max Mod Where"
)
"""Operators that give nothing negative where their (index) operands are not negative."""


def wrap_indices(graph: Graph) -> int:
    """Returns the number of nodes whose indices are wrapped now."""
    changed = 0
    for node in graph.nodes:
        if node.op_type in INDEXING and node.domain == "" and may_be_negative(node.inputs[1]):
            changed += _wrap(node)
    return changed


def may_be_negative(value: oir.Value | None) -> bool:
    """Whether nothing shows that the integers of ``value`` are 0 or more."""
    data = constant(value)
    if data is not None:
        return bool((data < 0).any())
    node = None if value is None else value.producer()
    if node is None or value is None:
        return True
    if node.op_type == "TopK":
        return value is not node.outputs[1]
    if node.op_type in COUNTS:
        return False
    if node.op_type == "Where" and _is_wrapped(node):
        return False
    return node.op_type not in KEEPS or any(may_be_negative(v) for v in _operands(node))


def _operands(node: oir.Node) -> list[oir.Value | None]:
    if node.op_type in ("Concat", "Add", "Mul", "Div", "Mod"):
        return list(node.inputs)
    return list(node.inputs[1:]) if node.op_type == "Where" else [node.inputs[0]]


def _is_wrapped(node: oir.Node) -> bool:
    """Whether ``node`` is Where (i < 0, i + n, i)."""
    less = node.inputs[0]
    other = node.inputs[2]
    test = None if less is None else less.producer()
    zero = None if test is None else constant(test.inputs[1])
    is_test = test is not None and test.op_type == "Less" and test.inputs[0] is other
    return is_test and zero is not None and not zero.any()


def _wrap(node: oir.Node) -> bool:
    index = node.inputs[1]
    data = dims_of(node.inputs[0])
    if index is None or data is None or constant(index) is not None or index.dtype is None:
        return False
    axis = int_attribute(node, "axis", 0)
    if node.op_type == "GatherND":
        skipped = int_attribute(node, "batch_dims", 0)
        places = dims_of(index)
        if places is None or not places[-1].is_Integer:
            return False
        sizes = data[skipped : skipped + int(places[-1])]
    else:
        sizes = [data[axis]]
    if not all(size.is_Integer for size in sizes):
        return False
    emit = Emitter(node)
    kind = index.dtype.numpy()
    name = index.name or "index"
    zero = emit.constant(f"{name}_zero", np.array(0, kind))
    length = np.array([int(s) for s in sizes], kind)
    size = emit.constant(f"{name}_length", length if len(sizes) > 1 else length.reshape(()))
    before = emit.op("Less", [index, zero], f"{name}_before")
    raised = emit.op("Add", [index, size], f"{name}_raised")
    node.replace_input_with(1, emit.op("Where", [before, raised, index], f"{name}_wrapped"))
    return True
