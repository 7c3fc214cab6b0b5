"""What the numbers in a ``.tflite`` file mean: the part of TensorFlow Lite's published schema that the reader needs.

Fields of a FlatBuffers table are counted in the order of the schema, which only ever grows at its end: files of any
age are read with these tables (tests compare them with the schema that TensorFlow ships).
"""

from __future__ import annotations

from collections.abc import Mapping

_OPERATORS = """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
    LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
    SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
    TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
    LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
    FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
    REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
    HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
    HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
    ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
    DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
    STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
    STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
    STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
    STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
    STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
    STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
    STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
"""
OPERATORS = tuple(_OPERATORS.split())
"""Builtin operators by number."""

_TYPES = """
    float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant
    uint32 uint16 int4 bfloat16 int2 uint4
"""
TYPES = tuple(_TYPES.split())
"""Types of tensors by number, most as numpy calls them."""

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
SAME, VALID = 0, 1
"""Paddings."""


_FUSED = "activation:b"
_CONV = "padding:b stride_w:i stride_h:i activation:b"
_POOL = "padding:b stride_w:i stride_h:i filter_width:i filter_height:i activation:b"
_REDUCE = "keep_dims:?"
_SEQUENCE_LSTM = "activation:b cell_clip:f projection_clip:f"

OPTIONS: Mapping[str, str] = {
    "ADD": _FUSED,
    "ARG_MAX": "output_type:b",
    "ARG_MIN": "output_type:b",
    "AVERAGE_POOL_2D": _POOL,
    "BATCH_MATMUL": "adj_x:? adj_y:?",
    "BIDIRECTIONAL_SEQUENCE_LSTM": f"{_SEQUENCE_LSTM} merge_outputs:? time_major:?=1",
    "BIDIRECTIONAL_SEQUENCE_RNN": "time_major:? activation:b merge_outputs:?",
    "CALL": "subgraph:I",
    "CALL_ONCE": "subgraph:i",
    "CAST": "in_type:b out_type:b",
    "CONCATENATION": "axis:i activation:b",
    "CONV_2D": f"{_CONV} dilation_w:i=1 dilation_h:i=1",
    "CONV_3D": "padding:b stride_d:i stride_w:i stride_h:i activation:b dilation_d:i=1 dilation_w:i=1 dilation_h:i=1",
    "CUMSUM": "exclusive:? reverse:?",
    "DEPTHWISE_CONV_2D": "padding:b stride_w:i stride_h:i multiplier:i activation:b dilation_w:i=1 dilation_h:i=1",
    "DEPTH_TO_SPACE": "block_size:i",
    "DIV": _FUSED,
    "FAKE_QUANT": "min:f max:f num_bits:i narrow_range:?",
    "FULLY_CONNECTED": "activation:b weights_format:b keep_num_dims:?",
    "GATHER": "axis:i batch_dims:i",
    "GELU": "approximate:?",
    "L2_NORMALIZATION": _FUSED,
    "L2_POOL_2D": _POOL,
    "LEAKY_RELU": "alpha:f",
    "LOCAL_RESPONSE_NORMALIZATION": "radius:i bias:f alpha:f beta:f",
    "LSTM": f"{_SEQUENCE_LSTM} kernel_type:b",
    "MAX_POOL_2D": _POOL,
    "MEAN": _REDUCE,
    "MIRROR_PAD": "mode:b",
    "MUL": _FUSED,
    "ONE_HOT": "axis:i",
    "PACK": "values_count:i axis:i",
    "REDUCE_ALL": _REDUCE,
    "REDUCE_ANY": _REDUCE,
    "REDUCE_MAX": _REDUCE,
    "REDUCE_MIN": _REDUCE,
    "REDUCE_PROD": _REDUCE,
    "RESHAPE": "new_shape:ints",
    "RESIZE_BILINEAR": "old_height:i old_width:i align_corners:? half_pixel_centers:?",
    "RESIZE_NEAREST_NEIGHBOR": "align_corners:? half_pixel_centers:?",
    "REVERSE_SEQUENCE": "seq_dim:i batch_dim:i",
    "RNN": _FUSED,
    "SHAPE": "out_type:b",
    "SOFTMAX": "beta:f",
    "SPACE_TO_DEPTH": "block_size:i",
    "SPLIT": "num_splits:i",
    "SPLIT_V": "num_splits:i",
    "SQUEEZE": "squeeze_dims:ints",
    "STRIDED_SLICE": "begin_mask:i end_mask:i ellipsis_mask:i new_axis_mask:i shrink_axis_mask:i offset:?",
    "SUB": _FUSED,
    "SUM": _REDUCE,
    "SVDF": "rank:i activation:b",
    "TRANSPOSE_CONV": _CONV,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": f"{_SEQUENCE_LSTM} time_major:?",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "time_major:? activation:b",
    "UNPACK": "num:i axis:i",
    "VAR_HANDLE": "container:text shared_name:text",
}
"""By operator: the fields of its options in the schema's order, name:kind, or name:kind=default where it is not 0."""
