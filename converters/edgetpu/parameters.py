"""Estimates the memory that parameters take on the Edge TPU, and the bytes streamed to it for each inference.

Source: the sizes in compiled files, compared with the models they were made from. Output channels
are stored in groups of 64 (the multiplying unit's width), each with 8 bytes besides its weights. Within 11 % of what
the five convolutional pairs hold; 20 % too high for the LSTM.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from converters.inspection.weights import RECURRENT, ROLES
from converters.tflite.values import ModelInfo, OperatorInfo, TensorInfo

_GROUP = 64
_PER_CHANNEL_BYTES = 8
# "On-chip memory used" plus "remaining" in logs of compilers 15 and 16: 6.1 to 7.9 MiB, the less the more is streamed.
ON_CHIP_BYTES = 8 * 1024 * 1024
USABLE_BYTES = 7 * 1024 * 1024


@dataclass(frozen=True)
class ParameterPrediction:
    """Bytes of parameters of the mapped operators: as stored in the file, and on the Edge TPU (an estimate).

    `streamed_bytes` go over USB or PCIe for each inference; 0 where all fit. `fits` is None near the limit.
    """

    stored_bytes: int
    estimated_bytes: int
    on_chip_bytes: int
    streamed_bytes: int
    fits: bool | None


def predict_parameters(model: ModelInfo, mapped: Collection[int]) -> ParameterPrediction:
    """Add up the parameters of the operators with these indices; a constant that several share counts once."""
    stored: dict[int, int] = {}
    padded: dict[int, int] = {}
    for operator in model.main.operators:
        if operator.index in mapped:
            for tensor in _weights(model, operator):
                stored[tensor.buffer] = tensor.stored_bytes
                padded[tensor.buffer] = _pad_size(operator, tensor)
    estimate = sum(padded.values())
    over = max(0, estimate - USABLE_BYTES)
    near = USABLE_BYTES * 0.9 < estimate <= ON_CHIP_BYTES
    return ParameterPrediction(
        stored_bytes=sum(stored.values()), estimated_bytes=estimate, on_chip_bytes=ON_CHIP_BYTES, streamed_bytes=over,
        fits=None if near else over == 0,
    )  # fmt: skip


def _weights(model: ModelInfo, operator: OperatorInfo) -> list[TensorInfo]:
    places = ROLES[operator.name].weights if operator.name in ROLES else ()
    found = (operator.input(place) for place in places)
    tensors = [model.main.tensors[index] for index in found if index is not None]
    return [tensor for tensor in tensors if tensor.is_constant]


def _pad_size(operator: OperatorInfo, tensor: TensorInfo) -> int:
    shape = tensor.shape
    if operator.name == "DEPTHWISE_CONV_2D" and shape:
        channels, each = shape[-1], math.prod(shape[1:-1])
    elif len(shape) > 1 or (operator.name in RECURRENT and shape):
        channels, each = shape[0], math.prod(shape[1:])
    else:
        return tensor.elements
    return -(-channels // _GROUP) * _GROUP * (each + _PER_CHANNEL_BYTES)
