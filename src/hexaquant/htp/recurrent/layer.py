"""A recurrent node read: its operands, its gates' functions, and what of it cannot be written step by step.

Legal when:

1. the sequence length is static, at most MAX_STEPS of integers or MAX_FLOAT_STEPS in float16;
2. W, R and B are constants (or constant integers with their scales);
3. every function is one of FUNCTIONS, without clip, peepholes or coupled input and forget gates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as oir

from hexaquant.core.errors import InputError, TargetError
from hexaquant.ir.edit import int_attribute, producer, string_attribute
from hexaquant.ir.emitter import Dim
from hexaquant.ir.graph import Graph, Origin, constant, shape_of
from hexaquant.ir.passes.dequantized import dequantized_constant

MAX_STEPS = 128
"""Of integers every step has tensors with encodings of their own: longer sequences calibrate for hours."""
MAX_FLOAT_STEPS = 1024
"""A step is some ten operators of the compiled graph; 512 were measured (docs/measurements.md)."""

DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
"""Recurrent operators, each with the functions of its gates."""
FUNCTIONS = ("Sigmoid", "Tanh", "Relu", "HardSigmoid")
"""Functions that gates may have, as the operators of the same names with their default constants."""


@dataclass(frozen=True)
class Layer:
    """A recurrent node read: ``w`` (D, gates * hidden, inputs), ``r`` (D, gates * hidden, hidden), ``b`` (D, 2 *
    gates * hidden); ``batch`` may be symbolic; ``backwards`` and ``functions`` have one entry a direction.

    ``lengths``: int32 (batch,), the valid steps of each sequence; None: all. ``in_float``: in float16.
    """

    node: oir.Node
    origin: Origin
    name: str
    w: np.ndarray
    r: np.ndarray
    b: np.ndarray
    steps: int
    batch: Dim
    backwards: tuple[bool, ...]
    functions: tuple[tuple[str, ...], ...]
    batch_first: bool
    lengths: oir.Value | None
    in_float: bool

    @property
    def hidden(self) -> int:
        return int(self.r.shape[2])

    def negated(self, rows: slice) -> Layer:
        """The layer with ``rows`` of W, R and both halves of B negative."""
        w, r, b = self.w.copy(), self.r.copy(), self.b.reshape(len(self.b), 2, -1).copy()
        for part in (w, r):
            part[:, rows] *= -1
        b[:, :, rows] *= -1
        return replace(self, w=w, r=r, b=b.reshape(self.b.shape))


def read_layer(graph: Graph, node: oir.Node, in_float: bool) -> Layer:
    """The operands of ``node``.

    Raises InputError for a dynamic or too long sequence, TargetError for a variant that cannot be unrolled.
    """
    origin = graph.origin(node)
    w, r, b = (_weight(operand(node, index)) for index in (1, 2, 3))
    if w is None or r is None or (operand(node, 3) is not None and b is None):
        raise TargetError(f"{origin}: the weights of {node.op_type} are computed; make them constants of the model")
    batch_first = bool(int_attribute(node, "layout", 0))
    steps, batch = _length_and_batch(node, origin, batch_first, MAX_FLOAT_STEPS if in_float else MAX_STEPS)
    _refuse_variants(node, origin)
    direction = string_attribute(node, "direction", "forward")
    backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    bias = np.zeros((len(w), 2 * w.shape[1]), w.dtype) if b is None else b
    name = origin.module or node.name or node.op_type.lower()
    lengths = operand(node, 4)
    full = constant(lengths)
    lengths = None if full is not None and bool((full == steps).all()) else lengths
    functions = _functions(node, origin, len(backwards))
    return Layer(node, origin, name, w, r, bias, steps, batch, backwards, functions, batch_first, lengths, in_float)


def operand(node: oir.Node, index: int) -> oir.Value | None:
    """Input ``index`` of ``node``, None where it is absent."""
    return node.inputs[index] if len(node.inputs) > index else None


def _weight(value: oir.Value | None) -> np.ndarray | None:
    """A constant, or what constant integers and their scales stand for."""
    dequantize = producer(value, "DequantizeLinear")
    return constant(value) if dequantize is None else dequantized_constant(dequantize)


def _length_and_batch(node: oir.Node, origin: Origin, batch_first: bool, longest: int) -> tuple[int, Dim]:
    x = node.inputs[0]
    shape = shape_of(x) if x is not None else None
    if shape is None or len(shape) != 3:
        raise InputError(f"{origin}: the shape of {node.op_type}'s input is unknown; give input shapes with --shape")
    steps, batch = (shape[1], shape[0]) if batch_first else (shape[0], shape[1])
    if not isinstance(steps, int):
        raise InputError(
            f"{origin}: the sequence length of {node.op_type} is dynamic ('{steps}'); fix it with --shape, "
            f"to at most {longest} steps"
        )
    if steps > longest:
        raise InputError(
            f"{origin}: {node.op_type} over {steps} steps is too long to write out step by step (at most {longest}); "
            "feed the sequence in windows, with the state as an input and an output of the network"
        )
    return steps, batch


def _refuse_variants(node: oir.Node, origin: Origin) -> None:
    attributes = node.attributes
    variants = {
        "a clip": "clip" in attributes and attributes["clip"].as_float() > 0,
        "peepholes": node.op_type == "LSTM" and operand(node, 7) is not None,
        "coupled gates (input_forget)": int_attribute(node, "input_forget", 0) != 0,
        "constants of its functions": "activation_alpha" in attributes or "activation_beta" in attributes,
    }
    found = next((what for what, there in variants.items() if there), None)
    if found:
        raise _cannot_run(node, origin, found)


def _functions(node: oir.Node, origin: Origin, directions: int) -> tuple[tuple[str, ...], ...]:
    defaults = DEFAULTS[node.op_type]
    given = node.attributes["activations"].as_strings() if "activations" in node.attributes else []
    known = {name.lower(): name for name in FUNCTIONS}
    if any(name.lower() not in known for name in given):
        raise _cannot_run(node, origin, f"activations {[name.lower() for name in given]}")
    names = [known[name.lower()] for name in given] or [*defaults] * directions
    return tuple(tuple(names[i * len(defaults) : (i + 1) * len(defaults)]) for i in range(directions))


def _cannot_run(node: oir.Node, origin: Origin, what: str) -> TargetError:
    return TargetError(
        f"{origin}: {node.op_type} with {what} cannot run on the target; use the plain {node.op_type} of PyTorch"
    )
