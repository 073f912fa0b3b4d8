"""Graph passes on a lowered sparse model: smaller indices, and weights as int8 behind DENSIFY and DEQUANTIZE.

What computes stays in floating point: XNNPACK unpacks constants through DENSIFY and DEQUANTIZE when it takes the graph
over and keeps its sparse kernels, which exist for floating point alone. Seen with LiteRT 2.1.6 and 2.3.0: it leaves a
convolution to TensorFlow Lite's own, slow kernels when its weights are unpacked from int8 and its bias from float16;
2.1.6 also when its weights come from float16 and its bias is float32. Therefore all kernels are int8 here, no bias is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converters.modelfile import parse_model
from converters.modelvalues import ModelInfo, OperatorInfo, TensorInfo
from converters.sparse.encoding import Matrix, encode_smallest
from converters.sparse.flatbuffer import Unpacked
from converters.sparse.quantizing import quantize_rows
from converters.tensordata import dense_values

_COMPUTING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_KERNEL = 1  # position of the weights among the inputs of these
_READS_INT8 = 2  # version of DEQUANTIZE


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
    """Return a float32 model with all kernels of convolutions and dense layers as int8.

    Each has one symmetric scale per output channel, so that zeros stay zeros; sparse ones are encoded in the blocks
    that take the fewest bytes.

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
        else:
            _dense_int8(file, kernel)
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
    depthwise = kernel.readers[0].name == "DEPTHWISE_CONV_2D"
    rows = quantize_rows(kernel.matrix.reshape(-1, kernel.constant.shape[-1]).T if depthwise else kernel.matrix)
    stored = file.add_like(kernel.constant.index, suffix="_int8", dtype="int8")
    file.set_values(stored, rows.values.T if depthwise else rows.values)
    file.set_scales(stored, rows=rows, axis=len(kernel.constant.shape) - 1 if depthwise else 0)
    file.set_computed(kernel.constant.index)
    file.dequantize(stored, kernel.constant.index, version=_READS_INT8, behind=None)
