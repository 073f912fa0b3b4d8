"""Checks single tensors: shape, size, constant bytes, quantization, sparsity."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from converters.tflite.flatbuffer import Damage, Record
from converters.tflite.values import ModelInfo, TensorInfo

MAX_TENSOR_BYTES = 2 << 30
MAX_RANK = 8
_ZERO_POINT_RANGES = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int4": (-8, 7),
    "int2": (-2, 1),
}


def check_tensor(model: ModelInfo, tensor: TensorInfo) -> None:
    """Check everything about a tensor that does not depend on other tensors.

    Raises:
        Damage: Something is not as native code expects it.
    """
    _check_shape(tensor)
    quantization, sparsity = tensor.record["quantization"], tensor.record["sparsity"]
    data = np.frombuffer(model.content_of(tensor), np.uint8)
    if quantization is not None:
        _check_quantization(tensor, quantization)
    if sparsity is not None:
        _check_sparsity(tensor, sparsity, len(data))
    elif tensor.is_constant:
        _check_constant(tensor, data)


def _refuse(tensor: TensorInfo, part: str, what: str) -> Damage:
    return Damage(what, path=f"{tensor.record.path}.{part}", at=tensor.record.at)


def _check_shape(tensor: TensorInfo) -> None:
    shape, signature = tensor.record.ints("shape"), tensor.record.ints("shape_signature")
    if len(shape) > MAX_RANK or len(signature) > MAX_RANK:
        raise _refuse(tensor, "shape", f"has {len(shape)} dimensions; runtimes take at most {MAX_RANK}")
    if signature:
        fits = [want in (-1, size) for want, size in zip(signature, shape, strict=False)]
        if len(signature) != len(shape) or not all(fits):
            what = f"the shape {list(shape)} contradicts the signature {list(signature)}"
            raise _refuse(tensor, "shape_signature", what)
    if (tensor.dense_bytes or 0) > MAX_TENSOR_BYTES:
        what = f"{list(shape)} elements of {tensor.dtype} take more than {MAX_TENSOR_BYTES} bytes"
        raise _refuse(tensor, "shape", what)


def _check_constant(tensor: TensorInfo, data: NDArray[np.uint8]) -> None:
    if tensor.dtype == "string":
        _check_strings(tensor, data)
        return
    need, shape = tensor.dense_bytes, tensor.record.ints("shape")
    if need is None or tensor.is_variable or -1 in shape:
        raise _refuse(tensor, "buffer", f"holds constant bytes although it is {tensor.dtype} of shape {list(shape)}")
    if len(data) != need:
        what = f"holds {len(data)} bytes; {list(shape)} elements of {tensor.dtype} take {need}"
        raise _refuse(tensor, "buffer", what)


def _check_strings(tensor: TensorInfo, data: NDArray[np.uint8]) -> None:
    """Check the layout of strings: their count, the offsets of their starts and of the end, then the bytes."""
    words = data[: len(data) // 4 * 4].view("<i4")
    count = int(words[0]) if len(words) else -1
    if count != tensor.elements or len(words) < count + 2:
        raise _refuse(
            tensor, "buffer", f"holds {count} strings in {len(data)} bytes; the shape is {list(tensor.shape)}"
        )
    offsets = [4 * (count + 2), *words[1 : count + 2].tolist(), len(data)]
    if any(late < early for early, late in pairwise(offsets)):
        raise _refuse(tensor, "buffer", "the strings lie outside their buffer")


def _check_quantization(tensor: TensorInfo, quantization: Record) -> None:
    scales, zeros = tensor.scales, quantization.ints("zero_point")
    path, kind = "quantization", quantization["details"]
    if kind is not None:
        raise _refuse(tensor, path, f"has {kind.table}, which is not supported")
    if not scales and not zeros:
        return
    if any(not math.isfinite(scale) or scale < 0 for scale in scales):
        raise _refuse(tensor, f"{path}.scale", "a scale is negative or not a number")
    if len(zeros) != len(scales):
        raise _refuse(tensor, path, f"has {len(scales)} scales and {len(zeros)} zero points")
    _check_channels(tensor, quantization["quantized_dimension"], len(scales))
    low, high = _ZERO_POINT_RANGES.get(tensor.dtype, (-(2**31), 2**31 - 1))
    if any(not low <= zero <= high for zero in zeros):
        raise _refuse(
            tensor, f"{path}.zero_point", f"a zero point lies outside {low} to {high}, the range of {tensor.dtype}"
        )
    if tensor.dtype in _ZERO_POINT_RANGES and any(scale < 2.0**-126 for scale in scales):
        raise _refuse(tensor, f"{path}.scale", "a scale is zero, or too small for arithmetic")


def _check_channels(tensor: TensorInfo, dimension: int, count: int) -> None:
    path = "quantization.quantized_dimension"
    if dimension and dimension not in range(len(tensor.shape)):
        raise _refuse(tensor, path, f"is {dimension}; the tensor has {len(tensor.shape)} dimensions")
    if count > 1 and (not tensor.shape or tensor.shape[dimension] != count):
        raise _refuse(
            tensor, "quantization", f"has {count} scales for dimension {dimension} of shape {list(tensor.shape)}"
        )


def _check_sparsity(tensor: TensorInfo, sparsity: Record, stored_bytes: int) -> None:
    """Check that walking the compressed form stays inside its vectors and the dense tensor."""
    order, blocks, levels = (
        sparsity.ints("traversal_order"),
        sparsity.ints("block_map"),
        sparsity.records("dim_metadata"),
    )
    rank = len(tensor.shape)
    if not tensor.is_constant or sorted(order) != list(range(len(order))) or len(order) != rank + len(blocks):
        raise _refuse(tensor, "sparsity", f"the traversal order {list(order)} does not fit {rank} dimensions")
    if len(levels) != len(order) or len(set(blocks)) != len(blocks) or not all(dim in range(rank) for dim in blocks):
        raise _refuse(tensor, "sparsity", f"has {len(levels)} levels and the block map {list(blocks)}")
    expected = _level_sizes(tensor, order, blocks, levels)
    positions = 1
    for level, size in zip(levels, expected, strict=True):
        positions = _check_level(tensor, level, size, positions)
    bits = (tensor.dense_bytes or 0) * 8 // max(tensor.elements, 1)
    if stored_bytes != (positions * bits + 7) // 8:
        raise _refuse(tensor, "buffer", f"holds {stored_bytes} bytes; the sparse form has {positions} values")


def _level_sizes(
    tensor: TensorInfo, order: tuple[int, ...], blocks: tuple[int, ...], levels: tuple[Record, ...]
) -> list[int]:
    """Return the size of each level: dimensions divided into blocks, and the blocks themselves."""
    rank = len(tensor.shape)
    sizes = {dim: level["dense_size"] for dim, level in zip(order, levels, strict=True) if dim >= rank}
    for block, dim in enumerate(blocks):
        size = sizes[rank + block]
        if size < 1 or tensor.shape[dim] % size:
            raise _refuse(tensor, "sparsity", f"blocks of {size} do not divide dimension {dim} of {list(tensor.shape)}")
    divided = {dim: tensor.shape[dim] for dim in range(rank)}
    for block, dim in enumerate(blocks):
        divided[dim] //= sizes[rank + block]
    return [{**divided, **sizes}[dim] for dim in order]


def _check_level(tensor: TensorInfo, level: Record, size: int, positions: int) -> int:
    """Check one level and return how many positions the next one has."""
    if level["format"] == 0:
        if level["dense_size"] != size:
            raise _refuse(
                tensor, "sparsity", f"a dense level has {level['dense_size']} entries; the shape gives {size}"
            )
        return min(positions * size, 1 << 40)
    segments = np.asarray(level["array_segments"].ints("values"), np.int64)
    indices = np.asarray(level["array_indices"].ints("values"), np.int64)
    if len(segments) != positions + 1 or segments[0] or segments[-1] != len(indices) or (np.diff(segments) < 0).any():
        raise _refuse(tensor, "sparsity", f"{len(segments)} segments do not cover {len(indices)} indices")
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        raise _refuse(tensor, "sparsity", f"an index lies outside 0 to {size - 1}")
    return len(indices)
