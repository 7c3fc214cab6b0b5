"""The operator rules of the Hexagon Tensor Processor (HTP), as data.

Measured on Qualcomm's emulator (QAIRT 2.51, v68 to v81) by lowering each operator alone in float16, with
8-bit and with 16-bit activations. One row an operator; an operator without a row is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["compute", "move", "logic"]


@dataclass(frozen=True)
class OpRule:
    """What the target does with an operator.

    ``role``: "compute" requantizes its output; "move" only moves data, so its outputs share the encoding of
    input 0; "logic" gives integers or booleans, which are never quantized.
    ``types``: the activation types it executes in. ``low``/``high``: the fixed real range of its output.
    """

    role: Role = "compute"
    types: tuple[str, ...] = ("fp16", "u8", "u16")
    low: float | None = None
    high: float | None = None


def _rows(rule: OpRule, names: str) -> dict[str, OpRule]:
    return dict.fromkeys(names.split(), rule)


OPS: dict[str, OpRule] = {
    **_rows(OpRule(), "Conv ConvTranspose Gemm Einsum Sub Mul Div Pow Max Min Abs Neg Ceil Floor Round Sqrt Exp"),
    **_rows(OpRule(), "Reciprocal Sin Cos Tan Atan Sign Relu LeakyRelu PRelu Elu HardSwish Clip"),
    **_rows(OpRule(), "Mean Sum AveragePool GlobalAveragePool LpNormalization InstanceNormalization GridSample Where"),
    **_rows(OpRule(), "LayerNormalization BatchNormalization RMSNormalization ReduceMean ReduceSum"),
    **_rows(OpRule(), "ReduceMax ReduceMin LogSoftmax ScatterND ScatterElements GatherND"),
    **_rows(OpRule("move"), "Reshape Transpose Slice Split Squeeze Unsqueeze Flatten Tile Expand DepthToSpace"),
    **_rows(OpRule("move"), "SpaceToDepth Identity MaxPool GlobalMaxPool Gather GatherElements TopK"),
    **_rows(OpRule("logic"), "Equal Greater GreaterOrEqual Less LessOrEqual And Or Not ArgMax ArgMin IsNaN Shape Cast"),
    **_rows(OpRule(), "MatMul Add Concat Pad Resize Gelu Softplus CumSum"),
    **_rows(OpRule(types=("fp16",)), "LSTM GRU RNN"),
    "Sigmoid": OpRule(low=0.0, high=1.0),
    "HardSigmoid": OpRule(low=0.0, high=1.0),
    "Tanh": OpRule(low=-1.0, high=1.0),
    "Softmax": OpRule(low=0.0, high=1.0),
    "Log": OpRule(types=("fp16", "u8")),
    "Selu": OpRule(types=("fp16",)),
    "ThresholdedRelu": OpRule(types=("fp16",)),
    "ReduceL2": OpRule(types=("fp16",)),
    "LRN": OpRule(types=("fp16", "u8")),
    "Asin": OpRule(types=("u8",)),
    "ReduceLogSumExp": OpRule(types=("fp16",)),
}
"""Operators the target executes."""

REFUSED: dict[str, str] = {
    "Mish": "use SiLU or Hardswish",
    "Erf": "use GELU (torch.nn.functional.gelu), which the target fuses",
    "Softsign": "use Tanh",
    "Acos": "compute it outside the network",
    "Sinh": "write it as (exp(x) - exp(-x)) / 2",
    "Celu": "use ELU",
    "Mod": "compute it outside the network",
    "Trilu": "pass the mask as a constant or an input",
    "ReduceProd": "use a sum of logarithms",
    "ReduceL1": "use Abs and ReduceSum",
    "GroupNormalization": "reshape and use InstanceNorm, or BatchNorm",
    "If": "export each branch as its own network",
    "Loop": "unroll the loop before exporting",
    "Scan": "unroll the loop before exporting",
    "NonZero": "its output shape depends on the data: move it out of the network",
    "NonMaxSuppression": "its output shape depends on the data: run it after the network, on the CPU",
}
"""Operators the target refuses, each with the remedy."""

INTEGER_FORMS: dict[str, str] = {
    "ReduceL2": "write it as Mul by itself, ReduceSum and Sqrt",
    "ThresholdedRelu": "write it as Where of Greater",
    "Selu": "use ELU",
    "ReduceLogSumExp": "write it as Exp, ReduceSum and Log",
}
"""Operators that the target executes in float16 only, each with a form that integers have."""

MAX_RANK = 5
"""Tensors of higher rank are refused by the target."""

CLIPPING_ACTIVATIONS = ("Relu", "Clip")
"""Activations that a quantized output does by its own clipping, so that the target runs no separate operator."""

FUSES_CLIPPING = frozenset(
    ["Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "BatchNormalization"]
)
"""Operators into whose requantization a following Relu or Clip(0, c) disappears."""

WHOLE_VALUED = frozenset(["Round", "Floor", "Ceil", "Sign"])
"""Operators that compute integers: their outputs get grids on which integers lie exactly."""

WEIGHT_INPUTS: dict[str, int] = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Operators with a weight matrix, and the input it is."""

BIAS_INPUTS: dict[str, int] = {
    "Conv": 2,
    "ConvTranspose": 2,
    "Gemm": 2,
    "LayerNormalization": 2,
    "InstanceNormalization": 2,
}
"""Operators with an int32 bias of scale s_x * s_w, and the input it is."""

RECURRENT_WEIGHTS: dict[int, Literal["weight", "bias"]] = {1: "weight", 2: "weight", 3: "bias"}
"""The operands W, R and B of LSTM, GRU and RNN: trained, and in float16 as the operator is."""

NORMALIZATIONS = frozenset(["LayerNormalization", "InstanceNormalization", "BatchNormalization", "RMSNormalization"])
"""Normalizations: gamma is uint8 (asymmetric) whatever the activations are."""


def channel_axis(op_type: str, attributes: dict[str, int], rank: int) -> int | None:
    """Output-channel axis of the weight of ``op_type`` (``attributes``: transB, group), None when per-tensor only."""
    if op_type == "Conv":
        return 0
    if op_type == "ConvTranspose":
        return 1 if attributes.get("group", 1) == 1 else None
    if op_type == "Gemm":
        return 0 if attributes.get("transB", 0) else 1
    if op_type == "MatMul":
        return rank - 1
    return None


def executable_type(op_type: str, wanted: str) -> str:
    """The activation type ("fp16", "u8", "u16") in which the target executes ``op_type`` when ``wanted`` is asked for.

    Where it has no kernel for ``wanted``: the most exact one that it has.
    """
    rule = OPS.get(op_type)
    if rule is None or wanted in rule.types:
        return wanted
    return next(kind for kind in ("fp16", "u16", "u8") if kind in rule.types)


def rule_of(op_type: str) -> OpRule | None:
    """The rule of ``op_type``, or None when the target refuses it."""
    return OPS.get(op_type)
