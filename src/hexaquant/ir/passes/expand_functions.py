"""Operators that are functions of others become their bodies: those of opset 22 and later, and com.microsoft's fusions.

onnxruntime, Olive and Optimum write the latter into optimised files. Bodies: ONNX, Operators.md; onnxruntime,
ContribOperators.md.

1. The body is known for the inputs, outputs and attributes that are used (otherwise the node stays and is refused).
2. What the executor and the target know as one operator (LayerNormalization, Gelu, RMSNormalization) becomes that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as oir

from hexaquant.ir.body import Body, rank_of, static_dim
from hexaquant.ir.edit import int_attribute, string_attribute
from hexaquant.ir.graph import Graph
from hexaquant.ir.infer_shapes import infer_node
from hexaquant.ir.opset import state_opset
from hexaquant.ir.passes.expand_attention import (
    expand_attention,
    expand_group_query,
    expand_microsoft_attention,
    expand_microsoft_rotary,
    expand_multi_head,
    expand_onnx_rotary,
    float_attribute,
)
from hexaquant.ir.symbolic import Contents

Expand = Callable[[Body], bool]
MS = "com.microsoft"


def expand_functions(graph: Graph) -> int:
    """Returns the number of nodes expanded."""
    if not any((node.domain, node.op_type) in FUNCTIONS for node in graph.nodes):
        return 0
    changed = 0
    contents = Contents()
    for node in graph.nodes:
        expand = FUNCTIONS.get((node.domain, node.op_type))
        if expand is not None and expand(Body(node)):
            changed += 1
            continue
        infer_node(node, contents)
        contents.evaluate(node)
    state_opset(graph.model)
    return changed


def _used(body: Body, index: int) -> bool:
    outputs = body.node.outputs
    return len(outputs) > index and bool(outputs[index].uses() or outputs[index].is_graph_output())


def _passed_on(body: Body, *without: str) -> dict[str, oir.Attr]:
    """The node's attributes but for those named."""
    return {name: a for name, a in body.node.attributes.items() if name not in without}


def _convolution(body: Body) -> bool:
    x, w, bias, addend = (body.input(i) for i in range(4))
    attributes = _passed_on(body, "activation", "activation_params")
    y = body.op("Conv", x, w, *([bias] if bias is not None else []), **attributes)
    y = body.op("Add", y, addend) if addend is not None else y
    given = body.node.attributes.get("activation_params")
    return _finish_activated(body, y, list(given.as_floats()) if given is not None else [])


def _gemm(body: Body) -> bool:
    inputs = [body.input(i) for i in range(3)]
    names = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
    y = body.op("Gemm", *[v for v in inputs if v is not None], **_passed_on(body, *names))
    return _finish_activated(body, y, [a.as_float() for n in names[1:] if (a := body.node.attributes.get(n))])


def _finish_activated(body: Body, y: oir.Value, numbers: list[float]) -> bool:
    kind = string_attribute(body.node, "activation", "")
    named = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",)}
    if kind == "Clip":
        y = body.op("Clip", y, *(body.constant(number) for number in numbers[:2]))
    elif kind:
        y = body.op(kind, y, **dict(zip(named.get(kind, ()), numbers)))
    body.finish(y)
    return True


def _matmul(body: Body) -> bool:
    a = body.input(0)
    b = body.input(1)
    if a is None or b is None:
        return False
    for index, label in ((0, "A"), (1, "B")):
        value = (a, b)[index]
        rank = rank_of(value)
        batch = int_attribute(body.node, f"transBatch{label}", 0)
        last = int_attribute(body.node, f"trans{label}", 0)
        if not batch and not last:
            continue
        if rank is None:
            return False
        order = [*range(1, rank - 1), 0, rank - 1] if batch else list(range(rank))
        order = [*order[:-2], order[-1], order[-2]] if last else order
        turned = body.op("Transpose", value, perm=order)
        a, b = (turned, b) if index == 0 else (a, turned)
    y = body.op("MatMul", a, b)
    alpha = float_attribute(body.node, "alpha", 1.0)
    y = body.op("Mul", y, body.constant(alpha)) if alpha != 1 else y
    return _finish_activated(body, y, [])


def _skip_norm(norm: str) -> Expand:
    """Input, skip, gamma, then beta and bias (LayerNormalization) or bias; the fourth output is the sum."""

    def expand(body: Body) -> bool:
        x, skip, gamma = (body.input(i) for i in range(3))
        beta, bias = (body.input(3), body.input(4)) if norm == "LayerNormalization" else (None, body.input(3))
        if _used(body, 1) or _used(body, 2) or x is None or skip is None:
            return False
        total = body.op("Add", x, skip)
        total = body.op("Add", total, bias) if bias is not None else total
        operands = [total, gamma] if beta is None else [total, gamma, beta]
        y = body.op(norm, *operands, axis=-1, epsilon=float_attribute(body.node, "epsilon", 1e-12))
        body.finish(y, None, None, total)
        return True

    return expand


def _simplified_norm(body: Body) -> bool:
    if _used(body, 1):
        return False
    axis = int_attribute(body.node, "axis", -1)
    epsilon = float_attribute(body.node, "epsilon", 1e-5)
    body.finish(body.op("RMSNormalization", body.input(0), body.input(1), axis=axis, epsilon=epsilon))
    return True


def _gelu(approximate: str) -> Expand:
    """Input and perhaps a bias."""

    def expand(body: Body) -> bool:
        x = body.input(0)
        bias = body.input(1)
        x = body.op("Add", x, bias) if bias is not None else x
        body.finish(body.op("Gelu", x, approximate=approximate))
        return True

    return expand


def _swish(name: str, default: float) -> Expand:
    """x * sigmoid(alpha x); ``default``: of alpha."""

    def expand(body: Body) -> bool:
        x = body.input(0)
        alpha = float_attribute(body.node, name, default)
        scaled = x if alpha == 1 else body.op("Mul", x, body.constant(alpha))
        body.finish(body.op("Mul", x, body.op("Sigmoid", scaled)))
        return True

    return expand


def _bias_split_gelu(body: Body) -> bool:
    x = body.op("Add", body.input(0), body.input(1))
    left, right = body.ops("Split", [x], 2, axis=-1, num_outputs=2)
    body.finish(body.op("Mul", left, body.op("Gelu", right)))
    return True


def _bias_add(body: Body) -> bool:
    body.finish(body.op("Add", body.op("Add", body.input(0), body.input(1)), body.input(2)))
    return True


def _embeddings(body: Body) -> bool:
    """Ids, segments, three tables, gamma, beta, mask, positions; outputs the norm, the lengths, the sum."""
    ids, segments, words, places, kinds, gamma, beta, mask, positions = (body.input(i) for i in range(9))
    tokens = static_dim(ids, 1)
    if positions is None:
        if tokens is None or places is None:
            return False
        rows = body.op("Slice", places, body.ints(0), body.ints(tokens), body.ints(0))
        where = body.op("Unsqueeze", rows, body.ints(0))
    else:
        where = body.op("Gather", places, positions, axis=0)
    total = body.op("Add", body.op("Gather", words, ids, axis=0), where)
    if segments is not None and kinds is not None:
        total = body.op("Add", total, body.op("Gather", kinds, segments, axis=0))
    y = body.op("LayerNormalization", total, gamma, beta, axis=-1, epsilon=float_attribute(body.node, "epsilon", 1e-12))
    lengths = None
    if _used(body, 1):
        if mask is None:
            return False
        lengths = body.op("ReduceSum", mask, body.ints(1), keepdims=0)
    body.finish(y, lengths, total)
    return True


def _group_norm(body: Body) -> bool:
    """Channels last: X, gamma, beta; then SiLU where ``activation`` is 1."""
    x, gamma, beta = (body.input(i) for i in range(3))
    if rank_of(x) != 4 or not int_attribute(body.node, "channels_last", 1):
        return False
    groups = int_attribute(body.node, "groups", 1)
    epsilon = float_attribute(body.node, "epsilon", 1e-5)
    moved = body.op("Transpose", x, perm=[0, 3, 1, 2])
    y = body.op("GroupNormalization", moved, gamma, beta, num_groups=groups, epsilon=epsilon)
    y = body.op("Mul", y, body.op("Sigmoid", y)) if int_attribute(body.node, "activation", 0) else y
    body.finish(body.op("Transpose", y, perm=[0, 2, 3, 1]))
    return True


FUNCTIONS: Mapping[tuple[str, str], Expand] = {
    ("", "Attention"): expand_attention,
    ("", "RotaryEmbedding"): expand_onnx_rotary,
    ("", "Swish"): _swish("alpha", 1.0),
    ("", "SimplifiedLayerNormalization"): _simplified_norm,
    (MS, "FusedConv"): _convolution,
    (MS, "FusedGemm"): _gemm,
    (MS, "FusedMatMul"): _matmul,
    (MS, "FusedMatMulActivation"): _matmul,
    (MS, "TransposeMatMul"): _matmul,
    (MS, "SkipLayerNormalization"): _skip_norm("LayerNormalization"),
    (MS, "SkipSimplifiedLayerNormalization"): _skip_norm("RMSNormalization"),
    (MS, "SimplifiedLayerNormalization"): _simplified_norm,
    (MS, "Gelu"): _gelu("none"),
    (MS, "BiasGelu"): _gelu("none"),
    (MS, "FastGelu"): _gelu("tanh"),
    (MS, "QuickGelu"): _swish("alpha", 1.702),
    (MS, "BiasSplitGelu"): _bias_split_gelu,
    (MS, "BiasAdd"): _bias_add,
    (MS, "EmbedLayerNormalization"): _embeddings,
    (MS, "GroupNorm"): _group_norm,
    (MS, "Attention"): expand_microsoft_attention,
    (MS, "MultiHeadAttention"): expand_multi_head,
    (MS, "RotaryEmbedding"): expand_microsoft_rotary,
    (MS, "GroupQueryAttention"): expand_group_query,
}
"""By (domain, operator)."""
