"""Graph pass: padding inside a strided convolution (SAME) becomes an operator of its own, PAD, and VALID.

TensorFlow Lite's converter folds a symmetric ZeroPadding2D into SAME where both pad alike, which at stride 2 is so on
maps of odd height and width. XNNPACK's sparse path takes stride 2 only with the padding told apart; there it folds the
PAD in again, so that nothing is computed twice.
"""

from __future__ import annotations

import numpy as np

from converters.tflite.reader import parse_model
from converters.tflite.values import OperatorInfo, SubgraphInfo
from converters.tflite.writer import Unpacked

_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
Sides = tuple[int, int]


def spell_out_padding(data: bytes) -> bytes:
    """Return the float model with each strided convolution's equal SAME padding as a PAD before it; same results.

    Convolutions that pad one side more than the other stay: no sparse kernel would take them either way.
    """
    graph = parse_model(data).main
    found = {op.index: sides for op in graph.operators if (sides := _equal_sides(graph, op)) is not None}
    if not found:
        return data
    file = Unpacked(data)
    for index, (rows, columns) in found.items():
        paddings = np.array([(0, 0), (rows, rows), (columns, columns), (0, 0)], np.int32)
        file.pad_before(index, graph.operators[index].inputs[0], paddings)
    return file.packed()


def _equal_sides(graph: SubgraphInfo, operator: OperatorInfo) -> Sides | None:
    """Return how much an operator pads rows and columns on each side; None where it is none of those to change."""
    options = operator.options
    if operator.name not in _CONVOLUTIONS or options.padding != "SAME" or options.strides in (None, (1, 1)):
        return None
    source, kernel = (graph.tensors[index] for index in operator.inputs[:2])
    if source.is_dynamic:  # its open sizes stand as 1 in the shape
        return None
    if source.dtype != "float32" or options.dilations not in (None, (1, 1)) or min(source.shape[1:3], default=0) < 1:
        return None
    both = [_total(source.shape[1 + axis], kernel.shape[1 + axis], options.strides[axis]) for axis in (0, 1)]
    if not all(both) or any(total % 2 for total in both):
        return None
    return both[0] // 2, both[1] // 2


def _total(size: int, kernel: int, stride: int) -> int:
    """Return what SAME adds to a dimension on both sides together."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)
