"""Whether the Edge TPU could run one operator: rules that hold for all, then the operator's own.

Sources: the vendor's table of supported operations (coral.ai/docs/edgetpu/models-intro), compiler logs that users
posted (repository#number beside each rule), and the pairs of a model and its compiled file. Where a log contradicts the
table, the log is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from converters.edgetpu import compute_rules as computing
from converters.edgetpu import data_movement_rules as moving
from converters.edgetpu.operator_view import (
    CONSTANT,
    LIMIT,
    RANK,
    TYPE,
    UNSUPPORTED,
    Refusal,
    Verdict,
    activations,
    by,
    computed,
    data_inputs,
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


def _free(context: OperatorContext) -> Verdict:
    del context
    return None


# Every operator that the Edge TPU runs. TILE is in no table; deeplab_mobilenet_edgetpu_slim_cityscapes_quant maps one.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "RSQRT", "SQUARED_DIFFERENCE", "SPACE_TO_DEPTH",
                     "L2_NORMALIZATION", "MAXIMUM", "MINIMUM", "ADD", "SUB", "MUL", "TANH", "EXPAND_DIMS"), _free),
    "AVERAGE_POOL_2D": computing.pool,
    "CONCATENATION": moving.concatenation,
    "CONV_2D": computing.convolution,
    "DEPTHWISE_CONV_2D": computing.depthwise,
    "FULLY_CONNECTED": computing.dense,
    "LOGISTIC": moving.in_one_row,
    "MAX_POOL_2D": computing.pool,
    "MEAN": computing.mean,
    "PACK": moving.pack,
    "PAD": moving.pad,
    "PRELU": computing.prelu,
    "QUANTIZE": _free,
    "REDUCE_MAX": computing.reduction,
    "REDUCE_MIN": computing.reduction,
    "RESHAPE": moving.in_one_row,
    "RESIZE_BILINEAR": moving.resize,
    "RESIZE_NEAREST_NEIGHBOR": moving.resize,
    "SLICE": _free,
    "SOFTMAX": computing.softmax,
    "SPLIT": moving.split,
    "SQUEEZE": moving.squeeze,
    "STRIDED_SLICE": moving.strided_slice,
    "SUM": computing.reduction,
    "TILE": moving.tile,
    "TRANSPOSE": moving.transpose,
    "TRANSPOSE_CONV": computing.transposed,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": computing.lstm,
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
_REPLACE = "replace it, or move it to the end of the model, so that less is left behind it"


def judge(context: OperatorContext) -> Verdict:
    """Return what speaks against an operator, looked at alone; None where nothing does."""
    if context.name == EDGE_TPU_OPERATOR:
        return None
    rule = RULES.get(context.name)
    if rule is None:
        return _unsupported(context)
    if not context.operator.outputs or not data_inputs(context):
        return Refusal(LIMIT, "reads or writes nothing")
    return _type(context) or _unranked(context) or _rank(context) or _parameters(context) or rule(context)


def _unsupported(context: OperatorContext) -> Refusal:
    if context.name in KNOWN_CUSTOM:
        return Refusal(TYPE, "is a custom operator that the compiler leaves to the CPU")
    if context.name == "DEQUANTIZE":
        return Refusal(TYPE, "gives floating point numbers", INSTEAD["DEQUANTIZE"])
    return Refusal(UNSUPPORTED, "has no counterpart on the Edge TPU", INSTEAD.get(context.name, _REPLACE))


def _type(context: OperatorContext) -> Verdict:
    """Refuse what is not 8 bits wide. Of float in and out a log says TYPE, of QUANTIZE LIMIT (google-coral#20)."""
    allowed = _EIGHT_BITS | ({"int16"} if context.name == "UNIDIRECTIONAL_SEQUENCE_LSTM" else set())
    wrong = [tensor for tensor in activations(context) if tensor.dtype not in allowed]
    if wrong and context.name == "QUANTIZE" and main_input(context).dtype in FLOATS:
        return Refusal(LIMIT, "reads floating point numbers", "give the model an integer input (--to edgetpu)")
    if wrong:
        found = ", ".join(dict.fromkeys(tensor.dtype for tensor in wrong))
        change = "convert with integers only (--to edgetpu)" if set(found.split(", ")) & FLOATS else ""
        return Refusal(TYPE, f"computes with {found}, the Edge TPU with 8-bit integers", change)
    kinds = {tensor.dtype for tensor in parameters(context) if tensor.index >= 0} - _PARAMETER_TYPES
    if kinds:
        return Refusal(TYPE, f"has parameters of type {', '.join(sorted(kinds))}", "store the weights as int8")
    return None


def _unranked(context: OperatorContext) -> Verdict:
    """Refuse a tensor whose number of dimensions is known only when the model runs; the rules need its shape."""
    if all(tensor.has_rank for tensor in (*data_inputs(context), *parameters(context), *activations(context))):
        return None
    return Refusal(RANK, "has a tensor of unknown rank", "convert with a fixed input size")


def _rank(context: OperatorContext) -> Verdict:
    """Refuse more than three dimensions larger than 1, or others than the innermost (google-coral/edgetpu#30, #75)."""
    for tensor in activations(context):
        if any(size > 1 for size in tensor.shape[:-_MOST_DIMENSIONS]):
            return Refusal(RANK, f"has a tensor of shape {by(tensor.shape)}: only the 3 innermost dimensions may be "
                           "larger than 1", "use a batch of 1, and fewer dimensions")  # fmt: skip
    return None


def _parameters(context: OperatorContext) -> Verdict:
    """Refuse computed weights, shapes and axes (google-coral/edgetpu#25)."""
    late = [tensor for tensor in parameters(context) if tensor.index in computed(context.model.main)]
    if not late:
        return None
    return Refusal(CONSTANT, f"reads '{_short(late[0].name)}', which is computed, as a parameter",
                   "make weights, shapes and axes constants")  # fmt: skip


def _short(name: str) -> str:
    return name.partition(";")[0][:60]
