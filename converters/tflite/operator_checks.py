"""Checks single operators: their number of inputs and outputs, their options, and the rules of their shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

from converters.tflite import arithmetic_rules as arithmetic
from converters.tflite import shape_rules as shapes
from converters.tflite.flatbuffer import Damage
from converters.tflite.operator_context import OperatorContext
from converters.tflite.operator_options import NO_OPTIONS, OptionsInfo
from converters.tflite.operator_table import ARITIES, OPTION_RANGES, Arity
from converters.tflite.table_fields import tables
from converters.tflite.values import ModelInfo, OperatorInfo, SubgraphInfo

Rule = Callable[[OperatorContext], None]

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


def check_operator(model: ModelInfo, subgraph: SubgraphInfo, operator: OperatorInfo) -> None:
    """Check one operator; the tensors it names have been checked before.

    Raises:
        Damage: It has too many or too few inputs, options that are not its own or out of range, or shapes that do not
            belong together.
    """
    name, record = operator.builtin, operator.record
    arity = ARITIES.get(name)
    options = _options(operator, arity)
    _check_options(operator, options)
    if arity is None:
        return
    for part, indices, allowed in (
        ("inputs", operator.inputs, arity.inputs),
        ("outputs", operator.outputs, arity.outputs),
    ):
        if len(indices) not in allowed:
            what = f"{name} has {len(indices)} {part}; it takes {_describe_count(allowed)}"
            raise Damage(what, path=f"{record.path}.{part}", at=record.at)
    rule = RULES.get(name)
    if rule is not None:
        rule(OperatorContext(model, subgraph, operator, options))


def _describe_count(allowed: range) -> str:
    if len(allowed) == 1:
        return f"{allowed[0]}"
    return f"at least {allowed[0]}" if len(allowed) > 1 << 16 else f"{allowed[0]} to {allowed[-1]}"


def _options(operator: OperatorInfo, arity: Arity | None) -> OptionsInfo:
    """Return the options that native code will use: those of the file, or the schema's defaults."""
    wanted, stored = arity.options if arity else None, operator.options
    if stored is NO_OPTIONS:
        return _default_options(wanted) if wanted else stored
    if wanted not in (None, stored.kind):
        what = f"{operator.builtin} has {stored.kind}; its own are {wanted}"
        raise Damage(what, path=f"{operator.record.path}.builtin_options", at=operator.record.at)
    return stored


@lru_cache(maxsize=256)
def _default_options(table: str) -> OptionsInfo:
    fields = [field for field in tables().get(table, ()) if field is not None]
    return OptionsInfo(table, {field.name: field.default if field.kind == "scalar" else None for field in fields})


def _check_options(operator: OperatorInfo, options: OptionsInfo) -> None:
    for name, value in options.stored.items():
        allowed = OPTION_RANGES.get(name)
        if allowed is not None and isinstance(value, int) and value not in allowed:
            what = f"{operator.builtin} has {name} = {value}; it may be {allowed[0]} to {allowed[-1]}"
            raise Damage(what, path=f"{operator.record.path}.builtin_options.{name}", at=operator.record.at)
