"""The operators of TensorFlow Lite that are known: one explicit table from the name to the rule that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as oir

from hexaquant.frontends.tflite import rules_elementwise as each
from hexaquant.frontends.tflite import rules_landmarks as landmarks
from hexaquant.frontends.tflite import rules_layers as layers
from hexaquant.frontends.tflite import rules_mediapipe as mediapipe
from hexaquant.frontends.tflite import rules_movement as movement
from hexaquant.frontends.tflite import rules_recurrent as recurrent
from hexaquant.frontends.tflite import rules_reduce as reduce
from hexaquant.frontends.tflite import rules_signal as signal
from hexaquant.frontends.tflite import rules_spatial as spatial
from hexaquant.frontends.tflite.call import Call
from hexaquant.frontends.tflite.graph_writer import Complex

Rule = Callable[[Call], oir.Value | Complex | Sequence[oir.Value]]

RULES: Mapping[str, Rule] = {
    # layers
    "CONV_2D": layers.conv_2d,
    "DEPTHWISE_CONV_2D": layers.depthwise_conv_2d,
    "CONV_3D": layers.conv_3d,
    "TRANSPOSE_CONV": layers.transpose_conv,
    "FULLY_CONNECTED": layers.fully_connected,
    "BATCH_MATMUL": layers.batch_matmul,
    "MAX_POOL_2D": layers.max_pool_2d,
    "AVERAGE_POOL_2D": layers.average_pool_2d,
    "L2_POOL_2D": layers.l2_pool_2d,
    # elementwise
    "ADD": each.same("Add"),
    "SUB": each.same("Sub"),
    "MUL": each.same("Mul"),
    "DIV": each.same("Div"),
    "POW": each.same("Pow"),
    "MAXIMUM": each.same("Max"),
    "MINIMUM": each.same("Min"),
    "ADD_N": each.add_n,
    "SQUARED_DIFFERENCE": each.squared_difference,
    "FLOOR_DIV": each.floor_div,
    "FLOOR_MOD": each.floor_mod,
    "ABS": each.same("Abs"),
    "NEG": each.same("Neg"),
    "EXP": each.same("Exp"),
    "LOG": each.same("Log"),
    "SQRT": each.same("Sqrt"),
    "RSQRT": each.rsqrt,
    "SQUARE": each.square,
    "SIN": each.same("Sin"),
    "COS": each.same("Cos"),
    "FLOOR": each.same("Floor"),
    "CEIL": each.same("Ceil"),
    "ROUND": each.same("Round"),
    "SIGN": each.same("Sign"),
    "LOGISTIC": each.same("Sigmoid"),
    "TANH": each.same("Tanh"),
    "RELU": each.same("Relu"),
    "RELU6": each.clipped(0.0, 6.0),
    "RELU_N1_TO_1": each.clipped(-1.0, 1.0),
    "RELU_0_TO_1": each.clipped(0.0, 1.0),
    "ELU": each.same("Elu"),
    "LEAKY_RELU": each.leaky_relu,
    "PRELU": each.same("PRelu"),
    "HARD_SWISH": each.same("HardSwish"),
    "GELU": each.gelu,
    "FlexErf": each.same("Erf"),
    "EQUAL": each.same("Equal"),
    "NOT_EQUAL": each.negated("Equal"),
    "GREATER": each.same("Greater"),
    "GREATER_EQUAL": each.same("GreaterOrEqual"),
    "LESS": each.same("Less"),
    "LESS_EQUAL": each.same("LessOrEqual"),
    "LOGICAL_AND": each.same("And"),
    "LOGICAL_OR": each.same("Or"),
    "LOGICAL_NOT": each.same("Not"),
    "SELECT": each.select,
    "SELECT_V2": each.same("Where"),
    "CAST": each.cast,
    "ZEROS_LIKE": each.zeros_like,
    "FAKE_QUANT": each.fake_quant,
    # reductions
    "MEAN": reduce.reduced("ReduceMean"),
    "SUM": reduce.reduced("ReduceSum"),
    "REDUCE_MAX": reduce.reduced("ReduceMax"),
    "REDUCE_MIN": reduce.reduced("ReduceMin"),
    "REDUCE_PROD": reduce.reduced("ReduceProd"),
    "REDUCE_ANY": reduce.reduced_bools("ReduceMax"),
    "REDUCE_ALL": reduce.reduced_bools("ReduceMin"),
    "ARG_MAX": reduce.arg("ArgMax"),
    "ARG_MIN": reduce.arg("ArgMin"),
    "TOPK_V2": reduce.top_k,
    "SOFTMAX": reduce.softmax,
    "LOG_SOFTMAX": reduce.log_softmax,
    "L2_NORMALIZATION": reduce.l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": reduce.local_response_normalization,
    "CUMSUM": reduce.cumsum,
    # movement
    "RESHAPE": movement.reshape,
    "SQUEEZE": movement.squeeze,
    "EXPAND_DIMS": movement.expand_dims,
    "TRANSPOSE": movement.transpose,
    "CONCATENATION": movement.concatenation,
    "PACK": movement.pack,
    "UNPACK": movement.unpack,
    "SPLIT": movement.split,
    "SPLIT_V": movement.split_v,
    "SLICE": movement.slice_,
    "STRIDED_SLICE": movement.strided_slice,
    "GATHER": movement.gather,
    "GATHER_ND": movement.gather_nd,
    "EMBEDDING_LOOKUP": movement.embedding_lookup,
    "TILE": movement.tile,
    "BROADCAST_TO": movement.broadcast_to,
    "FILL": movement.fill,
    "PAD": movement.pad,
    "PADV2": movement.pad,
    "MIRROR_PAD": movement.mirror_pad,
    "REVERSE_V2": movement.reverse,
    "DEPTH_TO_SPACE": movement.depth_to_space,
    "SPACE_TO_DEPTH": movement.space_to_depth,
    "ONE_HOT": movement.one_hot,
    "SHAPE": movement.shape,
    "RANK": movement.rank,
    "RANGE": movement.range_,
    "SCATTER_ND": movement.scatter_nd,
    # space
    "RESIZE_BILINEAR": spatial.resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": spatial.resize_nearest,
    "SPACE_TO_BATCH_ND": spatial.space_to_batch,
    "BATCH_TO_SPACE_ND": spatial.batch_to_space,
    # signals
    "RFFT2D": signal.rfft_2d,
    "REAL": signal.real,
    "IMAG": signal.imaginary,
    "COMPLEX_ABS": signal.magnitude,
    # sequences and states
    "UNIDIRECTIONAL_SEQUENCE_LSTM": recurrent.sequence_lstm,
    "BIDIRECTIONAL_SEQUENCE_LSTM": recurrent.bidirectional_lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": recurrent.sequence_rnn,
    "BIDIRECTIONAL_SEQUENCE_RNN": recurrent.bidirectional_rnn,
    "SVDF": recurrent.svdf,
    "RNN": recurrent.step_rnn,
    # MediaPipe
    "Convolution2DTransposeBias": mediapipe.transpose_conv_bias,
    "MaxPoolingWithArgmax2D": mediapipe.max_pool_argmax,
    "MaxUnpooling2D": mediapipe.max_unpool,
    "Landmarks2TransformMatrix": landmarks.transform_matrix,
    "TransformTensorBilinear": landmarks.transform_tensor,
    "TransformLandmarks": landmarks.transform_landmarks,
}

OWN_ACTIVATION = frozenset(
    {"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "RNN"}
    | {"BIDIRECTIONAL_SEQUENCE_RNN"}
)
"""Operators whose activation is part of the recurrence, not a step behind it."""
MOVES_COMPLEX = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "SLICE", "STRIDED_SLICE"})
"""Operators that do to a complex tensor what they do to its parts."""
SAME_NUMBERS = frozenset({"DEQUANTIZE", "DENSIFY"})
"""Operators whose output is their input in another form."""
