"""Judges whether the Edge TPU can run an operator: by rules for all operators, then by the operator's own.

Sources: the vendor's table of supported operations (coral.ai/docs/edgetpu/models-intro), compiler logs that users
posted (repository#number beside each rule), and the pairs of a model and its compiled file. Where a log contradicts the
table, the log is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from converters.edgetpu import compute_rules, data_movement_rules
from converters.edgetpu.operator_view import (
    CONSTANT,
    LIMIT,
    RANK,
    TYPE,
    UNSUPPORTED,
    MappingRefusal,
    Verdict,
    activations,
    data_inputs,
    find_computed,
    format_shape,
    main_input,
    parameters,
)
from converters.edgetpu.versions import KNOWN_CUSTOM
from converters.tflite.operator_context import OperatorContext
from converters.tflite.values import EDGE_TPU_OPERATOR, FLOATS

Rule = Callable[[OperatorContext], Verdict]
_MOST_DIMENSIONS = 3
_EIGHT_BITS = frozenset({"int8", "uint8"})
_PARAMETER_TYPES = frozenset({"int8", "uint8", "int16", "int32", "int64"})


def _accept(context: OperatorContext) -> Verdict:
    del context
    return None


# Every operator that the Edge TPU runs. TILE is in no table; deeplab_mobilenet_edgetpu_slim_cityscapes_quant maps one.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RSQRT", "SQUARED_DIFFERENCE", "SPACE_TO_DEPTH",
                     "L2_NORMALIZATION", "MAXIMUM", "MINIMUM", "ADD", "SUB", "MUL", "TANH", "EXPAND_DIMS"), _accept),
    "AVERAGE_POOL_2D": compute_rules.check_no_activation,
    "CONCATENATION": data_movement_rules.check_concatenation,
    "CONV_2D": compute_rules.check_convolution,
    "DEPTHWISE_CONV_2D": compute_rules.check_depthwise,
    "FULLY_CONNECTED": compute_rules.check_dense,
    "LOGISTIC": data_movement_rules.check_row_length,
    "MAX_POOL_2D": compute_rules.check_no_activation,
    "MEAN": compute_rules.check_mean,
    "PACK": data_movement_rules.check_pack,
    "PAD": data_movement_rules.check_pad,
    "PRELU": compute_rules.check_prelu,
    "QUANTIZE": _accept,
    "REDUCE_MAX": compute_rules.check_reduction,
    "REDUCE_MIN": compute_rules.check_reduction,
    "RESHAPE": data_movement_rules.check_row_length,
    "RESIZE_BILINEAR": data_movement_rules.check_resize,
    "RESIZE_NEAREST_NEIGHBOR": data_movement_rules.check_resize,
    "SLICE": _accept,
    "SOFTMAX": compute_rules.check_softmax,
    "SPLIT": data_movement_rules.check_split,
    "SQUEEZE": data_movement_rules.check_squeeze,
    "STRIDED_SLICE": data_movement_rules.check_strided_slice,
    "SUM": compute_rules.check_reduction,
    "TILE": data_movement_rules.check_tile,
    "TRANSPOSE": data_movement_rules.check_transpose,
    "TRANSPOSE_CONV": compute_rules.check_transposed_convolution,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": compute_rules.check_lstm,
}  # fmt: skip
# What to use in place of operators that have no counterpart there.
INSTEAD = {
    "LEAKY_RELU": "use ReLU, or PReLU with shared_axes=[1, 2]",
    "HARD_SWISH": "use ReLU6 (keras.applications: minimalistic=True)",
    "ELU": "use ReLU6",
    "GELU": "use ReLU6",
    "ARG_MAX": "leave it out and take the largest class on the CPU, or keep it as the last operator",
    "SPLIT_V": "split into equal parts, or use slices",
    "DEPTH_TO_SPACE": "use a transposed convolution, or a resize",
    "SPACE_TO_BATCH_ND": "use dilation_rate of the layer, converted with a fixed input size",
    "BATCH_TO_SPACE_ND": "use dilation_rate of the layer, converted with a fixed input size",
    "DIV": "multiply by the reciprocal",
    "SQRT": "use RSQRT, or fold it into the weights",
    "DEQUANTIZE": "give the model integer outputs (--to edgetpu)",
    "MIRROR_PAD": "pad with zeros",
    "PADV2": "pad with zeros",
}
_REPLACE = "replace it, or move it to the end of the model, so that fewer operators follow it"


def judge(context: OperatorContext) -> Verdict:
    """Return the objection to an operator by itself; None where there is none."""
    if context.name == EDGE_TPU_OPERATOR:
        return None
    rule = RULES.get(context.name)
    if rule is None:
        return _refuse_unsupported(context)
    if not context.operator.outputs or not data_inputs(context):
        return MappingRefusal(LIMIT, "reads or writes nothing")
    return (
        _check_type(context)
        or _check_known_rank(context)
        or _check_rank(context)
        or _check_parameters(context)
        or rule(context)
    )


def _refuse_unsupported(context: OperatorContext) -> MappingRefusal:
    if context.name in KNOWN_CUSTOM:
        return MappingRefusal(TYPE, "is a custom operator that the compiler leaves to the CPU")
    if context.name == "DEQUANTIZE":
        return MappingRefusal(TYPE, "gives floating point numbers", INSTEAD["DEQUANTIZE"])
    return MappingRefusal(UNSUPPORTED, "has no counterpart on the Edge TPU", INSTEAD.get(context.name, _REPLACE))


def _check_type(context: OperatorContext) -> Verdict:
    """Refuse types other than 8 bits. Of float in and out a log says TYPE, of QUANTIZE LIMIT (google-coral#20)."""
    allowed = _EIGHT_BITS | ({"int16"} if context.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" else set())
    wrong = [tensor for tensor in activations(context) if tensor.dtype not in allowed]
    if wrong and context.name == "QUANTIZE" and main_input(context).dtype in FLOATS:
        return MappingRefusal(LIMIT, "reads floating point numbers", "give the model an integer input (--to edgetpu)")
    if wrong:
        found = ", ".join(dict.fromkeys(tensor.dtype for tensor in wrong))
        change = "convert with integers only (--to edgetpu)" if set(found.split(", ")) & FLOATS else ""
        return MappingRefusal(TYPE, f"computes with {found}, the Edge TPU with 8-bit integers", change)
    kinds = {tensor.dtype for tensor in parameters(context) if tensor.index >= 0} - _PARAMETER_TYPES
    if kinds:
        return MappingRefusal(TYPE, f"has parameters of type {', '.join(sorted(kinds))}", "store the weights as int8")
    return None


def _check_known_rank(context: OperatorContext) -> Verdict:
    """Refuse a tensor whose number of dimensions is known only when the model runs; the rules need its shape."""
    if all(tensor.has_rank for tensor in (*data_inputs(context), *parameters(context), *activations(context))):
        return None
    return MappingRefusal(RANK, "has a tensor of unknown rank", "convert with a fixed input size")


def _check_rank(context: OperatorContext) -> Verdict:
    """Refuse more than three dimensions larger than 1, or others than the innermost (google-coral/edgetpu#30, #75)."""
    for tensor in activations(context):
        if any(size > 1 for size in tensor.shape[:-_MOST_DIMENSIONS]):
            shape = format_shape(tensor.shape)
            what = f"has a tensor of shape {shape}: only the 3 innermost dimensions may be larger than 1"
            return MappingRefusal(RANK, what, "use a batch of 1, and fewer dimensions")
    return None


def _check_parameters(context: OperatorContext) -> Verdict:
    """Refuse computed weights, shapes and axes (google-coral/edgetpu#25)."""
    late = [tensor for tensor in parameters(context) if tensor.index in find_computed(context.model.main)]
    if not late:
        return None
    return MappingRefusal(CONSTANT, f"reads '{_shorten(late[0].name)}', which is computed, as a parameter",
                   "make weights, shapes and axes constants")  # fmt: skip


def _shorten(name: str) -> str:
    return name.partition(";")[0][:60]
