"""Reads the content of constant tensors as NumPy arrays: packed, sparse and quantized ones alike.

Source of the sparse format: TFLite's schema (SparsityParameters), after Kjolstad et al., "The Tensor Algebra Compiler".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import ModelFileError
from converters.tflite.schema import ELEMENT_BITS
from converters.tflite.tensor_storage import SparsityInfo
from converters.tflite.values import ModelInfo, TensorInfo

Array = NDArray[Any]
_PACKED = {"int4": (4, True), "uint4": (4, False), "int2": (2, True)}
_WITHOUT_NUMPY = frozenset({"float8_e4m3fn", "float8_e5m2"})


def read_stored_values(model: ModelInfo, tensor: TensorInfo) -> Array:
    """Return the elements as the file stores them, in stored order: 1-D, of a sparse tensor only what is stored.

    4-bit and 2-bit elements come as int8 or uint8, bfloat16 as float32; other types as themselves, without a copy.

    Raises:
        ModelFileError: the type has no fixed size, or the bytes are too few, too many or not whole elements.
    """
    data = model.content_of(tensor)
    if tensor.dtype in _PACKED:
        values = _unpack(data, *_PACKED[tensor.dtype])
        values = values[: tensor.elements] if tensor.sparsity is None else values
    else:
        values = _view(data, tensor)
    if tensor.sparsity is None and len(values) != tensor.elements:
        raise ModelFileError(
            f"the tensor {tensor.name!r} of shape {list(tensor.shape)} needs {tensor.elements} elements of "
            f"{tensor.dtype}, the file stores {len(values)}"
        )
    return values


def read_dense_values(model: ModelInfo, tensor: TensorInfo) -> Array:
    """Return a constant's elements in its shape, still quantized; elements that a sparse tensor leaves out are 0.

    Raises:
        ModelFileError: as `read_stored_values`, and where sparse indices lead outside the shape.
    """
    values = read_stored_values(model, tensor)
    if tensor.sparsity is None:
        return values.reshape(tensor.shape)
    dense = np.zeros(tensor.elements, values.dtype)
    dense[flat_positions(tensor, len(values))] = values
    return dense.reshape(tensor.shape)


def read_real_values(model: ModelInfo, tensor: TensorInfo) -> Array:
    """Return a constant's elements in its shape, dequantized to float32 where the tensor is quantized."""
    values = read_dense_values(model, tensor)
    quantization = tensor.quantization
    if quantization is None or not quantization.scales:
        return values
    scales = np.asarray(quantization.scales, np.float32)
    zeros = np.asarray(quantization.zero_points, np.float32)
    if quantization.per_channel:
        scales, zeros = (_along(item, tensor, quantization.axis) for item in (scales, zeros))
    return (values.astype(np.float32) - zeros) * scales


def count_zeros(model: ModelInfo, tensor: TensorInfo) -> int:
    """Count the elements whose real value is 0: stored at the zero point, or left out of a sparse tensor."""
    values = read_stored_values(model, tensor)
    points = () if tensor.quantization is None else tensor.quantization.zero_points
    if len(set(points)) > 1:
        assert tensor.quantization is not None
        grid = _along(np.asarray(points), tensor, tensor.quantization.axis)
        return int(np.count_nonzero(read_dense_values(model, tensor) == grid))
    nonzero = np.count_nonzero(values != points[0]) if points and points[0] else np.count_nonzero(values)
    return tensor.elements - int(nonzero)


def flat_positions(tensor: TensorInfo, count: int) -> NDArray[np.int64]:
    """Return where each stored element of a sparse tensor belongs in the flattened dense tensor.

    Args:
        tensor: a tensor with sparsity.
        count: how many elements are stored.

    Raises:
        ModelFileError: the index structure does not fit the shape or the number of elements.
    """
    assert tensor.sparsity is not None
    try:
        coordinates = _coordinates(tensor.sparsity, limit=max(tensor.elements, 1))
        position = np.zeros(count, np.int64)
        for dimension, size in enumerate(tensor.shape):
            position = position * size + _original(tensor.sparsity, coordinates, dimension, size)
    except (ValueError, IndexError, KeyError) as error:
        raise ModelFileError(f"the sparse tensor {tensor.name!r} is damaged: {error}") from error
    return position


def _coordinates(sparsity: SparsityInfo, *, limit: int) -> dict[int, NDArray[np.int64]]:
    """Expand the levels from the outermost in: for every stored element, its coordinate on each stored dimension."""
    coordinates: dict[int, NDArray[np.int64]] = {}
    nodes = np.zeros(1, np.int64)
    for level, dimension in zip(sparsity.traversal_order, sparsity.dimensions, strict=True):
        if dimension.compressed:
            assert dimension.segments is not None
            assert dimension.indices is not None
            starts, ends = dimension.segments[nodes], dimension.segments[nodes + 1]
            parents = np.repeat(np.arange(len(nodes)), ends - starts)
            children = np.arange(len(parents)) - np.repeat(np.cumsum(ends - starts) - (ends - starts), ends - starts)
            nodes = children + np.repeat(starts, ends - starts)
            own = dimension.indices[nodes]
        else:
            if len(nodes) * dimension.dense_size > limit:
                raise ValueError("its dimensions are larger than its shape")
            parents = np.repeat(np.arange(len(nodes)), dimension.dense_size)
            own = np.tile(np.arange(dimension.dense_size), len(nodes))
            nodes = nodes[parents] * dimension.dense_size + own
        coordinates = {key: value[parents] for key, value in coordinates.items()} | {level: own}
    return coordinates


def _original(
    sparsity: SparsityInfo, coordinates: dict[int, NDArray[np.int64]], dimension: int, size: int
) -> NDArray[np.int64]:
    own = coordinates[dimension]
    rank = len(sparsity.dimensions) - len(sparsity.block_map)
    if dimension in sparsity.block_map:
        place = sparsity.block_map.index(dimension)
        block_size = sparsity.dimensions[sparsity.traversal_order.index(rank + place)].dense_size
        own = own * block_size + coordinates[rank + place]
    if len(own) and not 0 <= own.min() <= own.max() < size:
        raise ValueError(f"an index leads outside dimension {dimension} of size {size}")
    return own


def _along(values: Array, tensor: TensorInfo, axis: int) -> Array:
    if not 0 <= axis < len(tensor.shape) or len(values) != tensor.shape[axis]:
        raise ModelFileError(
            f"the tensor {tensor.name!r} of shape {list(tensor.shape)} has {len(values)} scales along axis {axis}"
        )
    return values.reshape([-1 if dimension == axis else 1 for dimension in range(len(tensor.shape))])


def _view(data: memoryview, tensor: TensorInfo) -> Array:
    bits = ELEMENT_BITS.get(tensor.dtype)
    if bits is None or tensor.dtype in _WITHOUT_NUMPY:
        raise ModelFileError(f"the tensor {tensor.name!r} holds {tensor.dtype}, which cannot be read as numbers")
    if len(data) % (bits // 8):
        raise ModelFileError(f"the tensor {tensor.name!r} ends within an element: {len(data)} bytes of {tensor.dtype}")
    if tensor.dtype == "bfloat16":
        widened: Array = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return widened.view(np.float32)
    values: Array = np.frombuffer(data, np.dtype(tensor.dtype))
    return values


def _unpack(data: memoryview, bits: int, signed: bool) -> Array:
    """Split bytes into elements of 4 or 2 bits, the lowest bits first."""
    packed = np.frombuffer(data, np.uint8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = ((packed[:, None] >> shifts) & (2**bits - 1)).reshape(-1)
    if not signed:
        return np.asarray(fields)
    return np.asarray((fields.astype(np.int8) ^ 2 ** (bits - 1)) - 2 ** (bits - 1)).astype(np.int8)
