"""Constants beyond float16, or so large that they spoil the grid of what they are added to.

The target's float16 ends at 65,504: an attention mask of -3.4e38 becomes -inf there (and 0 * -inf is NaN). On an
integer grid the range must hold the constant: with -3.4e38 in 8 bits one step is 1.3e36, and every score rounds to
zero. In float16 numbers below 6e-8 vanish: an epsilon of 1e-12 no longer guards a division.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.clamp_masks import clamp_masks
from hexaquant.sim.constants import is_parameter

RULE = "overflowing-constant"
LARGEST, SMALLEST = 65504.0, 5.96e-8
"""Of float16."""


def overflowing_constant(subject: Subject) -> Iterator[Finding]:
    """Info where it is provably a mask (import makes it -100, see clamp_masks), else a warning for each use."""
    masks = _clamped(subject.written)
    for node, value, data in _float_operands(subject.written):
        if value.name in masks:
            told = f"constant '{value.name}' reaches {float(np.abs(data).max()):.3g}"
            why = "a grid that holds it has no steps left for what it is added to"
            fix = f"{BY_IMPORT}: it is -100"
            yield about(subject.written, node, RULE, "info", told, why, fix, fixable=True, tensor=value.name)
    for node, value, data in _float_operands(subject.prepared):
        text = _problem(data, subject.activation_bits(node))
        if text:
            words = f"constant '{value.name}' {text[0]}"
            fix = "use a constant of the size of the values that it meets"
            yield about(subject.prepared, node, RULE, "warning", words, text[1], fix, tensor=value.name)


def _float_operands(graph: Graph) -> Iterator[tuple[oir.Node, oir.Value, np.ndarray]]:
    """Every use of a float constant as data: node, constant, its numbers."""
    for node in graph.nodes:
        for index, value in enumerate(node.inputs):
            data = constant(value)
            if (
                value is not None
                and data is not None
                and data.dtype.kind == "f"
                and not is_parameter(node.op_type, index)
            ):
                yield node, value, data


def _problem(data: np.ndarray, bits: int | None) -> tuple[str, str] | None:
    sizes = np.abs(data[data != 0].astype(np.float64))
    if not sizes.size:
        return None
    peak = float(sizes.max())
    if peak > LARGEST and bits is None:
        return f"reaches {peak:.3g}", f"float16 ends at {LARGEST:,.0f}: it becomes infinite"
    if peak > LARGEST and bits is not None:
        step = "infinite" if np.isinf(peak) else f"{peak / (2**bits - 1):.2g}"
        return f"reaches {peak:.3g}", f"one step of {bits} bits is {step}: what it is added to rounds to zero"
    if bits is None and float(sizes.min()) < SMALLEST and sizes.size == 1:
        return f"is {sizes[0]:.3g}", "float16 has nothing below 6e-8: it becomes zero"
    return None


def _clamped(graph: Graph) -> set[str | None]:
    """Names of the constants that clamp_masks changes, or gives some of their readers changed."""
    trial = graph.clone()
    before = {name: (value.const_value, len(value.uses())) for name, value in trial.initializers.items()}
    clamp_masks(trial)
    after = {name: (value.const_value, len(value.uses())) for name, value in trial.initializers.items()}
    return {name for name, found in before.items() if after.get(name) != found}
