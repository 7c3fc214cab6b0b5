"""Fold constants and shape arithmetic.

1. A deterministic node whose inputs are all constants becomes initializers, except QuantizeLinear and
   DequantizeLinear (they carry encodings), Identity (see eliminate_identity) and results that would grow past
   ``GROWTH_LIMIT`` bytes.
2. An integer tensor of rank 0 or 1 whose elements all follow from static dimensions becomes an initializer, even
   where the tensor it was read from has a symbolic batch.
3. A Reshape whose target contains symbols becomes a Reshape with a constant target when at most one symbol is not
   simply the input's own dimension at that place: those become 0, the one left becomes -1.
4. An Expand whose target's symbols only repeat the input's own dimensions gets 1 in their places.
5. A folded constant remembers the parameters it came from (see name_parameters).

Shapes and dtypes of all values are inferred on the way, so one sweep folds chains of dynamic Pads.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as oir
import sympy
from onnx.reference import ReferenceEvaluator

from hexaquant.ir.edit import add_constant, int_attribute
from hexaquant.ir.graph import Graph
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.opset import OPSET
from hexaquant.ir.passes.dequantized import STEPS
from hexaquant.ir.passes.name_parameters import SOURCES
from hexaquant.ir.symbolic import Contents, dims_of

GROWTH_LIMIT = 4 << 20
MOST_ELEMENTS = 1 << 28
"""A constant of more is never made here, whatever its inputs are."""
MOST_RANK = 64
KEPT = frozenset(
    [
        "QuantizeLinear",
        "DequantizeLinear",
        "Identity",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
        "Dropout",
        "If",
        "Loop",
        "Scan",
    ]
)
MOVES = frozenset(["Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity"])
"""A constant that is only moved stays on the grid that it came with."""
DERIVED_FROM = "hexaquant.derived_from"
"""Metadata key of an initializer computed from the user's parameters: their names and the operators applied."""


def fold_constants(graph: Graph) -> int:
    """Fold ``graph`` in place and infer its shapes; returns the number of nodes folded or rewritten."""
    contents = Contents()
    changed = 0
    for node in graph.nodes:
        if _fold(graph, node):
            changed += 1
            continue
        changed += _constant_target(graph, node, contents)
        infer_node(node, contents)
        elements = contents.evaluate(node)
        if elements is not None and all(e.is_Integer for e in elements.reshape(-1)):
            changed += _become_constant(graph, node, [_numbers(node, elements)])
    return changed


def _numbers(node: oir.Node, elements: np.ndarray) -> np.ndarray:
    dtype = node.outputs[0].dtype or oir.DataType.INT64
    return np.array([int(e) for e in elements.reshape(-1)], dtype.numpy()).reshape(elements.shape)


def _fold(graph: Graph, node: oir.Node) -> bool:
    if node.domain != "" or node.op_type in KEPT or not node.inputs:
        return False
    inputs = [v for v in node.inputs if v is not None]
    if not inputs or any(v.const_value is None for v in inputs):
        return False
    if _grows_beyond_limit(node):
        return False
    results = _evaluate(node)
    if results is None or sum(r.nbytes for r in results) > max(
        GROWTH_LIMIT, 2 * sum(v.const_value.nbytes for v in inputs if v.const_value is not None)
    ):
        return False
    return _become_constant(graph, node, results)


def _grows_beyond_limit(node: oir.Node) -> bool:
    """True when the result would pass every limit: told from the shapes, before anything of that size is made."""
    infer_node(node, Contents())
    sizes = [value.shape for value in node.outputs if value.shape is not None]
    known = [math.prod(shape.numpy()) for shape in sizes if shape.is_static()]
    values = [value.const_value.numpy() for value in node.inputs if value is not None and value.const_value is not None]
    stated = [v.astype(np.float64).reshape(-1) for v in values if v.size <= MOST_RANK and v.dtype.kind in "iuf"]
    if node.op_type == "Range" and len(stated) == 3 and all(v.size == 1 for v in stated):
        start, limit, delta = (float(v[0]) for v in stated)
        known.append(int(abs((limit - start) / delta)) if delta else 0)
    elif node.op_type in ("ConstantOfShape", "Expand") and stated:
        known.append(int(np.prod(np.abs(stated[-1]))))
    elif node.op_type == "Tile" and len(stated) > 0:
        known.append(int(np.prod(np.abs(stated[-1])) * values[0].size))
    return any(count > MOST_ELEMENTS for count in known)


def _evaluate(node: oir.Node) -> list[np.ndarray] | None:
    """Outputs of ``node`` on its constant inputs by ONNX's reference implementation; None where it has none."""
    known = [v for v in node.inputs if v is not None and v.const_value is not None]
    feeds = {v.name or "": v.const_value.numpy() for v in known if v.const_value is not None}
    try:
        evaluator = ReferenceEvaluator(oir.serde.serialize_node(node), opsets={"": OPSET})
        with np.errstate(all="ignore"):  # what is infinite or NaN may be chosen away by a Where behind it
            results = evaluator.run(None, feeds)
    except Exception:
        return None
    if any(isinstance(result, list) for result in results):
        return None  # a sequence
    arrays = [np.asarray(r) for r in results]
    return arrays if all(a.dtype != object and a.dtype.kind in "fiubV" for a in arrays) else None


def _become_constant(graph: Graph, node: oir.Node, results: list[np.ndarray]) -> bool:
    if any(v.is_graph_output() for v in node.outputs):
        return False
    for value, array in zip(node.outputs, results):
        if not value.name or not list(value.uses()):
            continue
        dtype = value.dtype.numpy() if value.dtype is not None and array.dtype.kind != "V" else array.dtype
        value_name, value.name = value.name, None  # free from here on: names are unique
        constant = add_constant(graph.model.graph, value_name, array.astype(dtype, copy=False), set())
        _record_sources(constant, node)
        steps = node.inputs[0].metadata_props.get(STEPS) if node.inputs[0] is not None else None
        if steps is not None and node.op_type in MOVES:
            constant.metadata_props[STEPS] = steps
        value.replace_all_uses_with(constant)
    graph.model.graph.remove(node, safe=True)
    return True


def _record_sources(constant: oir.Value, node: oir.Node) -> None:
    """Remember which parameters ``constant`` came from and by which operators."""
    if node.op_type in ("Shape", "Size"):
        return
    known = [v for v in node.inputs if v is not None and v.const_value is not None]
    floats = [v for v in known if v.dtype is not None and v.dtype.is_floating_point()]
    sources = dict.fromkeys(name for v in floats for name in v.meta.get(SOURCES, ()))
    if not sources:
        return
    constant.meta[SOURCES] = tuple(sources)
    how = node.op_type
    if node.op_type == "Transpose" and "perm" in node.attributes:
        how = f"Transpose{tuple(node.attributes['perm'].as_ints())}"
    history = [v.metadata_props.get(DERIVED_FROM) or f"{v.name}" for v in floats if v.meta.get(SOURCES)]
    constant.metadata_props[DERIVED_FROM] = f"{', '.join(dict.fromkeys(history))} {how}"


def _constant_target(graph: Graph, node: oir.Node, contents: Contents) -> bool:
    """Conditions 3 and 4: give Reshape and Expand a constant target."""
    if node.domain != "" or node.op_type not in ("Reshape", "Expand") or node.inputs[1] is None:
        return False
    if node.inputs[1].const_value is not None:
        return False
    target, source = contents.get(node.inputs[1]), dims_of(node.inputs[0])
    if target is None or source is None:
        return False
    make = _reshape_target if node.op_type == "Reshape" else _expand_target
    numbers = make(source, list(target), bool(int_attribute(node, "allowzero", 0)))
    if numbers is None:
        return False
    base = f"{node.outputs[0].name}_shape"
    node.replace_input_with(1, add_constant(graph.model.graph, base, np.array(numbers, np.int64)))
    node.attributes.pop("allowzero", None)
    return True


def _reshape_target(source: list[sympy.Expr], target: list[sympy.Expr], allowzero: bool) -> list[int] | None:
    if any(d == 0 for d in target) and allowzero:
        return None
    numbers = [int(d) if d.is_Integer else None for d in target]
    for index, dim in enumerate(target):
        if numbers[index] is None and index < len(source) and source[index] == dim:
            numbers[index] = 0
    unknown = [i for i, n in enumerate(numbers) if n is None]
    if len(unknown) > 1 or (unknown and -1 in numbers):
        return None
    return [-1 if n is None else n for n in numbers]


def _expand_target(source: list[sympy.Expr], target: list[sympy.Expr], allowzero: bool) -> list[int] | None:
    padded = [sympy.Integer(1)] * (len(target) - len(source)) + source
    aligned = padded[len(padded) - len(target) :]
    numbers = []
    for dim, own in zip(target, aligned):
        if not dim.is_Integer and dim != own:
            return None
        numbers.append(int(dim) if dim.is_Integer else 1)
    return numbers
