"""Integer tensors of shape arithmetic, evaluated with symbolic dimensions.

A tensor of rank 0 or 1 is an object array of sympy integers and expressions over the symbols of the graph's
inputs; numpy does the slicing and arithmetic. Every symbol is a positive integer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import onnx_ir as oir
import sympy

from hexaquant.ir.edit import int_attribute

MAX_ELEMENTS = 64

Evaluate = Callable[[oir.Node, list[np.ndarray]], np.ndarray]


@lru_cache(maxsize=4096)
def parse_dim(text: str) -> sympy.Expr:
    """The expression a dimension's name stands for ("2*s17"); names that are no expression become symbols."""
    try:
        parsed = oir.SymbolicDim(text)._expr
    except (ValueError, TypeError, SyntaxError):
        parsed = None
    if parsed is None:
        return sympy.Symbol(text, integer=True, positive=True)
    return parsed.subs({s: sympy.Symbol(s.name, integer=True, positive=True) for s in parsed.free_symbols})


def symbol_for(value: oir.Value, axis: int) -> sympy.Expr:
    """Dimension ``axis`` of ``value``; an unknown one gets a symbol of its own."""
    assert value.shape is not None
    dim = value.shape[axis]
    if isinstance(dim, int):
        return sympy.Integer(dim)
    if dim.value is None:
        return sympy.Symbol(f"unknown__{value.name}_{axis}", integer=True, positive=True)
    return parse_dim(dim.value)


def dims_of(value: oir.Value | None) -> list[sympy.Expr] | None:
    """All dimensions of ``value`` as expressions; None when its rank is unknown."""
    if value is None or value.shape is None:
        return None
    return [symbol_for(value, axis) for axis in range(len(value.shape))]


def as_dim(expression: sympy.Expr) -> int | str | None:
    """An expression as a dimension of a shape: int, text, or None when it contains an unknown."""
    if expression.is_Integer:
        return int(expression)
    text = str(expression)
    return None if "unknown__" in text else text


class Contents:
    """Known contents of integer tensors by value."""

    def __init__(self) -> None:
        self._known: dict[oir.Value, np.ndarray] = {}

    def get(self, value: oir.Value | None) -> np.ndarray | None:
        """Elements of ``value`` as an object array (rank 0 or 1), or None when it is not known."""
        if value is None:
            return None
        if value in self._known:
            return self._known[value]
        tensor = value.const_value
        if tensor is None or tensor.dtype not in (oir.DataType.INT64, oir.DataType.INT32):
            return None
        if tensor.size > MAX_ELEMENTS or len(tensor.shape) > 1:
            return None
        return _objects(tensor.numpy())

    def evaluate(self, node: oir.Node) -> np.ndarray | None:
        """Record and return the contents of ``node``'s first output when they follow from its inputs."""
        result = _shape(node) if node.op_type in ("Shape", "Size") else self._apply(node)
        if result is None or result.ndim > 1 or result.size > MAX_ELEMENTS:
            return None
        self._known[node.outputs[0]] = result
        return result

    def _apply(self, node: oir.Node) -> np.ndarray | None:
        rule = RULES.get(node.op_type)
        if rule is None or node.domain != "":
            return None
        inputs = [self.get(v) for v in node.inputs]
        if any(x is None for x in inputs):
            return None
        try:
            return _objects(rule(node, [x for x in inputs if x is not None]))
        except (ValueError, IndexError, TypeError, ZeroDivisionError):
            return None


def _objects(array: np.ndarray) -> np.ndarray:
    result = np.empty(np.shape(array), dtype=object)
    for index in np.ndindex(result.shape):
        element = array[index] if np.ndim(array) else np.asarray(array, dtype=object)[()]
        result[index] = sympy.sympify(element if isinstance(element, sympy.Expr) else int(element))
    return result


def _shape(node: oir.Node) -> np.ndarray | None:
    dims = dims_of(node.inputs[0])
    if dims is None:
        return None
    if node.op_type == "Size":
        return _objects(np.array(sympy.Mul(*dims), dtype=object))
    end = int_attribute(node, "end", len(dims))
    return _objects(np.array(dims, dtype=object)[int_attribute(node, "start", 0) : end])


def _ints(array: np.ndarray) -> list[int]:
    if not all(x.is_Integer for x in array.reshape(-1)):
        raise ValueError("symbolic where a number is needed")
    return [int(x) for x in array.reshape(-1)]


def _gather(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    index = np.array(_ints(inputs[1]), np.int64).reshape(inputs[1].shape)
    return np.asarray(inputs[0].take(index, axis=int_attribute(node, "axis", 0)), dtype=object)


def _slice(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    steps = _ints(inputs[4])[0] if len(inputs) > 4 else 1
    start = _ints(inputs[1])[0]
    end = _ints(inputs[2])[0]
    if steps < 0 and end < -len(inputs[0]):
        return inputs[0][start::steps]
    return inputs[0][start:end:steps]


def _concat(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(inputs)


def _unsqueeze(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    if inputs[0].ndim:
        raise ValueError("rank above 1")
    return inputs[0].reshape(1)


def _squeeze(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    return inputs[0].reshape(())


def _reshape(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    return inputs[0].reshape(_ints(inputs[1]))


def _same(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    return inputs[0]


def _cast(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
    if int_attribute(node, "to", 0) not in (oir.DataType.INT64, oir.DataType.INT32):
        raise ValueError("not an integer type")
    return inputs[0]


def _elementwise(function: Callable[[sympy.Expr, sympy.Expr], sympy.Expr]) -> Evaluate:
    def apply(node: oir.Node, inputs: list[np.ndarray]) -> np.ndarray:
        return np.asarray(np.frompyfunc(function, 2, 1)(inputs[0], inputs[1]), dtype=object)

    return apply


def _divide(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """ONNX integer division truncates; symbols are positive, so floor is the same unless numbers are negative."""
    if a.is_Integer and b.is_Integer:
        return sympy.Integer(int(int(a) / int(b)))
    if not (a.is_nonnegative and b.is_positive):
        raise ValueError("sign unknown")
    return sympy.floor(a / b)


RULES: dict[str, Evaluate] = {
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Identity": _same,
    "Cast": _cast,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _elementwise(_divide),
    "Min": _elementwise(sympy.Min),
    "Max": _elementwise(sympy.Max),
}
"""Operators of shape arithmetic that work on symbols."""
