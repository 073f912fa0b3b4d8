"""Graph passes on a lowered sparse model: smaller indices, and weights as int8 behind DENSIFY and DEQUANTIZE.

What computes stays in floating point: XNNPACK unpacks constants through DENSIFY and DEQUANTIZE when it takes the graph
over and keeps its sparse kernels, which exist for floating point alone. Seen with LiteRT 2.1.6 and 2.3.0: it leaves a
convolution to TensorFlow Lite's own, slow kernels when its weights are unpacked from int8 and its bias from float16;
2.1.6 also when its weights come from float16 and its bias is float32. Therefore a bias is float16 only beside a kernel
that is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.sparse.encoding import Matrix, encode_smallest
from converters.sparse.pointwise import is_pointwise
from converters.sparse.symmetric_int8 import quantize_rows
from converters.tflite.reader import parse_model
from converters.tflite.tensor_data import dense_values
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, TensorInfo
from converters.tflite.writer import Unpacked

_COMPUTING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_KERNEL = 1  # position of the weights among the inputs of these
_BIAS = 2
# Versions of DEQUANTIZE that read int8 and float16.
_READS_INT8 = 2
_READS_HALF = 3
_LARGEST_HALF = 65504.0
Halves = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kernel:
    """A constant that is nothing but weights of one or more operators, directly or through one DENSIFY."""

    constant: TensorInfo
    densify: OperatorInfo | None
    readers: tuple[OperatorInfo, ...]
    matrix: Matrix


def encode_blocks(data: bytes) -> bytes:
    """Return the model with its sparse 1x1 kernels encoded in the blocks that take the fewest bytes; values unchanged.

    Args:
        data: a model lowered with TensorFlow Lite's sparse encoding, which knows single elements only.
    """
    model = parse_model(data)
    file = Unpacked(data)
    readers = model.main.consumers()
    for tensor in model.main.tensors:
        densified = [operator.name for operator in readers.get(tensor.index, [])] == ["DENSIFY"]
        if densified and tensor.sparsity is not None and _is_matrix(tensor):
            file.set_rows(tensor.index, encode_smallest(_matrix(model, tensor)))
    return file.packed()


def store_int8(data: bytes) -> bytes:
    """Return a float32 model with its 1x1 and dense kernels as int8, other kernels and their biases as float16.

    Each int8 kernel has one symmetric scale per output channel, so that zeros stay zeros; sparse ones are encoded in
    the blocks that take the fewest bytes. Depthwise kernels are few and lose much by int8, nothing by float16.

    Args:
        data: a float32 model lowered with TensorFlow Lite's sparse encoding.
    """
    model = parse_model(data)
    file = Unpacked(data)
    for kernel in _kernels(model):
        if kernel.constant.dtype != "float32":
            continue
        if kernel.densify is not None:
            _sparse_int8(file, kernel, kernel.densify)
        elif all(reader.name == "FULLY_CONNECTED" or is_pointwise(model.main, reader) for reader in kernel.readers):
            _dense_int8(file, kernel)
        else:
            _half(file, model, kernel)
    return file.packed()


def _kernels(model: ModelInfo) -> Iterator[_Kernel]:
    graph = model.main
    consumers = graph.consumers()
    for tensor in graph.tensors:
        readers = consumers.get(tensor.index, [])
        densify = readers[0] if len(readers) == 1 and readers[0].name == "DENSIFY" else None
        read = tensor.index if densify is None else densify.outputs[0]
        readers = consumers.get(read, [])
        if (
            (tensor.is_constant or tensor.sparsity is not None)
            and tensor.index not in graph.outputs
            and (tensor.sparsity is not None) == (densify is not None)
            and (densify is None or _is_matrix(tensor))
            and readers
            and all(_is_kernel_of(operator, read) for operator in readers)
        ):
            yield _Kernel(constant=tensor, densify=densify, readers=tuple(readers), matrix=_matrix(model, tensor))


def _is_kernel_of(operator: OperatorInfo, tensor: int) -> bool:
    places = [place for place, index in enumerate(operator.inputs) if index == tensor]
    return operator.name in _COMPUTING and places == [_KERNEL]


def _is_matrix(tensor: TensorInfo) -> bool:
    """Whether a kernel is of shape (output channels, 1, ..., 1, inputs)."""
    return len(tensor.shape) >= 2 and all(size == 1 for size in tensor.shape[1:-1])


def _matrix(model: ModelInfo, tensor: TensorInfo) -> Matrix:
    values = dense_values(model, tensor)
    return values.reshape(values.shape[0], -1)


def _sparse_int8(file: Unpacked, kernel: _Kernel, densify: OperatorInfo) -> None:
    """Make it: sparse int8 constant, DENSIFY, int8 tensor, DEQUANTIZE, the float tensor that the readers read."""
    rows = quantize_rows(kernel.matrix)
    file.set_rows(kernel.constant.index, encode_smallest(rows.values))
    unpacked = densify.outputs[0]
    dense = file.add_like(unpacked, suffix="_int8", dtype="int8")
    file.set_scales(kernel.constant.index, dense, rows=rows)
    file.set_output(densify.index, dense)
    file.dequantize(dense, unpacked, version=_READS_INT8, behind=densify.index)


def _dense_int8(file: Unpacked, kernel: _Kernel) -> None:
    rows = quantize_rows(kernel.matrix)
    stored = file.add_like(kernel.constant.index, suffix="_int8", dtype="int8")
    file.set_values(stored, rows.values)
    file.set_scales(stored, rows=rows)
    file.set_computed(kernel.constant.index)
    file.dequantize(stored, kernel.constant.index, version=_READS_INT8, behind=None)


def _half(file: Unpacked, model: ModelInfo, kernel: _Kernel) -> None:
    """Store a kernel and the biases of its readers as float16; leave all of them if a number is too large for that."""
    stored: dict[int, Halves] = {}
    for tensor in (kernel.constant.index, *(reader.inputs[_BIAS] for reader in kernel.readers)):
        halves = _halves(model, tensor)
        if halves is None:
            return
        stored[tensor] = halves
    consumers = model.main.consumers()
    ours = {reader.index for reader in kernel.readers}
    shared = {tensor for tensor in stored if {reader.index for reader in consumers[tensor]} != ours}
    unpacked = {
        tensor: _dequantized(file, tensor, halves, shared=tensor in shared) for tensor, halves in stored.items()
    }
    for reader in kernel.readers:
        for place in (_KERNEL, _BIAS):
            file.set_input(reader.index, place, unpacked[reader.inputs[place]])


def _dequantized(file: Unpacked, tensor: int, halves: Halves, *, shared: bool) -> int:
    """Add a float16 constant; return the tensor it is unpacked into: a new one where others read the old constant."""
    constant = file.add_like(tensor, suffix="_float16", dtype="float16")
    file.set_values(constant, halves)
    unpacked = file.add_like(tensor, suffix="_float32", dtype="float32") if shared else tensor
    if not shared:
        file.set_computed(tensor)
    file.dequantize(constant, unpacked, version=_READS_HALF, behind=None)
    return unpacked


def _halves(model: ModelInfo, tensor: int) -> Halves | None:
    """Return a float32 constant as float16; None where it is none, or has numbers that float16 has not."""
    found = model.main.tensors[tensor]
    if tensor == ABSENT or not found.is_constant or found.dtype != "float32":
        return None
    values = dense_values(model, found)
    halves = np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
    return halves if np.abs(values).max(initial=0.0) <= _LARGEST_HALF else None
