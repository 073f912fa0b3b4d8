"""What a .tflite file holds, as values: tensors, operators, subgraphs, signatures, metadata.

Every name is the schema's own (`CONV_2D`, `SAME`, `RELU6`), except that element types are written as NumPy writes them
(`float32`, `int8`). Indices are positions in the file, so that a later pass can find the object it means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Bits of one element. Strings, resources and variants have no fixed size.
BITS = {
    "float32": 32, "float16": 16, "bfloat16": 16, "float64": 64, "float8_e4m3fn": 8, "float8_e5m2": 8,
    "int2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32,
    "int64": 64, "uint64": 64, "bool": 8, "complex64": 64, "complex128": 128,
}  # fmt: skip
FLOATS = frozenset({"float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"})
EDGE_TPU_OPERATOR = "edgetpu-custom-op"
ABSENT = -1


@dataclass(frozen=True)
class QuantizationInfo:
    """Affine quantization: real = scale * (stored - zero_point), one pair per tensor or per slice along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    details: str | None = None

    @property
    def per_channel(self) -> bool:
        """Whether there is more than one scale."""
        return len(self.scales) > 1


@dataclass(frozen=True, eq=False)
class SparseDimension:
    """One dimension of a sparse tensor: all of `dense_size`, or compressed rows with segments and indices."""

    compressed: bool
    dense_size: int
    segments: NDArray[np.int64] | None = None
    indices: NDArray[np.int64] | None = None
    index_bytes: int = 0


@dataclass(frozen=True, eq=False)
class SparsityInfo:
    """How a sparse tensor is stored (schema's SparsityParameters); blocks come after the tensor's own dimensions."""

    traversal_order: tuple[int, ...]
    block_map: tuple[int, ...]
    dimensions: tuple[SparseDimension, ...]

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Sizes of the blocked dimensions in the order of `block_map`; empty where elements are single."""
        rank = len(self.dimensions) - len(self.block_map)
        blocks = [self.traversal_order.index(rank + place) for place in range(len(self.block_map))]
        return tuple(self.dimensions[place].dense_size for place in blocks)

    @property
    def index_bytes(self) -> int:
        """Bytes of the stored segments and indices."""
        return sum(dim.index_bytes for dim in self.dimensions)


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """One tensor of a subgraph. `stored_bytes` is 0 where the file holds no content: then it is no constant.

    `shape` holds no -1: an open size stands there as the interpreter allocates it, usually 1; `shape_signature` has it.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...] | None
    has_rank: bool
    buffer: int
    stored_bytes: int
    is_variable: bool
    quantization: QuantizationInfo | None
    sparsity: SparsityInfo | None
    external_buffer: int | None = None

    @property
    def is_constant(self) -> bool:
        """Whether the file holds the tensor's content."""
        return self.stored_bytes > 0

    @property
    def is_dynamic(self) -> bool:
        """Whether a size is known only when the model runs."""
        return -1 in self.full_shape or not self.has_rank

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape with -1 where the size is open."""
        return self.shape if self.shape_signature is None else self.shape_signature

    @property
    def elements(self) -> int:
        """Elements of `shape`."""
        return math.prod(self.shape)

    @property
    def dense_bytes(self) -> int | None:
        """Bytes of the tensor unpacked to its own type; None for strings and resources."""
        bits = BITS.get(self.dtype)
        return None if bits is None else (self.elements * bits + 7) // 8


@dataclass(frozen=True, eq=False)
class OptionsInfo:
    """An operator's options: `fields` holds all of them by the schema's names; the properties what many share."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def padding(self) -> str | None:
        """SAME or VALID."""
        return self.fields.get("padding")

    @property
    def activation(self) -> str | None:
        """The fused activation: NONE, RELU, RELU6, ..."""
        return self.fields.get("fused_activation_function")

    @property
    def strides(self) -> tuple[int, int] | None:
        """Height and width."""
        return self._pair("stride_h", "stride_w")

    @property
    def dilations(self) -> tuple[int, int] | None:
        """Height and width."""
        return self._pair("dilation_h_factor", "dilation_w_factor")

    @property
    def window(self) -> tuple[int, int] | None:
        """Height and width of a pooling window."""
        return self._pair("filter_height", "filter_width")

    @property
    def depth_multiplier(self) -> int | None:
        """Output channels per input channel of a depthwise convolution, as stored."""
        return self.fields.get("depth_multiplier")

    @property
    def subgraphs(self) -> tuple[int, ...]:
        """Subgraphs that the operator runs (IF, WHILE, CALL_ONCE, ...)."""
        return tuple(value for name, value in self.fields.items() if name.endswith(("subgraph_index", "subgraph")))

    def _pair(self, height: str, width: str) -> tuple[int, int] | None:
        return (self.fields[height], self.fields[width]) if height in self.fields and width in self.fields else None


NO_OPTIONS = OptionsInfo("NONE")


@dataclass(frozen=True, eq=False)
class OperatorInfo:
    """One operator; `name` is the schema's (CONV_2D) or the custom code. Inputs are tensor indices, -1 where absent."""

    index: int
    name: str
    version: int
    custom_code: str | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...] = ()
    options: OptionsInfo = NO_OPTIONS
    custom_options: memoryview = field(default_factory=lambda: memoryview(b""))

    @property
    def is_custom(self) -> bool:
        """Whether the operator is none of the schema's builtin ones."""
        return self.custom_code is not None

    def input(self, position: int) -> int | None:
        """Return the tensor index at a position of the inputs; None where absent."""
        index = self.inputs[position] if position < len(self.inputs) else ABSENT
        return None if index == ABSENT else index


@dataclass(frozen=True, eq=False)
class SubgraphInfo:
    """One graph of the file; 0 is the main one. Operators stand in execution order."""

    index: int
    name: str
    tensors: tuple[TensorInfo, ...]
    operators: tuple[OperatorInfo, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def producers(self) -> dict[int, OperatorInfo]:
        """Return the operator that writes each tensor, by tensor index."""
        return {tensor: operator for operator in self.operators for tensor in operator.outputs}

    def consumers(self) -> dict[int, list[OperatorInfo]]:
        """Return the operators that read each tensor, by tensor index, in execution order."""
        readers: dict[int, list[OperatorInfo]] = {}
        for operator in self.operators:
            for tensor in dict.fromkeys(operator.inputs):
                if tensor != ABSENT:
                    readers.setdefault(tensor, []).append(operator)
        return readers


@dataclass(frozen=True)
class SignatureInfo:
    """A named entry: the names under which a subgraph's tensors are passed."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class MetadataInfo:
    """A named block of bytes in the file."""

    name: str
    buffer: int
    stored_bytes: int


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """A whole .tflite file. The content of buffers stays in `content` until it is asked for with `buffer`."""

    description: str
    schema_version: int
    subgraphs: tuple[SubgraphInfo, ...]
    signatures: tuple[SignatureInfo, ...]
    metadata: tuple[MetadataInfo, ...]
    content: memoryview = field(repr=False)
    extents: tuple[tuple[int, int], ...] = field(repr=False)
    outside: Mapping[int, memoryview] = field(default_factory=dict, repr=False)

    @property
    def main(self) -> SubgraphInfo:
        """The graph that runs."""
        return self.subgraphs[0]

    @property
    def is_edgetpu_compiled(self) -> bool:
        """Whether Google's Edge TPU compiler made the file."""
        return any(op.custom_code == EDGE_TPU_OPERATOR for graph in self.subgraphs for op in graph.operators)

    def buffer(self, index: int) -> memoryview:
        """Return the bytes of a buffer without copying; empty where the file holds none."""
        start, size = self.extents[index]
        return self.content[start : start + size]

    def stored(self, tensor: TensorInfo) -> memoryview:
        """Return a constant tensor's bytes as stored, without copying; empty where it is no constant."""
        if tensor.external_buffer is not None:
            return self.outside[tensor.external_buffer]
        return self.buffer(tensor.buffer)
