"""Graph passes that bring a full-integer file to what compiler 16.0 takes; every value stays what it was, bit for bit.

What newer converters fuse, the compiler does not know: an activation in a pool or a concatenation is refused (vendor's
table), one in TRANSPOSE_CONV makes it version 4, with which the compiler reads nothing (google-coral/edgetpu#845). They
also give all operators of a kind the version that one of them needs (seen with TensorFlow 2.21): operators get back the
version that they use themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from converters.edgetpu.versions import NEWEST
from converters.tflite.generated_schema import generated, name_in

Table = Any  # an object of the schema's unpacked classes
_IDENTIFIER = b"TFL3"
_UNFUSED = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "TRANSPOSE_CONV")
# Versions for 8-bit integers.
_ACTIVATIONS = {"RELU": 2, "RELU6": 2, "RELU_N1_TO_1": 1}
_NOTHING = 0


def for_edgetpu(data: bytes) -> bytes:
    """Return the model with operators, and in versions, that compiler 16.0 takes; its results are the same.

    Args:
        data: a model in 8-bit integers; returned as it is where nothing has to change.
    """
    model = generated().ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    operators: list[Table] = []
    for operator in graph.operators:
        operators.append(operator)
        activation = _fused(model, operator)
        if activation is not None:
            operators.append(_taken_out(model, operator, activation))
    changed = len(operators) > len(graph.operators)
    graph.operators = operators
    for operator in operators:
        changed |= _lower_version(model, operator)
    return _packed(model) if changed else data


def _lower_version(model: Table, operator: Table) -> bool:
    """Give an operator that is newer than the compiler the version of what it uses; tell whether that was possible."""
    name = _name(model, operator)
    used = _VERSION_USED.get(name, lambda *_: None)(model, operator)
    stored = model.operatorCodes[operator.opcodeIndex].version
    if used is None or stored <= NEWEST[name]:
        return False
    operator.opcodeIndex = _code(model, name, used)
    return True


def _of_transposed(model: Table, operator: Table) -> int | None:
    """Return 3 with a bias, 2 without (TensorFlow's tensorflow/lite/tools/versioning/op_version.cc); None if fused."""
    del model
    options = operator.builtinOptions
    if options is not None and options.fusedActivationFunction != generated().ActivationFunctionType.NONE:
        return None
    return 3 if len(operator.inputs) > 3 and int(operator.inputs[3]) >= 0 else 2


def _of_convolution(model: Table, operator: Table) -> int | None:
    """Return 3; None for groups, which only version 6 has."""
    tensors = model.subgraphs[0].tensors
    source, kernel = (tensors[int(operator.inputs[place])] for place in (0, 1))
    return 3 if kernel.shape[-1] == source.shape[-1] else None


def _of_dense(model: Table, operator: Table) -> int | None:
    """Return 5 where the number of dimensions is kept, else 4; None for a scale per output, which only 12 has."""
    kernel = model.subgraphs[0].tensors[int(operator.inputs[1])]
    scales = None if kernel.quantization is None else kernel.quantization.scale
    if scales is not None and len(scales) > 1:
        return None
    return 5 if operator.builtinOptions is not None and operator.builtinOptions.keepNumDims else 4


_VERSION_USED: dict[str, Callable[[Table, Table], int | None]] = {
    "TRANSPOSE_CONV": _of_transposed, "CONV_2D": _of_convolution, "FULLY_CONNECTED": _of_dense,
}  # fmt: skip


def _fused(model: Table, operator: Table) -> str | None:
    """Return the activation that is fused into an operator which must have none."""
    if _name(model, operator) not in _UNFUSED or operator.builtinOptions is None:
        return None
    activation = name_in("ActivationFunctionType", operator.builtinOptions.fusedActivationFunction)
    return activation if activation in _ACTIVATIONS else None


def _taken_out(model: Table, operator: Table, activation: str) -> Table:
    """Give an operator an output of its own before its activation, of the same scale: so nothing is rounded twice."""
    schema, graph = generated(), model.subgraphs[0]
    result = int(operator.outputs[0])
    tensor = graph.tensors[result]
    before = schema.TensorT()
    before.name = tensor.name + b"_linear"
    before.shape, before.hasRank, before.shapeSignature = tensor.shape, tensor.hasRank, tensor.shapeSignature
    before.type, before.quantization, before.buffer = tensor.type, tensor.quantization, _NOTHING
    graph.tensors.append(before)
    operator.outputs = np.array([len(graph.tensors) - 1], np.int32)
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    added = schema.OperatorT()
    added.opcodeIndex = _code(model, activation, _ACTIVATIONS[activation])
    added.inputs, added.outputs = operator.outputs, np.array([result], np.int32)
    return added


def _name(model: Table, operator: Table) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return name_in("BuiltinOperator", max(code.builtinCode, code.deprecatedBuiltinCode))


def _code(model: Table, name: str, version: int) -> int:
    wanted = getattr(generated().BuiltinOperator, name)
    for place, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == wanted and code.version == version:
            return place
    added = generated().OperatorCodeT()
    added.builtinCode = added.deprecatedBuiltinCode = wanted
    added.version = version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


def _packed(model: Table) -> bytes:
    """Pack, leaving out operator codes that nothing uses: the compiler refuses a file for a code alone."""
    import flatbuffers

    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[index] for index in used]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())
