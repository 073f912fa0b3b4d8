"""Finds the weights of 1x1 convolutions in a .tflite file and counts their zeros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from converters.errors import ConversionError
from converters.tflite.tensor_data import count_zeros
from converters.tflite.values import ModelInfo, OperatorInfo, SubgraphInfo, TensorInfo

_UNPACKING = frozenset({"DENSIFY", "DEQUANTIZE"})
_POOLING = frozenset({"MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "SUM", "REDUCE_MAX"})
_SHOWN = 3
Producers = Mapping[int, OperatorInfo]


@dataclass(frozen=True, kw_only=True)
class PointwiseWeights:
    """The kernel of one 1x1 convolution; `stored_sparse` where the file leaves zeros out."""

    operator: int
    name: str
    parameters: int
    zeros: int
    stored_sparse: bool

    @property
    def share(self) -> float:
        """Share of zeros."""
        return self.zeros / self.parameters


def find_packed_constant(graph: SubgraphInfo, producers: Producers, tensor: int) -> TensorInfo | None:
    """Return the constant that a tensor is unpacked from through DENSIFY and DEQUANTIZE; None where it is computed."""
    seen = 0
    while (maker := producers.get(tensor)) is not None:
        if maker.name not in _UNPACKING or seen > len(_UNPACKING):
            return None
        tensor, seen = maker.inputs[0], seen + 1
    found = graph.tensors[tensor]
    return found if found.is_constant or found.sparsity is not None else None


def find_pointwise_weights(model: ModelInfo) -> tuple[PointwiseWeights, ...]:
    """Return the kernels of the main graph's 1x1 convolutions of stride 1 over a map, in execution order.

    Convolutions right after a pooling operator that leaves one pixel (classifiers) are not among them.
    """
    graph = model.main
    producers = graph.producers()
    found = []
    for operator in graph.operators:
        if is_pointwise(graph, operator) and not _is_after_pooling(graph, producers, operator):
            constant = find_packed_constant(graph, producers, operator.inputs[1])
            if constant is not None:
                found.append(_describe(model, graph, operator, constant))
    return tuple(found)


def is_pointwise(graph: SubgraphInfo, operator: OperatorInfo) -> bool:
    """Whether an operator is a convolution of one pixel by one, of stride 1."""
    if operator.name != "CONV_2D" or len(operator.inputs) < 2:
        return False
    return graph.tensors[operator.inputs[1]].shape[1:3] == (1, 1) and operator.options.strides == (1, 1)


def require_sparse_weights(model: ModelInfo) -> None:
    """Refuse a file whose 1x1 convolutions have too few zeros for sparse kernels, or store them all.

    XNNPACK takes its sparse kernels when more than two thirds of a cluster's 1x1 weights are zero and at least one of
    them comes out of a sparse tensor. The target rules decide whether a given board and runtime do.

    Raises:
        ConversionError: too few zeros, or none of them left out; the message has the shares.
    """
    kernels = find_pointwise_weights(model)
    if not kernels:
        raise ConversionError(
            "the model has no 1x1 convolution: sparse kernels are for these alone",
            hint="use fp32, fp16 or int8, or a network such as mobilenet_v1, mobilenet_v2 or efficientnet_lite0",
        )
    zeros, parameters = sum(kernel.zeros for kernel in kernels), sum(kernel.parameters for kernel in kernels)
    if not any(kernel.stored_sparse for kernel in kernels) and 3 * zeros > 2 * parameters:
        raise ConversionError(
            f"{zeros:,} of the {parameters:,} weights in {len(kernels)} 1x1 convolutions are zero "
            f"({zeros / parameters:.1%}), but the file stores all of them: it would run dense",
            hint="convert the pruned Keras model with sparse, sparse-fp16 or sparse-int8",
        )
    if 3 * zeros <= 2 * parameters:
        densest = sorted(kernels, key=lambda kernel: kernel.share)[:_SHOWN]
        shown = ", ".join(f"{kernel.name} {kernel.share:.0%}" for kernel in densest)
        raise ConversionError(
            f"{zeros:,} of the {parameters:,} weights in {len(kernels)} 1x1 convolutions are zero "
            f"({zeros / parameters:.1%}), more than two thirds must be: the file would run dense (fewest: {shown})",
            hint="prune the model first, to 80 or 90 % zeros in blocks of 2 output channels; or use fp32, fp16 or int8",
        )


def _describe(model: ModelInfo, graph: SubgraphInfo, operator: OperatorInfo, constant: TensorInfo) -> PointwiseWeights:
    return PointwiseWeights(
        operator=operator.index,
        name=graph.tensors[operator.outputs[0]].name.split(";")[0],
        parameters=constant.elements,
        zeros=count_zeros(model, constant),
        stored_sparse=constant.sparsity is not None,
    )


def _is_after_pooling(graph: SubgraphInfo, producers: Producers, operator: OperatorInfo) -> bool:
    """Whether the operator reads one pixel that a pooling operator left, reshaped or not."""
    source = graph.tensors[operator.inputs[0]]
    if source.shape[1:3] != (1, 1):
        return False
    maker = producers.get(source.index)
    while maker is not None and maker.name == "RESHAPE":
        maker = producers.get(maker.inputs[0])
    return maker is not None and maker.name in _POOLING
