"""Holds what a .tflite file contains: tensors, operators, subgraphs, signatures, metadata.

Every name is the schema's own (`CONV_2D`, `SAME`, `RELU6`), except that element types are written as NumPy writes them
(`float32`, `int8`). Indices are positions in the file, so that a later pass can find the object it means.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from converters.tflite import schema
from converters.tflite.flatbuffer import Damage, Record
from converters.tflite.operator_options import NO_OPTIONS, OptionsInfo
from converters.tflite.tensor_storage import QuantizationInfo, SparsityInfo

FLOATS = frozenset({"float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"})
EDGE_TPU_OPERATOR = "edgetpu-custom-op"
CUSTOM = "CUSTOM"
ABSENT = -1
_NO_RECORD = Record("", "", 0, {})


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
        """Whether the operator is not one of the schema's builtin ones."""
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
    """One graph of the file; 0 is the main one. Operators are in execution order."""

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
        name: The file's name in messages.
        description: As in the file.
        schema_version: As in the file; the only known one is 3.
        subgraphs: The graphs; the first one is run.
        signatures: The named entries.
        metadata: The named blocks of bytes.
        content: The file.
        buffers: The bytes of each buffer; empty where the file holds none.
        outside: Content stored in other files, by the number of the external buffer.
        record: The root table.
        unsupported: Findings that reading tolerates and `verify_model` refuses the file for.
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

    def content_of(self, tensor: TensorInfo) -> memoryview:
        """Return a constant tensor's bytes as stored, without copying; empty where it is no constant."""
        if tensor.external_buffer is not None:
            return self.outside[tensor.external_buffer]
        return self.buffers[tensor.buffer] if tensor.is_constant else memoryview(b"")
