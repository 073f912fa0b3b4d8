"""Compressed rows in blocks, and int8 rows: pure arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.sparse.encoding import decode, encode, encode_smallest, quantize_rows


@given(
    groups=st.integers(1, 5), columns=st.integers(1, 300), block=st.sampled_from([1, 2, 4]),
    share=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_every_matrix_comes_back(groups, columns, block, share, seed):
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(groups * 4, columns)).astype(np.float32)
    matrix[random.uniform(size=matrix.shape) < share] = 0
    rows = encode(matrix, block)
    assert len(rows.values), "a tensor without content is no constant"
    assert len(rows.values) == block * len(rows.indices)
    np.testing.assert_array_equal(decode(rows, matrix.shape), matrix)


def test_blocks_share_one_index():
    matrix = np.array([[0, 1, 0, 0], [0, 2, 0, 3]], np.int8)
    rows = encode(matrix, 2)
    assert (rows.values.tolist(), rows.segments.tolist(), rows.indices.tolist()) == ([1, 2, 0, 3], [0, 2], [1, 3])
    single = encode(matrix, 1)
    assert (single.values.tolist(), single.segments.tolist(), single.indices.tolist()) == (
        [1, 2, 3],
        [0, 1, 3],
        [1, 1, 3],
    )


@pytest.mark.parametrize("block", [1, 2, 4])
def test_the_smallest_encoding_is_the_block_that_was_pruned(block):
    random = np.random.default_rng(5)
    kept = np.repeat(random.uniform(size=(32 // block, 200)) < 0.1, block, axis=0)
    matrix = np.where(kept, random.integers(1, 100, (32, 200)), 0).astype(np.int8)
    assert encode_smallest(matrix).block == block


def test_odd_rows_are_no_blocks():
    matrix = np.ones((3, 4), np.int8)
    assert encode_smallest(matrix).block == 1


@pytest.mark.parametrize(("columns", "dtype"), [(256, "uint8"), (257, "uint16"), (65_537, "int32")])
def test_indices_are_as_narrow_as_they_can_be(columns, dtype):
    matrix = np.zeros((1, columns), np.int8)
    matrix[0, -1] = 1
    assert encode(matrix, 1).indices.dtype == dtype


def test_int8_rows():
    matrix = np.array([[0, 1.27, -0.64], [0, 0, 0], [-1e-3, 0, 5e-4], [1e-45, 0, 0]], np.float32)
    rows = quantize_rows(matrix)
    assert rows.values.tolist() == [[0, 127, -64], [0, 0, 0], [-127, 0, 64], [0, 0, 0]]
    np.testing.assert_allclose(rows.scales, [0.01, 1, 1e-3 / 127, 1], rtol=1e-6)


@given(seed=st.integers(0, 99), size=st.floats(1e-30, 1e30))
def test_int8_rows_are_within_half_a_step_and_zeros_stay(seed, size):
    random = np.random.default_rng(seed)
    matrix = (random.normal(size=(4, 30)) * size).astype(np.float32)
    matrix[random.uniform(size=matrix.shape) < 0.5] = 0
    rows = quantize_rows(matrix)
    assert (rows.values[matrix == 0] == 0).all()
    error = np.abs(rows.values * rows.scales[:, None].astype(np.float64) - matrix)
    assert (error <= rows.scales[:, None] * 0.5001).all()
