"""Adapts full-integer files to the operators that compiler 16.0 accepts; all values stay the same, bit for bit.

The compiler does not support newer fusions: an activation in a pool or a concatenation is refused (vendor's
table), one in TRANSPOSE_CONV makes it version 4, with which the compiler reads nothing (google-coral/edgetpu#845). They
also give all operators of a kind the version that one of them needs (seen with TensorFlow 2.21): operators get back the
version that they use themselves.
"""

from __future__ import annotations

from collections.abc import Callable

from converters.edgetpu.versions import NEWEST
from converters.tflite import schema
from converters.tflite.editor import ModelEditor
from converters.tflite.values import ModelInfo, OperatorInfo

_UNFUSED = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "TRANSPOSE_CONV")
# Versions for 8-bit integers.
_ACTIVATIONS = {"RELU": 2, "RELU6": 2, "RELU_N1_TO_1": 1}
_NO_ACTIVATION = schema.ENUMS["ActivationFunctionType"].index("NONE")


def adapt_to_compiler(model: ModelInfo) -> ModelInfo:
    """Return the model with operators and versions that compiler 16.0 accepts; its results are the same.

    Args:
        model: in 8-bit integers; returned as it is where nothing has to change.
    """
    fused = {operator.index: _find_fused_activation(operator) for operator in model.main.operators}
    versions = {operator.index: _lower_version(model, operator) for operator in model.main.operators}
    if not any(fused.values()) and not any(versions.values()):
        return model
    editor = ModelEditor(model)
    for index, activation in fused.items():
        if activation is not None:
            _take_out(editor, index, activation)
    for index, version in versions.items():
        if version is not None:
            editor.operators[index]["opcode_index"] = editor.find_code(model.main.operators[index].name, version)
    return editor.finish()


def _lower_version(model: ModelInfo, operator: OperatorInfo) -> int | None:
    """Return the version that an operator uses, where its own is newer than the compiler; else None."""
    if operator.version <= NEWEST.get(operator.name, operator.version):
        return None
    find_used = _VERSION_USED.get(operator.name)
    return None if find_used is None else find_used(model, operator)


def _find_transposed_version(model: ModelInfo, operator: OperatorInfo) -> int | None:
    """Return 3 with a bias, 2 without (TensorFlow's tensorflow/lite/tools/versioning/op_version.cc)."""
    del model
    activation = operator.options.activation or "NONE"
    if activation != "NONE" and activation not in _ACTIVATIONS:
        return None
    return 2 if operator.input(3) is None else 3


def _find_convolution_version(model: ModelInfo, operator: OperatorInfo) -> int | None:
    """Return 3; None for groups, which only version 6 has."""
    source, kernel = (model.main.tensors[index] for index in operator.inputs[:2])
    return 3 if kernel.shape[-1] == source.shape[-1] else None


def _find_dense_version(model: ModelInfo, operator: OperatorInfo) -> int | None:
    """Return 5 where the number of dimensions is kept, else 4; None for a scale per output, which only 12 has."""
    if len(model.main.tensors[operator.inputs[1]].scales) > 1:
        return None
    return 5 if operator.options.fields.get("keep_num_dims") else 4


_VERSION_USED: dict[str, Callable[[ModelInfo, OperatorInfo], int | None]] = {
    "TRANSPOSE_CONV": _find_transposed_version,
    "CONV_2D": _find_convolution_version,
    "FULLY_CONNECTED": _find_dense_version,
}


def _find_fused_activation(operator: OperatorInfo) -> str | None:
    """Return the activation that is fused into an operator which must have none."""
    activation = operator.options.activation
    return activation if operator.name in _UNFUSED and activation in _ACTIVATIONS else None


def _take_out(editor: ModelEditor, index: int, activation: str) -> None:
    """Give an operator a separate output before its activation, with the same scale: nothing is rounded twice."""
    operator = editor.operators[index]
    result = int(operator["outputs"][0])
    linear = editor.add_like(
        result, suffix="_linear",
        has_rank=editor.tensors[result]["has_rank"], quantization=editor.tensors[result]["quantization"],
    )  # fmt: skip
    editor.set_output(index, linear)
    operator["builtin_options"]["fused_activation_function"] = _NO_ACTIVATION
    editor.insert(activation, [linear], result, version=_ACTIVATIONS[activation], after=index)
