"""A matrix with many zeros as TensorFlow Lite stores it: compressed rows, of single elements or of blocks.

Source of the format: TFLite's schema (SparsityParameters). A block is 1, 2 or 4 neighbouring rows (output channels)
that share a column (input channel): its index is stored once, its elements stand together. Elements of a stored block
may be zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCKS = (4, 2, 1)
Matrix = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseRows:
    """One encoded matrix of shape (rows, columns).

    Attributes:
        block: rows that share an index.
        values: the elements of all stored blocks, row group after row group, columns ascending.
        segments: where each row group's indices begin, and behind the last one their number.
        indices: the columns of the stored blocks.
    """

    block: int
    values: NDArray[Any]
    segments: NDArray[np.integer[Any]]
    indices: NDArray[np.integer[Any]]

    @property
    def size_bytes(self) -> int:
        """What the file holds for it."""
        return self.values.nbytes + self.segments.nbytes + self.indices.nbytes


def encode(matrix: Matrix, block: int) -> SparseRows:
    """Encode a matrix in blocks of rows; `block` divides the number of rows.

    Of a matrix of zeros the first block is stored: a tensor without any content would be no constant.
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
