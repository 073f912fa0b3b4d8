"""Checks of single tensors: shape, size, constant bytes, quantization, sparsity."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from converters.tflite.contents import Tensor
from converters.tflite.flatbuffer import Damage, Record

MAX_TENSOR_BYTES = 2 << 30
MAX_RANK = 8
_ZERO_POINT_RANGES = {
    "UINT8": (0, 255),
    "INT8": (-128, 127),
    "INT16": (-32768, 32767),
    "INT4": (-8, 7),
    "INT2": (-2, 1),
}
_SPARSE_FORMATS = 2


def check_tensor(tensor: Tensor) -> None:
    """Check everything about a tensor that does not depend on other tensors.

    Raises:
        Damage: Something is not as native code trusts it to be.
    """
    _check_shape(tensor)
    if tensor.quantization is not None:
        _check_quantization(tensor, tensor.quantization)
    if tensor.sparsity is not None:
        _check_sparsity(tensor, tensor.sparsity)
    elif tensor.data is not None:
        _check_constant(tensor, tensor.data)


def _refuse(tensor: Tensor, part: str, what: str) -> Damage:
    return Damage(what, path=f"{tensor.path}.{part}", at=tensor.at)


def _check_shape(tensor: Tensor) -> None:
    if len(tensor.shape) > MAX_RANK or len(tensor.signature) > MAX_RANK:
        raise _refuse(tensor, "shape", f"has {len(tensor.shape)} dimensions; runtimes take at most {MAX_RANK}")
    if any(size < -1 for size in (*tensor.shape, *tensor.signature)):
        raise _refuse(tensor, "shape", f"the dimensions are {list(tensor.shape)}, {list(tensor.signature)}")
    if tensor.signature:
        fits = [want in (-1, size) for want, size in zip(tensor.signature, tensor.shape, strict=False)]
        if len(tensor.signature) != len(tensor.shape) or not all(fits):
            what = f"the shape {list(tensor.shape)} contradicts the signature {list(tensor.signature)}"
            raise _refuse(tensor, "shape_signature", what)
    if (tensor.bytes_needed or 0) > MAX_TENSOR_BYTES:
        what = f"{list(tensor.shape)} elements of {tensor.type} take more than {MAX_TENSOR_BYTES} bytes"
        raise _refuse(tensor, "shape", what)


def _check_constant(tensor: Tensor, data: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    if tensor.type == "STRING":
        _check_strings(tensor, data)
        return
    need = tensor.bytes_needed
    if need is None or tensor.variable or -1 in tensor.shape:
        raise _refuse(
            tensor, "buffer", f"holds constant bytes although it is {tensor.type} of shape {list(tensor.shape)}"
        )
    if len(data) != need:
        what = f"holds {len(data)} bytes; {list(tensor.shape)} elements of {tensor.type} take {need}"
        raise _refuse(tensor, "buffer", what)


def _check_strings(tensor: Tensor, data: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
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


def _check_quantization(tensor: Tensor, quantization: Record) -> None:
    scales, zeros = tensor.scales(), tensor.zero_points()
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
    low, high = _ZERO_POINT_RANGES.get(tensor.type, (-(2**31), 2**31 - 1))
    if any(not low <= zero <= high for zero in zeros):
        raise _refuse(
            tensor, f"{path}.zero_point", f"a zero point lies outside {low} to {high}, the range of {tensor.type}"
        )
    if tensor.type in _ZERO_POINT_RANGES and any(scale < 2.0**-126 for scale in scales):
        raise _refuse(tensor, f"{path}.scale", "a scale is zero, or too small for arithmetic")


def _check_channels(tensor: Tensor, dimension: int, count: int) -> None:
    path = "quantization.quantized_dimension"
    if dimension and dimension not in range(len(tensor.shape)):
        raise _refuse(tensor, path, f"is {dimension}; the tensor has {len(tensor.shape)} dimensions")
    if count > 1 and (not tensor.shape or tensor.shape[dimension] != count):
        raise _refuse(
            tensor, "quantization", f"has {count} scales for dimension {dimension} of shape {list(tensor.shape)}"
        )


def _check_sparsity(tensor: Tensor, sparsity: Record) -> None:
    """Check that walking the compressed form stays inside its vectors and the dense tensor."""
    order, blocks, levels = (
        sparsity.ints("traversal_order"),
        sparsity.ints("block_map"),
        sparsity.records("dim_metadata"),
    )
    rank = len(tensor.shape)
    if tensor.data is None or sorted(order) != list(range(len(order))) or len(order) != rank + len(blocks):
        raise _refuse(tensor, "sparsity", f"the traversal order {list(order)} does not fit {rank} dimensions")
    if len(levels) != len(order) or len(set(blocks)) != len(blocks) or not all(each in range(rank) for each in blocks):
        raise _refuse(tensor, "sparsity", f"has {len(levels)} levels and the block map {list(blocks)}")
    expected = _level_sizes(tensor, order, blocks, levels)
    positions = 1
    for level, size in zip(levels, expected, strict=True):
        positions = _check_level(tensor, level, size, positions)
    bits = (tensor.bytes_needed or 0) * 8 // max(tensor.elements, 1)
    if len(tensor.data) != (positions * bits + 7) // 8:
        raise _refuse(tensor, "buffer", f"holds {len(tensor.data)} bytes; the sparse form has {positions} values")


def _level_sizes(
    tensor: Tensor, order: tuple[int, ...], blocks: tuple[int, ...], levels: tuple[Record, ...]
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


def _check_level(tensor: Tensor, level: Record, size: int, positions: int) -> int:
    """Check one level and return how many positions the next one has."""
    if level["format"] not in range(_SPARSE_FORMATS):
        raise _refuse(tensor, "sparsity", f"a level has the format {level['format']}")
    if level["format"] == 0:
        if level["dense_size"] != size:
            raise _refuse(
                tensor, "sparsity", f"a dense level has {level['dense_size']} entries; the shape gives {size}"
            )
        return min(positions * size, 1 << 40)
    if level["array_segments"] is None or level["array_indices"] is None:
        raise _refuse(tensor, "sparsity", "a compressed level has no segments or no indices")
    segments = np.asarray(level["array_segments"].ints("values"), np.int64)
    indices = np.asarray(level["array_indices"].ints("values"), np.int64)
    if len(segments) != positions + 1 or segments[0] or segments[-1] != len(indices) or (np.diff(segments) < 0).any():
        raise _refuse(tensor, "sparsity", f"{len(segments)} segments do not cover {len(indices)} indices")
    if len(indices) and (indices.min() < 0 or indices.max() >= size):
        raise _refuse(tensor, "sparsity", f"an index lies outside 0 to {size - 1}")
    return len(indices)
