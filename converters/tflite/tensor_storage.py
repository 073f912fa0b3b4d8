"""Describes how the content of a tensor is stored: its quantization and its sparse encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.tflite import schema
from converters.tflite.flatbuffer import UNKNOWN, Damage, Record


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


def read_quantization(record: Record | None) -> QuantizationInfo | None:
    """Return a tensor's quantization; None where the table is absent or empty."""
    if record is None:
        return None
    details = schema.name_in(schema.UNIONS["QuantizationDetails"], record["details_type"], "QuantizationDetails")
    scales = () if record["scale"] is None else tuple(record["scale"].tolist())
    if not scales and details == "NONE":
        return None
    return QuantizationInfo(
        scales=scales,
        zero_points=record.ints("zero_point") or (0,) * len(scales),
        axis=record["quantized_dimension"],
        details=None if details == "NONE" else details,
    )


def read_sparsity(record: Record | None) -> SparsityInfo | None:
    """Return how a tensor is stored; None where it is dense.

    Raises:
        Damage: a level has an unknown format, or lacks its segments or indices.
    """
    if record is None:
        return None
    return SparsityInfo(
        traversal_order=record.ints("traversal_order"),
        block_map=record.ints("block_map"),
        dimensions=tuple(map(_sparse_dimension, record.records("dim_metadata"))),
    )


def _sparse_dimension(record: Record) -> SparseDimension:
    kind = schema.enum_name("DimensionType", record["format"])
    if kind == "DENSE":
        return SparseDimension(compressed=False, dense_size=record["dense_size"])
    if kind != "SPARSE_CSR":
        raise Damage(f"a level has the format {record['format']}", path=record.path, at=record.at)
    segments, segment_bytes = _index_vector(record, "array_segments")
    indices, index_bytes = _index_vector(record, "array_indices")
    return SparseDimension(
        compressed=True,
        dense_size=record["dense_size"],
        segments=segments,
        indices=indices,
        index_bytes=segment_bytes + index_bytes,
    )


def _index_vector(record: Record, name: str) -> tuple[NDArray[np.int64], int]:
    vector: Record | None = record[name]
    if vector is None or vector.table == UNKNOWN:
        raise Damage("a compressed level has no segments or no indices", path=record.path, at=record.at)
    values: NDArray[Any] = np.zeros(0, np.int32) if vector["values"] is None else vector["values"]
    return values.astype(np.int64), values.nbytes


def read_shapes(record: Record) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return a tensor's shape with 1 for open sizes, and the shape with -1 for them, None where there are none."""
    shape, signature = record.ints("shape"), record.ints("shape_signature")
    if any(size < -1 for size in shape + signature):
        what = f"the dimensions are {list(shape)}, {list(signature)}"
        raise Damage(what, path=f"{record.path}.shape", at=record.at)
    if len(signature) != len(shape):
        signature = shape
    signature = tuple(-1 if -1 in pair else pair[1] for pair in zip(shape, signature, strict=True))
    closed = tuple(1 if size == -1 else size for size in shape)
    return closed, signature if signature != closed else None
