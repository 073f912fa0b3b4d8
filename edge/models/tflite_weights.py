"""The weights inside a .tflite file as float arrays: convolutions and dense layers, in execution order.

Only the flatbuffer is read, in Python; no native interpreter sees the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from converters.errors import MissingPartError, ModelFileError
from edge.errors import InputError
from edge.runtime.verified_model import verify_bytes

Floats = npt.NDArray[np.float32]

_IDENTIFIER = b"TFL3"
_DAMAGED = (struct.error, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
            RecursionError, MemoryError)  # fmt: skip
_CONV, _DEPTHWISE, _DENSE = "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"
_WEIGHTED = (_CONV, _DEPTHWISE, _DENSE)
_SCALING = ("MUL", "ADD", "SUB", "DIV")
_ACTIVATIONS = {0: "linear", 1: "relu", 2: "relu_n1_to_1", 3: "relu6", 4: "tanh", 5: "sign_bit"}
# Schema numbers of tensor types that weights and biases come in.
_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 7: "<i2", 9: "i1"}
_SAME = 0


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
        ModelFileError: it is damaged.
        ModelFileError: its weights are stored in a way that is not read (sparse, 4-bit, blocks).
        MissingPartError: the flatbuffers package is not installed.
    """
    data = _read(path)
    verify_bytes(data, path)
    schema = _schema()
    try:
        return _Graph(schema, data).weights()
    except _DAMAGED as error:
        raise ModelFileError(
            f"{path} is damaged: {type(error).__name__} while reading its operators ({error})",
            hint="get the file anew; `edge inspect` shows what can be read",
        ) from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}", hint=error.hint) from None


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the weights file {path}: {error.strerror or error}") from error
    if data[4:8] != _IDENTIFIER:
        raise InputError(f"{path} is not a .tflite file (bytes 4 to 8 are {data[4:8]!r}, not {_IDENTIFIER!r})")
    return data


def _schema() -> Any:  # noqa: ANN401
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingPartError(
            f"reading weights from a .tflite file needs the packages ai-edge-litert and flatbuffers: {error}",
            hint="pip install 'edge-convert[host]'",
        ) from error
    return schema_py_generated


class _Graph:
    """The main graph of a file with what is needed to follow its constants."""

    def __init__(self, schema: Any, data: bytes) -> None:  # noqa: ANN401
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        graph = model.subgraphs[0]
        self.data = data
        self.buffers = model.buffers
        self.tensors = graph.tensors
        self.operators = graph.operators
        self.names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        self.codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        self.producers = {output: operator for operator in self.operators for output in operator.outputs}

    def weights(self) -> TFLiteWeights:
        found, scalings = [], []
        for index, operator in enumerate(self.operators):
            op = self.op(operator)
            if op in _WEIGHTED:
                found.append(self._weighted(index, op, operator))
            elif op in _SCALING and any(self._is_constant(tensor) for tensor in operator.inputs):
                scalings.append(f"{op} (operator {index})")
        return TFLiteWeights(tuple(found), tuple(scalings))

    def op(self, operator: Any) -> str:  # noqa: ANN401
        return str(self.names[self.codes[operator.opcodeIndex]])

    def constant(self, tensor_index: int) -> npt.NDArray[Any]:
        """Return a constant's stored numbers in the tensor's shape."""
        tensor = self.tensors[tensor_index]
        if tensor.type not in _DTYPES:
            raise ModelFileError(
                f"the tensor {_name(tensor)} has numbers of schema type {tensor.type}, which are not read as weights",
                hint="give a file with float32, float16, int8 or uint8 weights",
            )
        raw = self._bytes(tensor)
        shape = [int(side) for side in tensor.shape] if tensor.shape is not None else []
        return np.frombuffer(raw, dtype=_DTYPES[tensor.type]).reshape(shape)

    def _bytes(self, tensor: Any) -> bytes:  # noqa: ANN401
        buffer = self.buffers[tensor.buffer]
        if buffer.data is not None:
            return bytes(np.asarray(buffer.data, dtype=np.uint8))
        if buffer.offset > 1:
            return self.data[buffer.offset : buffer.offset + buffer.size]
        raise ModelFileError(f"the tensor {_name(tensor)} was expected to be constant but is computed by the graph")

    def _is_constant(self, tensor_index: int) -> bool:
        if tensor_index < 0:
            return False
        source = self.producers.get(tensor_index)
        if source is not None:
            return self.op(source) == "DEQUANTIZE" and self._is_constant(source.inputs[0])
        buffer = self.buffers[self.tensors[tensor_index].buffer]
        return buffer.data is not None or buffer.offset > 1

    def floats(self, tensor_index: int) -> tuple[Floats, str]:
        """Return a constant as float32 and how it was stored, following DEQUANTIZE to its source."""
        source = self.producers.get(tensor_index)
        tensor = self.tensors[tensor_index]
        if source is not None and self.op(source) == "DEQUANTIZE":
            return self.floats(source.inputs[0])
        if tensor.sparsity is not None or (source is not None and self.op(source) == "DENSIFY"):
            raise ModelFileError(
                f"the weights {_name(tensor)} are stored sparse (DENSIFY), which is not read back",
                hint="give the Keras file the sparse model was made from, or its dense conversion",
            )
        stored = self.constant(tensor_index)
        if stored.dtype.kind == "f":
            return stored.astype(np.float32), str(stored.dtype)
        scale, how = self._scaled(stored, tensor)
        return scale, f"{stored.dtype} {how}"

    def _scaled(self, stored: npt.NDArray[Any], tensor: Any) -> tuple[Floats, str]:  # noqa: ANN401
        quantization = tensor.quantization
        if quantization is None or quantization.scale is None or quantization.details is not None:
            raise ModelFileError(f"the weights {_name(tensor)} are integers without per-tensor or per-channel scales")
        scale = np.asarray(quantization.scale, dtype=np.float64)
        zero = np.asarray(0 if quantization.zeroPoint is None else quantization.zeroPoint, dtype=np.float64)
        if scale.size > 1:
            along = [1] * stored.ndim
            along[quantization.quantizedDimension] = -1
            scale = scale.reshape(along)
            zero = zero.reshape(along) if zero.size > 1 else zero
        how = "per channel" if scale.size > 1 else "per tensor"
        return ((stored.astype(np.float64) - zero) * scale).astype(np.float32), how

    def _weighted(self, index: int, op: str, operator: Any) -> WeightedOperator:  # noqa: ANN401
        kernel, storage = self.floats(operator.inputs[1])
        bias_index = operator.inputs[2] if len(operator.inputs) > 2 else -1
        options = operator.builtinOptions
        return WeightedOperator(
            index=index,
            op=op,
            kernel=kernel,
            bias=self._bias(operator, bias_index) if bias_index >= 0 else None,
            storage=storage,
            strides=None if op == _DENSE else (options.strideH, options.strideW),
            pads=None if op == _DENSE else self._pads(operator, kernel.shape[1:3]),
            activation=_ACTIVATIONS[options.fusedActivationFunction],
        )

    def _bias(self, operator: Any, index: int) -> Floats:  # noqa: ANN401
        quantization = self.tensors[index].quantization
        if self.tensors[index].type in (2, 4) and (quantization is None or quantization.scale is None):
            # Old converters leave the bias' scale out; it is by definition the product of input's and kernel's.
            scales = [np.float64(self.tensors[at].quantization.scale) for at in operator.inputs[:2]]
            return (self.constant(index) * (scales[0] * scales[1])).astype(np.float32)
        return self.floats(index)[0]

    def _pads(self, operator: Any, kernel: tuple[int, ...]) -> tuple[int, int, int, int] | None:  # noqa: ANN401
        options, source = operator.builtinOptions, operator.inputs[0]
        before = (0, 0, 0, 0)
        producer = self.producers.get(source)
        if producer is not None and self.op(producer) in ("PAD", "PADV2"):
            zeros = self.constant(producer.inputs[1])
            before = (int(zeros[1][0]), int(zeros[1][1]), int(zeros[2][0]), int(zeros[2][1]))
        if options.padding != _SAME:
            return before
        sides = self.tensors[source].shape[1:3]
        if any(side < 1 for side in sides):
            return None
        dilations = (options.dilationHFactor, options.dilationWFactor)
        strides = (options.strideH, options.strideW)
        own = [same_zeros(*each) for each in zip(sides, kernel, strides, dilations, strict=True)]
        return tuple(a + b for a, b in zip(before, (*own[0], *own[1]), strict=True))  # type: ignore[return-value]


def same_zeros(side: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the zeros "same" padding puts before and behind an axis of `side` values."""
    reach = (kernel - 1) * dilation + 1
    total = max((-(-int(side) // stride) - 1) * stride + reach - int(side), 0)
    return total // 2, total - total // 2


def _name(tensor: Any) -> str:  # noqa: ANN401
    return repr((tensor.name or b"").decode("utf-8", "replace")[-80:])
