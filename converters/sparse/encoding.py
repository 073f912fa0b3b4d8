"""Encodes weights as sparse .tflite files store them: compressed rows of single elements or blocks, and int8 rows.

Source of the format: TFLite's schema (SparsityParameters). A block is 1, 2 or 4 neighbouring rows (output channels)
that share a column (input channel): its index is stored once, its elements stand together. Elements of a stored block
may be zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.tflite import schema
from converters.tflite.writer import SchemaTable

BLOCKS = (4, 2, 1)
_LARGEST_INT8 = 127
_VECTORS = {"uint8": "Uint8Vector", "uint16": "Uint16Vector", "int32": "Int32Vector"}
Matrix = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseRows:
    """One encoded matrix of shape (rows, columns).

    Attributes:
        block: rows that share an index.
        values: the elements of all stored blocks, row group after row group, columns ascending.
        segments: where each row group's indices begin, and after the last one their number.
        indices: the columns of the stored blocks.
    """

    block: int
    values: NDArray[Any]
    segments: NDArray[np.integer[Any]]
    indices: NDArray[np.integer[Any]]

    @property
    def size_bytes(self) -> int:
        """Bytes in the file."""
        return self.values.nbytes + self.segments.nbytes + self.indices.nbytes


def encode(matrix: Matrix, block: int) -> SparseRows:
    """Encode a matrix in blocks of rows; `block` divides the number of rows.

    Of a matrix of zeros the first block is stored: a tensor without content would not be a constant.
    """
    rows, columns = matrix.shape
    blocks = matrix.reshape(rows // block, block, columns).transpose(0, 2, 1)
    stored = (blocks != 0).any(axis=2)
    stored[0, 0] |= not stored.any()
    segments = np.concatenate([[0], np.cumsum(stored.sum(axis=1))])
    return SparseRows(
        block=block,
        values=blocks[stored].reshape(-1),
        segments=_narrow(segments),
        indices=_narrow(np.nonzero(stored)[1]),
    )


def encode_smallest(matrix: Matrix) -> SparseRows:
    """Encode a matrix with the block that takes the fewest bytes."""
    possible = [encode(matrix, block) for block in BLOCKS if matrix.shape[0] % block == 0]
    return min(possible, key=lambda rows: rows.size_bytes)


def decode(rows: SparseRows, shape: tuple[int, int]) -> Matrix:
    """Return the matrix of an encoding."""
    blocks = np.zeros((shape[0] // rows.block, shape[1], rows.block), rows.values.dtype)
    groups = np.repeat(np.arange(len(blocks)), np.ediff1d(rows.segments.astype(np.int64)))
    blocks[groups, rows.indices] = rows.values.reshape(-1, rows.block)
    return blocks.transpose(0, 2, 1).reshape(shape)


def _narrow(numbers: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """Return the numbers in the narrowest of the three types the schema has for indices."""
    largest = int(numbers.max(initial=0))
    return numbers.astype(np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.int32)


def describe_sparsity(rows: SparseRows, shape: tuple[int, ...]) -> SchemaTable:
    """Return compressed rows as the schema's table: all dimensions in order, the last one compressed, blocks innermost.

    Args:
        rows: the encoded matrix.
        shape: the tensor's, (rows, 1, ..., 1, columns).
    """
    blocked = rows.block > 1
    levels = [*map(_describe_dense, (shape[0] // rows.block, *shape[1:-1])), _describe_compressed(rows)]
    return SchemaTable(
        "SparsityParameters",
        traversal_order=np.arange(len(shape) + blocked, dtype=np.int32),
        block_map=np.zeros(1, np.int32) if blocked else None,
        dim_metadata=[*levels, _describe_dense(rows.block)] if blocked else levels,
    )


def _describe_dense(size: int) -> SchemaTable:
    return SchemaTable("DimensionMetadata", format=schema.ENUMS["DimensionType"].index("DENSE"), dense_size=size)


def _describe_compressed(rows: SparseRows) -> SchemaTable:
    return SchemaTable(
        "DimensionMetadata",
        format=schema.ENUMS["DimensionType"].index("SPARSE_CSR"),
        array_segments=SchemaTable(_VECTORS[rows.segments.dtype.name], values=rows.segments),
        array_indices=SchemaTable(_VECTORS[rows.indices.dtype.name], values=rows.indices),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Rows:
    """A matrix of (output channels, inputs) as `values * scales[:, None]`."""

    values: NDArray[np.int8]
    scales: NDArray[np.float32]


def quantize_rows(matrix: NDArray[Any]) -> Int8Rows:
    """Quantize each row so that its largest magnitude becomes 127; rows of zeros have the scale 1."""
    real = matrix.astype(np.float64)
    largest = np.abs(real).max(axis=1, initial=0.0)
    scales = (largest / _LARGEST_INT8).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # a row of zeros, or too small to divide by
    steps = np.rint(real / scales[:, None].astype(np.float64))
    return Int8Rows(values=np.clip(steps, -_LARGEST_INT8, _LARGEST_INT8).astype(np.int8), scales=scales)


def describe_scales(rows: Int8Rows) -> SchemaTable:
    """Return one symmetric scale per row as the schema's table; equal zero points are one array, written once.

    With 17,000 channels the zero points alone would be 136 kB, twice for sparse tensors.
    """
    return SchemaTable("QuantizationParameters", scale=rows.scales, zero_point=_zero_points(len(rows.scales)))


@lru_cache(maxsize=64)
def _zero_points(count: int) -> NDArray[np.int64]:
    zeros = np.zeros(count, np.int64)
    zeros.flags.writeable = False
    return zeros
