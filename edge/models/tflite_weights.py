"""Reads the weights of a .tflite file as float arrays: convolutions and dense layers, in execution order.

The file is verified and read in Python, without a native interpreter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.errors import ModelFileError
from converters.tflite import schema
from converters.tflite.reader import parse_model
from converters.tflite.tensor_data import read_dense_values
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, TensorInfo
from converters.tflite.verify import verify_model
from edge.errors import InputError

Floats = npt.NDArray[np.float32]

_CONV, _DEPTHWISE, _DENSE = "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"
_WEIGHTED = (_CONV, _DEPTHWISE, _DENSE)
_SCALING = ("MUL", "ADD", "SUB", "DIV")
_ACTIVATIONS = {"NONE": "linear"}
# What weights and biases come in.
_TYPES = frozenset({"float32", "float16", "int32", "uint8", "int64", "int16", "int8"})
_ACCUMULATORS = ("int32", "int64")


@dataclass(frozen=True)
class WeightedOperator:
    """One operator that holds weights.

    Attributes:
        index: position in the file's main graph.
        op: CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED.
        kernel: in the file's layout: OHWI, 1HW(channels x multiplier), or (outputs, inputs).
        bias: one per output, None where the operator has none.
        storage: how the kernel was stored, such as "float32", "float16", "int8 per channel", "uint8 per tensor".
        strides: (height, width); None for FULLY_CONNECTED.
        pads: zeros around the input (top, bottom, left, right), a PAD before it included; None where not known.
        activation: fused into the operator: "linear", "relu", "relu6", ...
    """

    index: int
    op: str
    kernel: Floats
    bias: Floats | None
    storage: str
    strides: tuple[int, int] | None
    pads: tuple[int, int, int, int] | None
    activation: str


@dataclass(frozen=True)
class TFLiteWeights:
    """All weighted operators of a file; `scalings` names the operators that scale or shift by a constant."""

    operators: tuple[WeightedOperator, ...]
    scalings: tuple[str, ...]


def read_tflite_weights(path: Path) -> TFLiteWeights:
    """Read the weights of a .tflite file, dequantized: (q - zero point) * scale in float64, rounded to float32.

    Weights may be float32, float16 or integers, directly or through DEQUANTIZE; biases have their own scales.

    Raises:
        InputError: the file is missing or not a .tflite file.
        ModelFileError: it is damaged, or its weights are stored in a way that is not read (sparse, 4-bit, blocks).
    """
    model = verify_model(parse_model(_read(path), name=str(path)))
    try:
        return _Graph(model).weights()
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}", hint=error.hint) from None


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the weights file {path}: {error.strerror or error}") from error
    if data[4:8] != schema.IDENTIFIER:
        raise InputError(f"{path} is not a .tflite file (bytes 4 to 8 are {data[4:8]!r}, not {schema.IDENTIFIER!r})")
    return data


class _Graph:
    """The main graph of a file, with the tables to follow its constants."""

    def __init__(self, model: ModelInfo) -> None:
        self.model = model
        self.graph = model.main
        self.producers = model.main.producers()

    def weights(self) -> TFLiteWeights:
        weighted, scalings = [], []
        for operator in self.graph.operators:
            if operator.name in _WEIGHTED:
                weighted.append(self._read_weighted(operator))
            elif operator.name in _SCALING and any(self._is_constant(tensor) for tensor in operator.inputs):
                scalings.append(f"{operator.name} (operator {operator.index})")
        return TFLiteWeights(tuple(weighted), tuple(scalings))

    def constant(self, index: int) -> npt.NDArray[Any]:
        """Return a constant's stored numbers in the tensor's shape."""
        tensor = self.graph.tensors[index]
        if tensor.dtype not in _TYPES:
            raise ModelFileError(
                f"the tensor {_name(tensor)} has numbers of type {tensor.dtype}, which are not read as weights",
                hint="give a file with float32, float16, int8 or uint8 weights",
            )
        if not tensor.is_constant:
            raise ModelFileError(f"the tensor {_name(tensor)} was expected to be constant but is computed by the graph")
        return read_dense_values(self.model, tensor)

    def _is_constant(self, index: int) -> bool:
        if index == ABSENT:
            return False
        source = self.producers.get(index)
        if source is not None:
            return source.name == "DEQUANTIZE" and self._is_constant(source.inputs[0])
        return self.graph.tensors[index].is_constant

    def floats(self, index: int) -> tuple[Floats, str]:
        """Return a constant as float32 and how it was stored, following DEQUANTIZE to its source."""
        source = self.producers.get(index)
        tensor = self.graph.tensors[index]
        if source is not None and source.name == "DEQUANTIZE":
            return self.floats(source.inputs[0])
        if tensor.sparsity is not None or (source is not None and source.name == "DENSIFY"):
            raise ModelFileError(
                f"the weights {_name(tensor)} are stored sparse (DENSIFY), which is not read back",
                hint="give the Keras file the sparse model was made from, or its dense conversion",
            )
        stored = self.constant(index)
        if stored.dtype.kind == "f":
            return stored.astype(np.float32), str(stored.dtype)
        scaled, how = _dequantize(stored, tensor)
        return scaled, f"{stored.dtype} {how}"

    def _read_weighted(self, operator: OperatorInfo) -> WeightedOperator:
        kernel, storage = self.floats(operator.inputs[1])
        bias = operator.input(2)
        activation = operator.options.activation or "NONE"
        return WeightedOperator(
            index=operator.index,
            op=operator.name,
            kernel=kernel,
            bias=None if bias is None else self._bias(operator, bias),
            storage=storage,
            strides=None if operator.name == _DENSE else operator.options.strides,
            pads=None if operator.name == _DENSE else self._pads(operator, kernel.shape[1:3]),
            activation=_ACTIVATIONS.get(activation, activation.lower()),
        )

    def _bias(self, operator: OperatorInfo, index: int) -> Floats:
        tensor = self.graph.tensors[index]
        if tensor.dtype in _ACCUMULATORS and not tensor.scales:
            # Old converters leave the bias' scale out; it is by definition the product of input's and kernel's.
            scales = [np.asarray(self.graph.tensors[at].scales, np.float64) for at in operator.inputs[:2]]
            return np.asarray(self.constant(index) * (scales[0] * scales[1]), np.float32)
        return self.floats(index)[0]

    def _pads(self, operator: OperatorInfo, kernel: tuple[int, ...]) -> tuple[int, int, int, int] | None:
        source, options = operator.inputs[0], operator.options
        before = (0, 0, 0, 0)
        producer = self.producers.get(source)
        if producer is not None and producer.name in ("PAD", "PADV2"):
            zeros = self.constant(producer.inputs[1])
            before = (int(zeros[1][0]), int(zeros[1][1]), int(zeros[2][0]), int(zeros[2][1]))
        if options.padding != "SAME":
            return before
        sides = self.graph.tensors[source].full_shape[1:3]
        if any(side < 1 for side in sides):
            return None
        strides, dilations = options.strides or (1, 1), options.dilations or (1, 1)
        own = [same_zeros(*each) for each in zip(sides, kernel, strides, dilations, strict=True)]
        return tuple(a + b for a, b in zip(before, (*own[0], *own[1]), strict=True))  # type: ignore[return-value]


def _dequantize(stored: npt.NDArray[Any], tensor: TensorInfo) -> tuple[Floats, str]:
    quantization = tensor.quantization
    if quantization is None or not quantization.scales or quantization.details is not None:
        raise ModelFileError(f"the weights {_name(tensor)} are integers without per-tensor or per-channel scales")
    scale = np.asarray(quantization.scales, np.float64)
    zero = np.asarray(quantization.zero_points, np.float64)
    if scale.size > 1:
        along = [1] * stored.ndim
        along[quantization.axis] = -1
        scale = scale.reshape(along)
        zero = zero.reshape(along) if zero.size > 1 else zero
    how = "per channel" if scale.size > 1 else "per tensor"
    return ((stored.astype(np.float64) - zero) * scale).astype(np.float32), how


def same_zeros(side: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the zeros that "same" padding puts before and after an axis of `side` values."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-int(side) // stride) - 1) * stride + reach - int(side), 0)
    return total // 2, total - total // 2


def _name(tensor: TensorInfo) -> str:
    return repr(tensor.name[-80:])
