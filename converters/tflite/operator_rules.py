"""Which rule judges which operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from converters.tflite import arithmetic_rules as arithmetic
from converters.tflite import shape_rules as shapes
from converters.tflite.operator_context import Call

Rule = Callable[[Call], None]

RULES: Mapping[str, Rule] = MappingProxyType({
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "SOFTMAX", "LOG_SOFTMAX",
                     "HARD_SWISH", "LEAKY_RELU", "ELU", "GELU", "L2_NORMALIZATION", "RSQRT", "SQRT", "EXP",
                     "LOCAL_RESPONSE_NORMALIZATION"), arithmetic.check_same_scaled),
    **dict.fromkeys(("ABS", "NEG", "FLOOR", "CEIL", "ROUND", "SIN", "COS", "LOG", "SQUARE", "SIGN", "LOGICAL_NOT",
                     "CAST", "ZEROS_LIKE", "FAKE_QUANT", "REVERSE_V2"), arithmetic.check_same_shape),
    **dict.fromkeys(("ADD", "SUB", "MUL", "PRELU", "SQUARED_DIFFERENCE"), arithmetic.check_broadcast_scaled),
    **dict.fromkeys(("DIV", "MAXIMUM", "MINIMUM", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "POW",
                     "NOT_EQUAL", "FLOOR_DIV", "FLOOR_MOD", "LOGICAL_AND", "LOGICAL_OR", "BITWISE_XOR",
                     "SELECT_V2"), arithmetic.check_broadcast),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), arithmetic.check_pool),
    **dict.fromkeys(("SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL"), shapes.check_axes),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), shapes.check_pad),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), arithmetic.check_resize),
    **dict.fromkeys(("PACK", "UNPACK"), shapes.check_axis_option),
    **dict.fromkeys(("EXPAND_DIMS", "ARG_MAX", "ARG_MIN", "CUMSUM"), shapes.check_axis_input),
    **dict.fromkeys(("TILE", "FILL", "BROADCAST_TO", "TOPK_V2"), shapes.check_counts),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), shapes.check_blocks),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), shapes.check_block_size),
    **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"), arithmetic.check_lstm),
    "CONV_2D": arithmetic.check_conv_2d,
    "DEPTHWISE_CONV_2D": arithmetic.check_depthwise_conv_2d,
    "TRANSPOSE_CONV": arithmetic.check_transpose_conv,
    "CONV_3D": arithmetic.check_conv_3d,
    "FULLY_CONNECTED": arithmetic.check_fully_connected,
    "CONCATENATION": shapes.check_concatenation,
    "RESHAPE": shapes.check_reshape,
    "MEAN": shapes.check_mean,
    "TRANSPOSE": shapes.check_transpose,
    "GATHER": shapes.check_gather,
    "EMBEDDING_LOOKUP": shapes.check_embedding_lookup,
    "SPLIT": shapes.check_split,
    "SPLIT_V": shapes.check_split_v,
    "SQUEEZE": shapes.check_squeeze,
    "STRIDED_SLICE": shapes.check_strided_slice,
    "SLICE": shapes.check_slice,
    "BATCH_MATMUL": arithmetic.check_batch_matmul,
    "DENSIFY": arithmetic.check_densify,
    "QUANTIZE": arithmetic.check_quantize,
    "DEQUANTIZE": arithmetic.check_dequantize,
})  # fmt: skip
