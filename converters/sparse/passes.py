"""Changes a lowered sparse model: explicit padding, smaller indices, weights as int8 with DEQUANTIZE.

TensorFlow Lite's converter folds a symmetric ZeroPadding2D into SAME where both pad equally: at stride 2, on maps of
odd height and width. XNNPACK's sparse path takes stride 2 only with the padding as an operator of its own,
which it folds in again: nothing is computed twice.

Computation stays in floating point: XNNPACK unpacks constants through DENSIFY and DEQUANTIZE when it takes the graph
over and keeps its sparse kernels, which exist in floating point only. Seen with LiteRT 2.1.6 and 2.3.0: it leaves a
convolution to TensorFlow Lite's own, slow kernels when its weights are unpacked from int8 and its bias from float16;
2.1.6 also when its weights come from float16 and its bias is float32. Therefore a bias is float16 only with a float16
kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.sparse.encoding import (
    Matrix,
    SparseRows,
    describe_scales,
    describe_sparsity,
    encode_smallest,
    quantize_rows,
)
from converters.sparse.pointwise import is_pointwise
from converters.tflite import schema
from converters.tflite.editor import ModelEditor, type_number
from converters.tflite.tensor_data import read_dense_values
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, SubgraphInfo, TensorInfo
from converters.tflite.writer import SchemaTable

_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
_COMPUTING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_KERNEL = 1  # position of the weights among the inputs of these
_BIAS = 2
# Versions of DEQUANTIZE that read int8 and float16.
_READS_INT8 = 2
_READS_HALF = 3
_LARGEST_HALF = 65504.0
Halves = NDArray[np.float16]
Sides = tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kernel:
    """A constant that serves only as weights of one or more operators, directly or through one DENSIFY."""

    constant: TensorInfo
    densify: OperatorInfo | None
    readers: tuple[OperatorInfo, ...]
    matrix: Matrix


def make_padding_explicit(model: ModelInfo) -> ModelInfo:
    """Return the float model with each strided convolution's equal SAME padding as a PAD before it; same results.

    Convolutions that pad one side more than the other stay: no sparse kernel would take them either way.
    """
    graph = model.main
    sides = {operator.index: _equal_sides(graph, operator) for operator in graph.operators}
    if not any(sides.values()):
        return model
    editor = ModelEditor(model)
    for index, pair in sides.items():
        if pair is not None:
            paddings = np.array([(0, 0), (pair[0], pair[0]), (pair[1], pair[1]), (0, 0)], np.int32)
            _pad_before(editor, index, graph.operators[index].inputs[0], paddings)
    return editor.finish()


def _pad_before(editor: ModelEditor, operator: int, source: int, paddings: NDArray[np.int32]) -> None:
    """Let a convolution that pads by itself (SAME) read its input through a PAD by `paddings`, of shape (4, 2)."""
    constant = editor.add_like(
        source, suffix="_paddings", shape=np.array(paddings.shape, np.int32), shape_signature=None
    )
    editor.set_values(constant, paddings)
    shape = np.asarray(editor.tensors[source]["shape"]) + paddings.sum(axis=1)
    padded = editor.add_like(source, suffix="_padded", shape=shape.astype(np.int32), shape_signature=None)
    editor.insert("PAD", [source, constant], padded, version=1, options=SchemaTable("PadOptions"), before=operator)
    editor.operators[operator]["builtin_options"]["padding"] = schema.ENUMS["Padding"].index("VALID")
    editor.set_input(operator, 0, padded)


def _equal_sides(graph: SubgraphInfo, operator: OperatorInfo) -> Sides | None:
    """Return how much an operator pads rows and columns on each side; None where it is not one to change."""
    options = operator.options
    if operator.name not in _CONVOLUTIONS or options.padding != "SAME" or options.strides in (None, (1, 1)):
        return None
    source, kernel = (graph.tensors[index] for index in operator.inputs[:2])
    if source.is_dynamic:  # its open sizes stand as 1 in the shape
        return None
    if source.dtype != "float32" or options.dilations not in (None, (1, 1)) or min(source.shape[1:3], default=0) < 1:
        return None
    both = [_total(source.shape[1 + axis], kernel.shape[1 + axis], options.strides[axis]) for axis in (0, 1)]
    if not all(both) or any(total % 2 for total in both):
        return None
    return both[0] // 2, both[1] // 2


def _total(size: int, kernel: int, stride: int) -> int:
    """Return what SAME adds to a dimension on both sides together."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0)


def encode_blocks(model: ModelInfo) -> ModelInfo:
    """Return the model with its sparse 1x1 kernels encoded in the blocks that take the fewest bytes; values unchanged.

    Args:
        model: lowered with TensorFlow Lite's sparse encoding, which has single elements only.
    """
    editor = ModelEditor(model)
    readers = model.main.consumers()
    for tensor in model.main.tensors:
        is_densified = [operator.name for operator in readers.get(tensor.index, [])] == ["DENSIFY"]
        if is_densified and tensor.sparsity is not None and _is_matrix(tensor):
            _set_rows(editor, tensor.index, encode_smallest(_matrix(model, tensor)))
    return editor.finish()


def store_int8(model: ModelInfo) -> ModelInfo:
    """Return a float32 model with its 1x1 and dense kernels as int8, other kernels and their biases as float16.

    Each int8 kernel has one symmetric scale per output channel, so that zeros stay zeros; sparse ones are encoded in
    the blocks that take the fewest bytes. Depthwise kernels are small and lose much accuracy in int8, none in float16.

    Args:
        model: a float32 model lowered with TensorFlow Lite's sparse encoding.
    """
    editor = ModelEditor(model)
    for kernel in _kernels(model):
        if kernel.constant.dtype != "float32":
            continue
        if kernel.densify is not None:
            _store_sparse_int8(editor, kernel, kernel.densify)
        elif all(reader.name == "FULLY_CONNECTED" or is_pointwise(model.main, reader) for reader in kernel.readers):
            _store_dense_int8(editor, kernel)
        else:
            _store_half(editor, model, kernel)
    return editor.finish()


def _set_rows(editor: ModelEditor, tensor: int, rows: SparseRows) -> None:
    """Make a tensor a sparse constant."""
    table = editor.tensors[tensor]
    table["sparsity"] = describe_sparsity(rows, tuple(table["shape"].tolist()))
    editor.set_values(tensor, rows.values)


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
    values = read_dense_values(model, tensor)
    return values.reshape(values.shape[0], -1)


def _store_sparse_int8(editor: ModelEditor, kernel: _Kernel, densify: OperatorInfo) -> None:
    """Build this: sparse int8 constant, DENSIFY, int8 tensor, DEQUANTIZE, the float tensor that the readers read."""
    rows = quantize_rows(kernel.matrix)
    _set_rows(editor, kernel.constant.index, encode_smallest(rows.values))
    unpacked, scales = densify.outputs[0], describe_scales(rows)
    dense = editor.add_like(unpacked, suffix="_int8", type=type_number("int8"), quantization=scales)
    editor.tensors[kernel.constant.index]["quantization"] = scales
    editor.set_output(densify.index, dense)
    editor.insert("DEQUANTIZE", [dense], unpacked, version=_READS_INT8, after=densify.index)


def _store_dense_int8(editor: ModelEditor, kernel: _Kernel) -> None:
    rows = quantize_rows(kernel.matrix)
    stored = editor.add_like(kernel.constant.index, suffix="_int8", quantization=describe_scales(rows))
    editor.set_values(stored, rows.values)
    editor.set_computed(kernel.constant.index)
    editor.insert("DEQUANTIZE", [stored], kernel.constant.index, version=_READS_INT8)


def _store_half(editor: ModelEditor, model: ModelInfo, kernel: _Kernel) -> None:
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
        tensor: _dequantize(editor, tensor, halves, shared=tensor in shared) for tensor, halves in stored.items()
    }
    for reader in kernel.readers:
        for place in (_KERNEL, _BIAS):
            editor.set_input(reader.index, place, unpacked[reader.inputs[place]])


def _dequantize(editor: ModelEditor, tensor: int, halves: Halves, *, shared: bool) -> int:
    """Add a float16 constant; return the tensor it is unpacked into: a new one where others read the old constant."""
    constant = editor.add_like(tensor, suffix="_float16")
    editor.set_values(constant, halves)
    unpacked = editor.add_like(tensor, suffix="_float32") if shared else tensor
    if not shared:
        editor.set_computed(tensor)
    editor.insert("DEQUANTIZE", [constant], unpacked, version=_READS_HALF)
    return unpacked


def _halves(model: ModelInfo, tensor: int) -> Halves | None:
    """Return a float32 constant as float16; None where it is none, or has numbers that float16 cannot hold."""
    found = model.main.tensors[tensor]
    if tensor == ABSENT or not found.is_constant or found.dtype != "float32":
        return None
    values = read_dense_values(model, found)
    halves = np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
    return halves if np.abs(values).max(initial=0.0) <= _LARGEST_HALF else None
