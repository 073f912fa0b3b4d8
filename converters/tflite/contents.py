"""What a TFLite file holds, as values: the checked records turned into tensors, operators and subgraphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.tflite import schema
from converters.tflite.flatbuffer import Damage, Record

ByteArray = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        path: Where in the model.
        at: Its table's first byte in the file.
        name: As in the file; may be empty.
        type: The schema's word, such as INT8.
        shape: Dimensions as stored (a dimension that may change is stored as 1, or as -1).
        signature: Dimensions with -1 for those that may change, () where none may.
        data: Its constant bytes; None where it is computed, given or variable.
        variable: Whether it keeps its value between runs.
        quantization: The table, or None.
        sparsity: The table, or None.
    """

    path: str
    at: int
    name: str
    type: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    data: ByteArray | None
    variable: bool
    quantization: Record | None
    sparsity: Record | None

    @property
    def elements(self) -> int:
        """The number of elements, counting each dimension that may change as 1."""
        return math.prod(abs(size) for size in self.shape)

    @property
    def bytes_needed(self) -> int | None:
        """Bytes of a dense value; None for types without a fixed size."""
        bits = schema.ELEMENT_BITS.get(self.type)
        return None if bits is None else (self.elements * bits + 7) // 8

    def integers(self) -> tuple[int, ...] | None:
        """Return the constant's values where it is of an integer type and plainly stored, else None."""
        kinds = {"INT32": "<i4", "INT64": "<i8", "INT16": "<i2", "INT8": "i1", "UINT8": "u1", "UINT32": "<u4"}
        if self.data is None or self.sparsity is not None or self.type not in kinds:
            return None
        return tuple(self.data.view(kinds[self.type]).tolist())

    def scales(self) -> tuple[float, ...]:
        """Return the quantization's scales, () where there are none."""
        vector = None if self.quantization is None else self.quantization["scale"]
        return () if vector is None else tuple(vector.tolist())

    def zero_points(self) -> tuple[int, ...]:
        """Return the quantization's zero points, () where there are none."""
        return () if self.quantization is None else self.quantization.ints("zero_point")


@dataclass(frozen=True)
class Operator:
    """One operator of a subgraph; `op` is the schema's word, `custom` the name of a custom operator."""

    path: str
    at: int
    op: str
    custom: str | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Record | None
    custom_options: ByteArray | None = None


@dataclass(frozen=True)
class Subgraph:
    """One subgraph: its tensors, what goes in and out, and the operators in the order they run."""

    path: str
    at: int
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[Operator, ...]


@dataclass(frozen=True)
class Contents:
    """The whole file."""

    root: Record
    subgraphs: tuple[Subgraph, ...]


def contents_of(root: Record, data: bytes) -> Contents:
    """Turn checked records into values, checking what refers by number to buffers and operator codes.

    Raises:
        Damage: A number refers to nothing, a buffer lies outside the file, or a code is unknown.
    """
    if root["version"] != schema.VERSION:
        raise Damage(
            f"the schema's version is {root['version']}; only {schema.VERSION} is known", path="version", at=root.at
        )
    buffers = tuple(_buffer(record, data) for record in root.records("buffers"))
    codes = tuple(_code(record) for record in root.records("operator_codes"))
    return Contents(root, tuple(_subgraph(record, buffers, codes) for record in root.records("subgraphs")))


def _subgraph(record: Record, buffers: Sequence[ByteArray], codes: Sequence[tuple[str, str | None]]) -> Subgraph:
    return Subgraph(
        record.path,
        record.at,
        tuple(
            _tensor(tensor, f"{record.path}.tensors[{i}]", buffers)
            for i, tensor in enumerate(record.records("tensors"))
        ),
        record.ints("inputs"),
        record.ints("outputs"),
        tuple(
            _operator(operator, f"{record.path}.operators[{i}]", codes)
            for i, operator in enumerate(record.records("operators"))
        ),
    )


def _tensor(record: Record, path: str, buffers: Sequence[ByteArray]) -> Tensor:
    if record["type"] not in range(len(schema.TENSOR_TYPES)):
        raise Damage(
            f"the type is {record['type']}; the last known is {len(schema.TENSOR_TYPES) - 1}", path=path, at=record.at
        )
    if record["external_buffer"]:
        raise Damage("its values lie in another file, which is not supported", path=path, at=record.at)
    index, data = record["buffer"], None
    if index >= max(len(buffers), 1):
        raise Damage(f"refers to buffer {index}; there are {len(buffers)}", path=f"{path}.buffer", at=record.at)
    if index and len(buffers[index]):
        data = buffers[index]
    return Tensor(
        path=path,
        at=record.at,
        name=record["name"] or "",
        type=schema.TENSOR_TYPES[record["type"]],
        shape=record.ints("shape"),
        signature=record.ints("shape_signature"),
        data=data,
        variable=bool(record["is_variable"]),
        quantization=record["quantization"],
        sparsity=record["sparsity"],
    )


def _operator(record: Record, path: str, codes: Sequence[tuple[str, str | None]]) -> Operator:
    index = record["opcode_index"]
    if index >= len(codes):
        raise Damage(
            f"refers to operator code {index}; there are {len(codes)}", path=f"{path}.opcode_index", at=record.at
        )
    op, custom = codes[index]
    if record["builtin_options"] is not None and record["builtin_options2"] is not None:
        raise Damage("has options of two kinds", path=path, at=record.at)
    if record["large_custom_options_size"] or record["large_custom_options_offset"]:
        raise Damage("has custom options outside the model's tables, which is not supported", path=path, at=record.at)
    return Operator(
        path=path,
        at=record.at,
        op=op,
        custom=custom,
        inputs=record.ints("inputs"),
        outputs=record.ints("outputs"),
        intermediates=record.ints("intermediates"),
        options=record["builtin_options"] or record["builtin_options2"],
        custom_options=record["custom_options"],
    )


def _code(record: Record) -> tuple[str, str | None]:
    code = max(record["deprecated_builtin_code"], record["builtin_code"])
    if code not in range(len(schema.OPERATORS)):
        raise Damage(
            f"the operator code is {code}; the last known is {len(schema.OPERATORS) - 1}",
            path=record.path,
            at=record.at,
        )
    op = schema.OPERATORS[code]
    if op in ("DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES") or record["version"] < 1:
        raise Damage(
            f"{op} version {record['version']} is no operator that a file may hold", path=record.path, at=record.at
        )
    if op == "CUSTOM" and not record["custom_code"]:
        raise Damage("a custom operator without a name", path=record.path, at=record.at)
    return op, record["custom_code"] if op == "CUSTOM" else None


def _buffer(record: Record, data: bytes) -> ByteArray:
    offset, size = record["offset"], record["size"]
    if offset <= 1:  # 0 and 1 stand for "the bytes are in `data`"
        stored: ByteArray | None = record["data"]
        return np.zeros(0, np.uint8) if stored is None else stored
    if offset + size > len(data):
        raise Damage(f"claims {size} bytes at {offset}; the file has {len(data)} bytes", path=record.path, at=record.at)
    return np.frombuffer(data, np.uint8, size, offset)
