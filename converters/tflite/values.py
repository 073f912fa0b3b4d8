"""Holds what a .tflite file contains: tensors, operators, subgraphs, signatures, metadata.

Every name is the schema's own (`CONV_2D`, `SAME`, `RELU6`), except that element types are written as NumPy writes them
(`float32`, `int8`). Indices are positions in the file, so that a later pass can find the object it means.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.tflite import schema
from converters.tflite.flatbuffer import Damage, Record

FLOATS = frozenset({"float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"})
EDGE_TPU_OPERATOR = "edgetpu-custom-op"
CUSTOM = "CUSTOM"
ABSENT = -1
_NO_RECORD = Record("", "", 0, {})
_OPTION_ENUMS = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "mode": "MirrorPadMode",
}
_OPTION_TYPES = frozenset({"in_data_type", "out_data_type", "quantized_bias_type", "output_type"})
_SUBGRAPH_LISTS = ("branch_subgraph_indices", "called_computations")


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
    `record` is the table in the file, for checks of what is stored and for messages.
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
    record: Record = field(default=_NO_RECORD, repr=False)

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
        bits = schema.ELEMENT_BITS.get(self.dtype)
        return None if bits is None else (self.elements * bits + 7) // 8

    @property
    def scales(self) -> tuple[float, ...]:
        """The scales of its quantization; empty where there are none."""
        return () if self.quantization is None else self.quantization.scales


@dataclass(frozen=True, eq=False)
class OptionsInfo:
    """An operator's options: `stored` as in the file, `fields` with words for enumerations, both by the schema's names.

    The properties are what many operators share.
    """

    kind: str
    stored: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """All options that are there: numbers, texts, words of enumerations, tuples."""
        return MappingProxyType({
            name: _readable(name, value) for name, value in self.stored.items() if value is not None
        })  # fmt: skip

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
        return self.stored.get("depth_multiplier")

    @property
    def subgraphs(self) -> tuple[int, ...]:
        """Subgraphs that the operator runs (IF, WHILE, CALL_ONCE, ...)."""
        return tuple(index for _, index in self.subgraph_references())

    def subgraph_references(self) -> Iterator[tuple[str, int]]:
        """Yield each subgraph that the operator runs, with the option that names it."""
        for name, value in self.stored.items():
            if name.endswith(("subgraph_index", "subgraph")):
                yield name, value
            elif name in _SUBGRAPH_LISTS and value is not None:
                yield from ((name, index) for index in value.tolist())

    def _pair(self, height: str, width: str) -> tuple[int, int] | None:
        return (self.stored[height], self.stored[width]) if height in self.stored and width in self.stored else None


def _readable(name: str, value: Any) -> Any:  # noqa: ANN401  (its type depends on the option)
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    if name in _OPTION_ENUMS and isinstance(value, int):
        return schema.enum_name(_OPTION_ENUMS[name], value)
    if name in _OPTION_TYPES and isinstance(value, int):
        return schema.name_in(schema.TENSOR_TYPES, value, "TensorType")
    return value


NO_OPTIONS = OptionsInfo("NONE")


@dataclass(frozen=True, eq=False)
class OperatorInfo:
    """One operator; `name` is the schema's (CONV_2D) or the custom code. Inputs are tensor indices, -1 where absent.

    `record` is the table in the file, for messages.
    """

    index: int
    name: str
    version: int
    custom_code: str | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...] = ()
    options: OptionsInfo = NO_OPTIONS
    custom_options: memoryview = field(default_factory=lambda: memoryview(b""))
    record: Record = field(default=_NO_RECORD, repr=False)

    @property
    def is_custom(self) -> bool:
        """Whether the operator is none of the schema's builtin ones."""
        return self.custom_code is not None

    @property
    def builtin(self) -> str:
        """The schema's name: CUSTOM for all custom operators."""
        return CUSTOM if self.is_custom else self.name

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
    record: Record = field(default=_NO_RECORD, repr=False)

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
    """A whole .tflite file. The buffers view the file's bytes, nothing is copied.

    Attributes:
        name: What messages call the file.
        description: As in the file.
        schema_version: As in the file; 3 is the one that exists.
        subgraphs: The graphs; the first one is run.
        signatures: The named entries.
        metadata: The named blocks of bytes.
        content: The file.
        buffers: The bytes of each buffer; empty where the file holds none.
        outside: What is stored in other files, by the number of the external buffer.
        record: The root table.
        unsupported: What can be looked at and must not be run; `verify_model` refuses the file for it.
    """

    name: str
    description: str
    schema_version: int
    subgraphs: tuple[SubgraphInfo, ...]
    signatures: tuple[SignatureInfo, ...]
    metadata: tuple[MetadataInfo, ...]
    content: bytes = field(repr=False)
    buffers: tuple[memoryview, ...] = field(repr=False)
    outside: Mapping[int, memoryview] = field(default_factory=dict, repr=False)
    record: Record = field(default=_NO_RECORD, repr=False)
    unsupported: tuple[Damage, ...] = field(default=(), repr=False)

    @property
    def main(self) -> SubgraphInfo:
        """The graph that runs."""
        return self.subgraphs[0]

    @property
    def is_edgetpu_compiled(self) -> bool:
        """Whether Google's Edge TPU compiler made the file."""
        return any(operator.custom_code == EDGE_TPU_OPERATOR for operator in self.operators())

    def operators(self) -> Iterator[OperatorInfo]:
        """Yield the operators of all graphs."""
        return (operator for graph in self.subgraphs for operator in graph.operators)

    def stored(self, tensor: TensorInfo) -> memoryview:
        """Return a constant tensor's bytes as stored, without copying; empty where it is no constant."""
        if tensor.external_buffer is not None:
            return self.outside[tensor.external_buffer]
        return self.buffers[tensor.buffer] if tensor.is_constant else memoryview(b"")
