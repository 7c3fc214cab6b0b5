"""Rules about the types in which the target computes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as oir

from hexaquant.analysis.lint.finding import BY_IMPORT, Finding, about
from hexaquant.analysis.lint.subject import Subject
from hexaquant.htp.legality import legality_table
from hexaquant.ir.edit import string_attribute
from hexaquant.ir.graph import Graph, constant
from hexaquant.ir.passes.clamp_masks import clamp_masks
from hexaquant.sim.constants import is_parameter

# Layers that the target refuses, or takes and computes wrongly.
#
# From the legality table (htp/legality.json): one operator at a time, lowered, compiled and run on Qualcomm's
# emulator in every scheme on every architecture. The reason is the library's own. Also tensors of rank 6 and more.

REFUSED = "refused"


def refused(subject: Subject) -> Iterator[Finding]:
    """One finding per layer that is refused or wrong."""
    nodes: dict[str, oir.Node] = {node.name or "": node for node in subject.prepared.nodes}
    for one in subject.judgements:
        if not one.is_bad:
            continue
        node = nodes.get(one.layer.node)
        tensor = node.outputs[0].name if node is not None else ""
        why = f"{subject.target.name} does not run it in {one.scheme}"
        if one.status == "wrong":
            why = f"{subject.target.name} compiles it in {one.scheme} and computes something else, without a word"
        yield Finding(REFUSED, "error", one.layer, one.op_type, one.reason, why, one.remedy, tensor or "")


# Tensors in float64.
#
# The target computes in integers and float16; what a model computes in double precision because it needs it will come
# out differently. Most often the double is an accident of the export (a numpy scalar).

WIDE_TYPE = "wide-type"


def wide_type(subject: Subject) -> Iterator[Finding]:
    """One warning per operator that computes float64 from something that is not float64, or first does."""
    for node in subject.written.nodes:
        if node.outputs[0].dtype != oir.DataType.DOUBLE:
            continue
        if any(v is not None and v.dtype == oir.DataType.DOUBLE and v.producer() is not None for v in node.inputs):
            continue
        why = "the target has no float64; accuracy that rests on it is lost"
        yield about(subject.written, node, WIDE_TYPE, "warning", "computes in float64", why, "use float32 in the model")


# Convolutions and products with 16-bit activations on Hexagon v68 and v69.
#
# Kernels for 16-bit products came with v73. Before, a low-precision path is used: on the emulator (release 2.7.0) a
# convolution in w8a16 is off by 21 steps of 16 bits on v68 where it is off by 1 on v73, a product by 13.

WEAK_16BIT = "weak-16-bit"
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FIRST_ARCH = 73


def weak_16bit(subject: Subject) -> Iterator[Finding]:
    """One warning per layer."""
    if subject.target.arch >= FIRST_ARCH:
        return
    bad = {judgement.layer.node for judgement in subject.judgements if judgement.is_bad}
    for node in subject.prepared.nodes:
        if node.op_type not in PRODUCTS or subject.activation_bits(node) != 16 or node.name in bad:
            continue
        arch = subject.target.arch_name
        why = f"Hexagon {arch} multiplies 16-bit activations on a low-precision path, off by about 20 steps of 16 bits"
        fix = "use a target from v73 on, or 8 bits for this layer where they suffice (--overrides)"
        yield about(subject.prepared, node, WEAK_16BIT, "warning", f"16-bit activations on {arch}", why, fix)


# Operators whose 16-bit kernels are far from 16 bits, by the errors of the legality table (htp/legality.json).
#
# The operators count as they are compiled: products of two activations as the Einsum that planning makes of them. In
# float16 each is as exact as the type.

COARSE_16BIT = "coarse-16-bit"
COARSE = 32
"""Largest error, in steps of 16 bits, from which a layer is worth a word: five of the sixteen bits are gone."""


def coarse_16bit(subject: Subject) -> Iterator[Finding]:
    """One warning per layer."""
    table = legality_table()
    for node in subject.compiled.nodes:
        steps = table.errors_16.get(node.op_type, 0)
        copies = node.op_type == "Resize" and string_attribute(node, "mode", "nearest") == "nearest"
        if steps < COARSE or copies or subject.activation_bits(node) != 16:
            continue
        text = f"{node.op_type} at 16 bits is accurate to about {steps} steps of 16 bits"
        why = f"as measured (release {table.release}); in float16 it is as exact as the type"
        fix = f'keep the layer in float16: --overrides with "{node.name}": fp16'
        yield about(subject.compiled, node, COARSE_16BIT, "warning", text, why, fix)


# Constants beyond float16, or so large that they spoil the grid of what they are added to.
#
# The target's float16 ends at 65,504: an attention mask of -3.4e38 becomes -inf there (and 0 * -inf is NaN). On an
# integer grid the range must hold the constant: with -3.4e38 in 8 bits one step is 1.3e36, and every score rounds to
# zero. In float16 numbers below 6e-8 vanish: an epsilon of 1e-12 no longer guards a division.

OVERFLOWING_CONSTANT = "overflowing-constant"
LARGEST = 65504.0
SMALLEST = 5.96e-8
"""Of float16."""


def overflowing_constant(subject: Subject) -> Iterator[Finding]:
    """Info where it is provably a mask (import makes it -100, see clamp_masks), else a warning for each use."""
    masks = _clamped(subject.written)
    for node, value, data in _float_operands(subject.written):
        if value.name in masks:
            told = f"constant '{value.name}' reaches {float(np.abs(data).max()):.3g}"
            why = "a grid that holds it has no steps left for what it is added to"
            fix = f"{BY_IMPORT}: it is -100"
            yield about(
                subject.written, node, OVERFLOWING_CONSTANT, "info", told, why, fix, fixable=True, tensor=value.name
            )
    for node, value, data in _float_operands(subject.prepared):
        text = _problem(data, subject.activation_bits(node))
        if text:
            words = f"constant '{value.name}' {text[0]}"
            fix = "use a constant of the size of the values that it meets"
            yield about(subject.prepared, node, OVERFLOWING_CONSTANT, "warning", words, text[1], fix, tensor=value.name)


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
