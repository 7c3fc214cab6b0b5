"""The operators that the executor knows: one explicit table from (domain, op_type) to the function that computes it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as oir
import torch
import torch.nn.functional as F

from hexaquant.ir.executor.ops import activation as act
from hexaquant.ir.executor.ops import (
    attention,
    conv,
    dtypes,
    grid_sample,
    index,
    matmul,
    normalization,
    pool,
    quantize,
    random,
    recurrent,
    reduce,
    resize,
    shape,
    spectral,
)
from hexaquant.ir.executor.ops import elementwise as ew


@dataclass(frozen=True)
class OpSpec:
    """How the executor calls an operator.

    fn: a pure function, ONNX inputs positional (None when absent), ONNX attributes as keywords.
    static: input positions passed as Python numbers (rank 0) or nested tuples when constant.
    scalars: rank-0 constants at any position are passed as Python numbers.
    multi: fn takes ``n_outputs`` and returns a tuple; without it fn returns the only output.
    frozen: input positions whose initializers are not trained (running statistics, scales).
    extra: further keywords that depend on the node rather than on its attributes.
    """

    fn: Callable[..., Any]
    static: tuple[int, ...] = ()
    scalars: bool = False
    multi: bool = False
    frozen: tuple[int, ...] = ()
    extra: Callable[[oir.Node], dict[str, Any]] | None = None


def quantized_type(node: oir.Node) -> dict[str, Any]:
    """QuantizeLinear's output type: the attribute, else the type of the zero point, else uint8."""
    given = node.attributes.get("output_dtype")
    if given is not None and given.as_int():
        return {}
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    dtype = oir.DataType.UINT8 if zero_point is None or zero_point.dtype is None else zero_point.dtype
    return {"output_dtype": int(dtype)}


_ARITHMETIC = {
    "Add": OpSpec(operator.add, scalars=True),
    "Sub": OpSpec(operator.sub, scalars=True),
    "Mul": OpSpec(operator.mul, scalars=True),
    "Div": OpSpec(ew.div, scalars=True),
    "Pow": OpSpec(ew.power, scalars=True),
    "Mod": OpSpec(ew.mod, scalars=True),
    "Max": OpSpec(ew.maximum, scalars=True),
    "Min": OpSpec(ew.minimum, scalars=True),
    "Sum": OpSpec(ew.total, scalars=True),
    "Mean": OpSpec(ew.mean, scalars=True),
    "Clip": OpSpec(ew.clip, static=(1, 2)),
    "Neg": OpSpec(torch.neg),
    "Abs": OpSpec(torch.abs),
    "Sqrt": OpSpec(torch.sqrt),
    "Reciprocal": OpSpec(torch.reciprocal),
    "Exp": OpSpec(torch.exp),
    "Log": OpSpec(torch.log),
    "Erf": OpSpec(torch.erf),
    "Floor": OpSpec(torch.floor),
    "Ceil": OpSpec(torch.ceil),
    "Round": OpSpec(torch.round),
    "Sign": OpSpec(torch.sign),
    "Sin": OpSpec(torch.sin),
    "Cos": OpSpec(torch.cos),
    "Tan": OpSpec(torch.tan),
    "Asin": OpSpec(torch.asin),
    "Acos": OpSpec(torch.acos),
    "Atan": OpSpec(torch.atan),
    "Sinh": OpSpec(torch.sinh),
    "Cosh": OpSpec(torch.cosh),
    "Asinh": OpSpec(torch.asinh),
    "Acosh": OpSpec(torch.acosh),
    "Atanh": OpSpec(torch.atanh),
    "IsNaN": OpSpec(torch.isnan),
    "IsInf": OpSpec(ew.is_inf),
}

_LOGIC = {
    "Equal": OpSpec(operator.eq, scalars=True),
    "Greater": OpSpec(operator.gt, scalars=True),
    "GreaterOrEqual": OpSpec(operator.ge, scalars=True),
    "Less": OpSpec(operator.lt, scalars=True),
    "LessOrEqual": OpSpec(operator.le, scalars=True),
    "Not": OpSpec(torch.logical_not),
    "And": OpSpec(torch.logical_and),
    "Or": OpSpec(torch.logical_or),
    "Xor": OpSpec(torch.logical_xor),
    "BitShift": OpSpec(ew.bit_shift),
    "BitwiseAnd": OpSpec(torch.bitwise_and),
    "BitwiseOr": OpSpec(torch.bitwise_or),
    "BitwiseXor": OpSpec(torch.bitwise_xor),
    "BitwiseNot": OpSpec(torch.bitwise_not),
}

_ACTIVATIONS = {
    "Relu": OpSpec(F.relu),
    "LeakyRelu": OpSpec(act.leaky_relu),
    "PRelu": OpSpec(act.prelu),
    "Elu": OpSpec(act.elu),
    "Celu": OpSpec(act.celu),
    "Selu": OpSpec(act.selu),
    "Sigmoid": OpSpec(torch.sigmoid),
    "HardSigmoid": OpSpec(act.hard_sigmoid),
    "HardSwish": OpSpec(F.hardswish),
    "Tanh": OpSpec(torch.tanh),
    "Softplus": OpSpec(F.softplus),
    "Softsign": OpSpec(F.softsign),
    "Mish": OpSpec(F.mish),
    "Gelu": OpSpec(act.gelu),
    "Swish": OpSpec(act.swish),
    "ThresholdedRelu": OpSpec(act.thresholded_relu),
    "Shrink": OpSpec(act.shrink),
    "Softmax": OpSpec(act.softmax),
    "LogSoftmax": OpSpec(act.log_softmax),
    "Hardmax": OpSpec(act.hardmax),
}

_CONVOLUTION = {
    "Conv": OpSpec(conv.conv),
    "ConvTranspose": OpSpec(conv.conv_transpose),
    "MaxPool": OpSpec(pool.max_pool, multi=True),
    "AveragePool": OpSpec(pool.average_pool),
    "LpPool": OpSpec(pool.lp_pool),
    "GlobalAveragePool": OpSpec(pool.global_average_pool),
    "GlobalMaxPool": OpSpec(pool.global_max_pool),
    "GlobalLpPool": OpSpec(pool.global_lp_pool),
    "MaxUnpool": OpSpec(pool.max_unpool, static=(2,)),
    "MatMul": OpSpec(torch.matmul),
    "Gemm": OpSpec(matmul.gemm),
    "Einsum": OpSpec(matmul.einsum),
    "Det": OpSpec(torch.linalg.det),
}

_SAMPLING = {
    "Resize": OpSpec(resize.resize, static=(1, 2, 3)),
    "GridSample": OpSpec(grid_sample.grid_sample),
    "AffineGrid": OpSpec(grid_sample.affine_grid, static=(1,)),
    "RoiAlign": OpSpec(grid_sample.roi_align),
    "Col2Im": OpSpec(grid_sample.col2im, static=(1, 2)),
}

_SEQUENCE = {
    "LSTM": OpSpec(recurrent.lstm, static=(4,), multi=True),
    "GRU": OpSpec(recurrent.gru, static=(4,), multi=True),
    "RNN": OpSpec(recurrent.rnn, static=(4,), multi=True),
    "Attention": OpSpec(attention.attention, multi=True),
    "RotaryEmbedding": OpSpec(attention.rotary_embedding),
    "STFT": OpSpec(spectral.stft, static=(1, 3)),
    "DFT": OpSpec(spectral.dft, static=(1, 2)),
}

_NORMALIZATION = {
    "BatchNormalization": OpSpec(normalization.batch_normalization, frozen=(3, 4)),
    "InstanceNormalization": OpSpec(normalization.instance_normalization),
    "LayerNormalization": OpSpec(normalization.layer_normalization, multi=True),
    "RMSNormalization": OpSpec(normalization.rms_normalization),
    "GroupNormalization": OpSpec(normalization.group_normalization),
    "LRN": OpSpec(normalization.lrn),
    "LpNormalization": OpSpec(normalization.lp_normalization),
    "MeanVarianceNormalization": OpSpec(normalization.mean_variance_normalization),
    "Dropout": OpSpec(normalization.dropout, static=(1, 2), multi=True),
}

_REDUCTION = {
    "ReduceMean": OpSpec(reduce.reduce_mean, static=(1,)),
    "ReduceSum": OpSpec(reduce.reduce_sum, static=(1,)),
    "ReduceMax": OpSpec(reduce.reduce_max, static=(1,)),
    "ReduceMin": OpSpec(reduce.reduce_min, static=(1,)),
    "ReduceProd": OpSpec(reduce.reduce_prod, static=(1,)),
    "ReduceL1": OpSpec(reduce.reduce_l1, static=(1,)),
    "ReduceL2": OpSpec(reduce.reduce_l2, static=(1,)),
    "ReduceLogSum": OpSpec(reduce.reduce_log_sum, static=(1,)),
    "ReduceLogSumExp": OpSpec(reduce.reduce_log_sum_exp, static=(1,)),
    "ReduceSumSquare": OpSpec(reduce.reduce_sum_square, static=(1,)),
    "ArgMax": OpSpec(reduce.arg_max),
    "ArgMin": OpSpec(reduce.arg_min),
    "TopK": OpSpec(reduce.top_k, static=(1,), multi=True),
    "CumSum": OpSpec(reduce.cum_sum, static=(1,)),
}

_MOVEMENT = {
    "Identity": OpSpec(shape.identity),
    "Reshape": OpSpec(shape.reshape, static=(1,)),
    "Flatten": OpSpec(shape.flatten),
    "Squeeze": OpSpec(shape.squeeze, static=(1,)),
    "Unsqueeze": OpSpec(shape.unsqueeze, static=(1,)),
    "Transpose": OpSpec(shape.transpose),
    "Concat": OpSpec(shape.concat),
    "Split": OpSpec(shape.split, static=(1,), multi=True),
    "Slice": OpSpec(shape.slice_, static=(1, 2, 3, 4)),
    "Expand": OpSpec(shape.expand, static=(1,)),
    "Tile": OpSpec(shape.tile, static=(1,)),
    "Pad": OpSpec(shape.pad, static=(1, 2, 3)),
    "DepthToSpace": OpSpec(shape.depth_to_space),
    "SpaceToDepth": OpSpec(shape.space_to_depth),
    "Shape": OpSpec(shape.shape),
    "Size": OpSpec(shape.size),
    "Cast": OpSpec(dtypes.cast),
    "CastLike": OpSpec(dtypes.cast_like),
}

_INDEXING = {
    "Gather": OpSpec(index.gather, scalars=True),
    "GatherElements": OpSpec(index.gather_elements),
    "GatherND": OpSpec(index.gather_nd),
    "ScatterElements": OpSpec(index.scatter_elements),
    "ScatterND": OpSpec(index.scatter_nd),
    "OneHot": OpSpec(index.one_hot, static=(1,)),
    "NonZero": OpSpec(index.non_zero),
    "Compress": OpSpec(index.compress),
    "Where": OpSpec(index.where, scalars=True),
    "Trilu": OpSpec(index.trilu, static=(1,)),
    "Range": OpSpec(index.range_, static=(0, 1, 2)),
    "ConstantOfShape": OpSpec(index.constant_of_shape, static=(0,)),
    "EyeLike": OpSpec(index.eye_like),
    "ReverseSequence": OpSpec(index.reverse_sequence),
    "RandomUniformLike": OpSpec(random.uniform_like),
    "RandomNormalLike": OpSpec(random.normal_like),
}

_QUANTIZATION = {
    "QuantizeLinear": OpSpec(quantize.quantize_linear, frozen=(1,), extra=quantized_type),
    "DequantizeLinear": OpSpec(quantize.dequantize_linear, frozen=(1,)),
}

_MICROSOFT = {
    "Gelu": OpSpec(act.biased_gelu),
    "BiasGelu": OpSpec(act.biased_gelu),
    "FastGelu": OpSpec(act.fast_gelu),
    "QuickGelu": OpSpec(act.quick_gelu),
    "Inverse": OpSpec(torch.linalg.inv),
    "MatMulNBits": OpSpec(matmul.matmul_n_bits),
    "FusedMatMul": OpSpec(matmul.fused_matmul),
    "SkipLayerNormalization": OpSpec(normalization.skip_layer_normalization, multi=True),
    "QuantizeLinear": OpSpec(quantize.quantize_linear, frozen=(1,), extra=quantized_type),
    "DequantizeLinear": OpSpec(quantize.dequantize_linear, frozen=(1,)),
}

_ONNX = {
    **_ARITHMETIC,
    **_LOGIC,
    **_ACTIVATIONS,
    **_CONVOLUTION,
    **_SAMPLING,
    **_SEQUENCE,
    **_NORMALIZATION,
    **_REDUCTION,
    **_MOVEMENT,
    **_INDEXING,
    **_QUANTIZATION,
}

OPS: dict[tuple[str, str], OpSpec] = {
    **{("", name): spec for name, spec in _ONNX.items()},
    **{("com.microsoft", name): spec for name, spec in _MICROSOFT.items()},
}


def lookup(node: oir.Node) -> OpSpec | None:
    """The entry for ``node``, or None when the executor does not know its operator."""
    return OPS.get(("" if node.domain == "ai.onnx" else node.domain, node.op_type))
