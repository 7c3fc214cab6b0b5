"""Recognise Keras' BatchNormalization in the arithmetic that TensorFlow makes of it, while its parameters have names.

    y = x * k + (beta - mean * k),  k = gamma / sqrt(var + eps)

1. mean, var, gamma and beta are initializers of rank 1; gamma and beta may be absent (scale or center is off).
2. The channels are the last axis of x, whose rank is known. For a rank above 2 a Transpose brings them to axis 1 and
   back (ir/passes/move_transposes.py removes both).
3. Identity nodes between do not matter. With any other axis the arithmetic stays as it is.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as oir

from hexaquant.ir.edit import add_constant, insert_before, ints_attribute, replace_node
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.match import scalar

Parameters = dict[str, oir.Value]


def form_batchnorm(graph: Graph) -> int:
    """Returns the number of BatchNormalization nodes made; ``graph`` is raw (see ir/normalize.py)."""
    made = 0
    for node in graph.nodes:
        if node.op_type == "Add" and node.domain == "" and node.graph is not None:
            made += _form(graph, node)
    return made


def _form(graph: Graph, add: oir.Node) -> bool:
    for scaled, shift in _both(add):
        multiply = _node(scaled, "Mul")
        for x, factor in _both(multiply) if multiply is not None else ():
            found = _parameters(factor, shift)
            rank = _rank(x)
            if found is not None and rank >= 2:
                _replace(graph, add, x, rank, *found)
                return True
    return False


def _parameters(factor: oir.Value, shift: oir.Value) -> tuple[Parameters, float] | None:
    """mean, var, gamma and beta (by these names) and epsilon of ``x * factor + shift``."""
    inverse, gamma = _inverse_deviation(factor)
    if inverse is None:
        return None
    variance, epsilon = inverse
    subtract = _node(shift, "Sub")
    negate = _node(shift, "Neg")
    beta = _source(subtract.inputs[0]) if subtract is not None else None
    product = subtract.inputs[1] if subtract is not None else negate.inputs[0] if negate is not None else None
    scaled_mean = _node(product, "Mul")
    for mean, again in _both(scaled_mean) if scaled_mean is not None else ():
        if _source(again) is _source(factor) and _is_vector(mean):
            found = {"mean": _source(mean), "var": variance, "gamma": gamma, "beta": beta}
            vectors = {key: value for key, value in found.items() if value is not None}
            return (vectors, epsilon) if all(_is_vector(v) for v in vectors.values()) else None
    return None


def _inverse_deviation(factor: oir.Value) -> tuple[tuple[oir.Value, float] | None, oir.Value | None]:
    """((variance, epsilon), gamma or None) of ``gamma / sqrt(variance + epsilon)``."""
    multiply = _node(factor, "Mul")
    for inverse, gamma in _both(multiply) if multiply is not None else ():
        found = _variance(inverse)
        if found is not None:
            return found, _source(gamma)
    return _variance(factor), None


def _variance(value: oir.Value) -> tuple[oir.Value, float] | None:
    reciprocal = _node(value, "Reciprocal")
    root = _node(reciprocal.inputs[0], "Sqrt") if reciprocal is not None else None
    total = _node(root.inputs[0], "Add") if root is not None else None
    for variance, epsilon in _both(total) if total is not None else ():
        number = scalar(_source(epsilon))
        if number is not None and _is_vector(variance):
            return _source(variance), number
    return None


def _replace(graph: Graph, add: oir.Node, x: oir.Value, rank: int, found: Parameters, epsilon: float) -> None:
    mean = constant(found["mean"])
    assert mean is not None
    inner = graph.model.graph
    base = (found["mean"].name or "").removesuffix("moving_mean")
    gamma = found.get("gamma") or add_constant(inner, f"{base}ones", np.ones_like(mean))
    beta = found.get("beta") or add_constant(inner, f"{base}zeros", np.zeros_like(mean))
    parameters = [gamma, beta, found["mean"], found["var"]]
    name = add.outputs[0].name or "batchnorm"
    if rank == 2:
        replace_node(add, "BatchNormalization", [x, *parameters], {"epsilon": epsilon})
        return
    first = [0, rank - 1, *range(1, rank - 1)]
    last = [0, *range(2, rank), 1]
    moved = insert_before(add, "Transpose", [x], {"perm": first}, f"{name}_channels_first")
    normal = insert_before(add, "BatchNormalization", [moved, *parameters], {"epsilon": epsilon}, f"{name}_normal")
    replace_node(add, "Transpose", [normal], {"perm": last})


def _rank(value: oir.Value) -> int:
    """Number of dimensions, also where only the Transpose before (a bias lies between) tells it; 0 when unknown."""
    transpose = _node(value, "Transpose")
    add = _node(value, "Add")
    if value.shape is not None:
        return len(value.shape)
    if add is not None:
        return max(_rank(operand) for operand in add.inputs if operand is not None)
    return 0 if transpose is None else len(ints_attribute(transpose, "perm"))


def _both(node: oir.Node) -> list[tuple[oir.Value, oir.Value]]:
    """The operands of a commutative node in both orders."""
    if len(node.inputs) != 2 or node.inputs[0] is None or node.inputs[1] is None:
        return []
    return [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])]


def _source(value: oir.Value | None) -> oir.Value:
    """What ``value`` is a copy of."""
    assert value is not None
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def _node(value: oir.Value | None, op_type: str) -> oir.Node | None:
    node = _source(value).producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and node.domain == "" else None


def _is_vector(value: oir.Value) -> bool:
    data = constant(_source(value))
    return data is not None and data.ndim == 1
