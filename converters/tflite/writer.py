"""A .tflite file unpacked into the schema's objects, changed in place, packed again; one graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.sparse.encoding import SparseRows
from converters.sparse.symmetric_int8 import Int8Rows
from converters.tflite.generated_schema import generated

Table = Any  # an object of the schema's unpacked classes
_IDENTIFIER = b"TFL3"
_TYPES = {"int8": "INT8", "float16": "FLOAT16", "float32": "FLOAT32", "int32": "INT32"}
_NOTHING = 0  # by convention the first buffer is empty


class Unpacked:
    """The main graph of one file; tensors and buffers are only ever added, so that indices keep their meaning."""

    def __init__(self, data: bytes) -> None:
        """Unpack."""
        self._file = generated().ModelT.InitFromPackedBuf(data, 0)
        self._graph = self._file.subgraphs[0]
        self._zeros: dict[int, int] = {}
        self._before: list[Table] = []
        self._behind: dict[int, list[Table]] = {}
        self._ahead: dict[int, list[Table]] = {}

    def set_values(self, tensor: int, values: NDArray[Any]) -> None:
        """Make a tensor a constant of these values and their type; its buffer is new, the old one may be shared."""
        buffer = generated().BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._file.buffers.append(buffer)
        self._graph.tensors[tensor].buffer = len(self._file.buffers) - 1
        self._graph.tensors[tensor].type = getattr(generated().TensorType, _TYPES[values.dtype.name])

    def set_rows(self, tensor: int, rows: SparseRows) -> None:
        """Make a tensor a sparse constant."""
        table = self._graph.tensors[tensor]
        table.sparsity = _sparsity(rows, tuple(int(size) for size in table.shape))
        self.set_values(tensor, rows.values)

    def set_scales(self, *tensors: int, rows: Int8Rows, axis: int = 0) -> None:
        """Give tensors one symmetric scale per slice along a dimension; the file holds the scales once."""
        shared = _Scales(rows.scales, axis, self._zeros)
        for tensor in tensors:
            self._graph.tensors[tensor].quantization = shared

    def add_like(self, tensor: int, *, suffix: str, dtype: str) -> int:
        """Add a tensor of the same shape without content, and return its index."""
        schema, model = generated(), self._graph.tensors[tensor]
        added = schema.TensorT()
        added.name = model.name + suffix.encode()
        added.shape, added.hasRank = model.shape, True
        added.type = getattr(schema.TensorType, _TYPES[dtype])
        added.buffer = _NOTHING
        self._graph.tensors.append(added)
        return len(self._graph.tensors) - 1

    def set_computed(self, tensor: int) -> None:
        """Take a constant's content away: an operator writes it now."""
        self._graph.tensors[tensor].buffer = _NOTHING

    def set_input(self, operator: int, place: int, tensor: int) -> None:
        """Let an operator read another tensor at one place of its inputs."""
        inputs = np.array(self._graph.operators[operator].inputs, np.int32)
        inputs[place] = tensor
        self._graph.operators[operator].inputs = inputs

    def set_output(self, operator: int, tensor: int) -> None:
        """Let an operator of one output write another tensor."""
        self._graph.operators[operator].outputs = np.array([tensor], np.int32)

    def dequantize(self, source: int, target: int, *, version: int, behind: int | None) -> None:
        """Add a DEQUANTIZE behind an operator, or before all of them."""
        operator = generated().OperatorT()
        operator.opcodeIndex = self._code("DEQUANTIZE", version)
        operator.inputs, operator.outputs = np.array([source], np.int32), np.array([target], np.int32)
        (self._before if behind is None else self._behind.setdefault(behind, [])).append(operator)

    def pad_before(self, operator: int, source: int, paddings: NDArray[np.int32]) -> None:
        """Let a convolution that pads by itself (SAME) read its input through a PAD by `paddings`, of shape (4, 2)."""
        schema, options = generated(), self._graph.operators[operator].builtinOptions
        constant = self.add_like(source, suffix="_paddings", dtype="int32")
        self._graph.tensors[constant].shape = np.array(paddings.shape, np.int32)
        self.set_values(constant, paddings)
        padded = self.add_like(source, suffix="_padded", dtype="float32")
        shape = np.array(self._graph.tensors[source].shape, np.int32) + paddings.sum(axis=1)
        self._graph.tensors[padded].shape = shape.astype(np.int32)
        pad = schema.OperatorT()
        pad.opcodeIndex = self._code("PAD", 1)
        pad.inputs, pad.outputs = np.array([source, constant], np.int32), np.array([padded], np.int32)
        pad.builtinOptionsType, pad.builtinOptions = schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
        self._ahead[operator] = [pad]
        options.padding = schema.Padding.VALID
        self.set_input(operator, 0, padded)

    def packed(self) -> bytes:
        """Return the changed file; called once."""
        import flatbuffers

        self._graph.operators = [
            *self._before,
            *(
                each
                for place, old in enumerate(self._graph.operators)
                for each in (*self._ahead.get(place, ()), old, *self._behind.get(place, ()))
            ),
        ]
        self._before, self._behind, self._ahead = [], {}, {}
        self._empty_unused_buffers()
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._file.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, name: str, version: int) -> int:
        schema, codes = generated(), self._file.operatorCodes
        wanted = getattr(schema.BuiltinOperator, name)
        for place, code in enumerate(codes):
            if max(code.builtinCode, code.deprecatedBuiltinCode) == wanted and code.version == version:
                return place
        added = schema.OperatorCodeT()
        added.builtinCode = added.deprecatedBuiltinCode = wanted
        added.version = version
        codes.append(added)
        return len(codes) - 1

    def _empty_unused_buffers(self) -> None:
        used = {tensor.buffer for graph in self._file.subgraphs for tensor in graph.tensors}
        used |= {item.buffer for item in self._file.metadata or ()}
        for place, buffer in enumerate(self._file.buffers):
            if place not in used:
                buffer.data = None


class _Scales:
    """Stands for a QuantizationParametersT that is written once, wherever it is referred to; zero points likewise.

    A flatbuffer refers to tables and vectors by offset, so that several tensors can share one. With 17,000 channels the
    zero points alone would be 136 kB, twice for sparse tensors.
    """

    def __init__(self, scales: NDArray[np.float32], axis: int, zeros: dict[int, int]) -> None:
        self._scales = scales
        self._axis = axis
        self._zeros = zeros
        self._written: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802, ANN401  (called by the schema's TensorT)
        if self._written is None:
            schema, count = generated(), len(self._scales)
            if count not in self._zeros:
                self._zeros[count] = builder.CreateNumpyVector(np.zeros(count, np.int64))
            scales = builder.CreateNumpyVector(self._scales)
            schema.QuantizationParametersStart(builder)
            schema.QuantizationParametersAddScale(builder, scales)
            schema.QuantizationParametersAddZeroPoint(builder, self._zeros[count])
            schema.QuantizationParametersAddQuantizedDimension(builder, self._axis)
            self._written = int(schema.QuantizationParametersEnd(builder))
        return self._written


def _sparsity(rows: SparseRows, shape: tuple[int, ...]) -> Table:
    """Describe compressed rows: all dimensions in order, the last one compressed, blocks innermost."""
    sparsity = generated().SparsityParametersT()
    blocked = rows.block > 1
    sparsity.traversalOrder = np.arange(len(shape) + blocked, dtype=np.int32)
    sparsity.dimMetadata = [*map(_dense, (shape[0] // rows.block, *shape[1:-1])), _compressed(rows)]
    if blocked:
        sparsity.blockMap = np.zeros(1, np.int32)
        sparsity.dimMetadata.append(_dense(rows.block))
    return sparsity


def _dense(size: int) -> Table:
    dimension = generated().DimensionMetadataT()
    dimension.format = generated().DimensionType.DENSE
    dimension.denseSize = size
    return dimension


def _compressed(rows: SparseRows) -> Table:
    dimension = generated().DimensionMetadataT()
    dimension.format = generated().DimensionType.SPARSE_CSR
    dimension.arraySegmentsType, dimension.arraySegments = _vector(rows.segments)
    dimension.arrayIndicesType, dimension.arrayIndices = _vector(rows.indices)
    return dimension


def _vector(numbers: NDArray[np.integer[Any]]) -> tuple[int, Table]:
    schema = generated()
    kind = {"uint8": "Uint8Vector", "uint16": "Uint16Vector", "int32": "Int32Vector"}[numbers.dtype.name]
    table = getattr(schema, f"{kind}T")()
    table.values = numbers
    return getattr(schema.SparseIndexVector, kind), table
