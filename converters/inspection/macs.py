"""Counts the multiply-accumulates of an operator from its shapes; a multiplication and its addition count as one.

As usual, convolutions, matrix products and recurrent cells count; activations, pooling, additions and
biases count 0. The work of custom operators and loops is unknown: None.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from converters.inspection.weights import RECURRENT, roles_of
from converters.tflite.values import OperatorInfo, SubgraphInfo, TensorInfo

_UNKNOWN = frozenset({"IF", "WHILE", "CALL", "CALL_ONCE", "DELEGATE", "CONV_3D_TRANSPOSE"})


def macs_of(graph: SubgraphInfo, operator: OperatorInfo) -> int | None:
    """Return the operator's multiply-accumulates for the shapes in the file; a batch left open counts as one.

    Returns:
        None where they are unknown: a custom operator, control flow, or a size other than the batch left open.
    """
    if operator.is_custom or operator.name in _UNKNOWN or operator.name.startswith("STABLEHLO_"):
        return None
    rule = _RULES.get(operator.name)
    if rule is None:
        return 0
    touched = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    if any(not tensor.has_rank or -1 in tensor.full_shape[1:] for tensor in touched):
        return None
    try:
        return rule(graph, operator)
    except IndexError:
        return None


def _tensor(graph: SubgraphInfo, operator: OperatorInfo, position: int) -> TensorInfo:
    index = operator.input(position)
    if index is None:
        raise IndexError(position)
    return graph.tensors[index]


def _output(graph: SubgraphInfo, operator: OperatorInfo) -> TensorInfo:
    return graph.tensors[operator.outputs[0]]


def _count_convolution(graph: SubgraphInfo, operator: OperatorInfo) -> int:
    # Filter: output channels, then window and input channels of one group.
    return _output(graph, operator).elements * math.prod(_tensor(graph, operator, 1).shape[1:])


def _count_depthwise(graph: SubgraphInfo, operator: OperatorInfo) -> int:
    return _output(graph, operator).elements * math.prod(_tensor(graph, operator, 1).shape[1:3])


def _count_convolution_3d(graph: SubgraphInfo, operator: OperatorInfo) -> int:
    # Filter: depth, height, width, input channels, output channels.
    return _output(graph, operator).elements * math.prod(_tensor(graph, operator, 1).shape[:4])


def _count_transposed(graph: SubgraphInfo, operator: OperatorInfo) -> int:
    # Every input element meets every window position and output channel; what padding cuts off counts too.
    return _tensor(graph, operator, 2).elements * math.prod(_tensor(graph, operator, 1).shape[:3])


def _count_fully_connected(graph: SubgraphInfo, operator: OperatorInfo) -> int:
    return _output(graph, operator).elements * _tensor(graph, operator, 1).shape[-1]


def _count_batch_matmul(graph: SubgraphInfo, operator: OperatorInfo) -> int:
    transposed = bool(operator.options.fields.get("adj_x"))
    return _output(graph, operator).elements * _tensor(graph, operator, 0).shape[-2 if transposed else -1]


def _count_recurrent(graph: SubgraphInfo, operator: OperatorInfo) -> int:
    # Each time step of each sequence multiplies by every weight matrix once.
    steps = math.prod(_tensor(graph, operator, 0).shape[:-1])
    present = [operator.input(position) for position in roles_of(operator).weights]
    return steps * sum(graph.tensors[index].elements for index in present if index is not None)


_RULES: dict[str, Callable[[SubgraphInfo, OperatorInfo], int]] = {
    "CONV_2D": _count_convolution,
    "DEPTHWISE_CONV_2D": _count_depthwise,
    "CONV_3D": _count_convolution_3d,
    "TRANSPOSE_CONV": _count_transposed,
    "FULLY_CONNECTED": _count_fully_connected,
    "BATCH_MATMUL": _count_batch_matmul,
    **dict.fromkeys(RECURRENT, _count_recurrent),
}
