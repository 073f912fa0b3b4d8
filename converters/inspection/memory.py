"""Computes the size of each activation and estimates how many bytes of them are alive at once."""

from __future__ import annotations

from dataclasses import dataclass

from converters.inspection.weights import origins
from converters.tflite.values import OperatorInfo, SubgraphInfo, TensorInfo


@dataclass(frozen=True)
class ActivationInfo:
    """A tensor that is computed while the model runs, or passed in; `producer` is the operator's index."""

    subgraph: int
    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int | None
    producer: int | None


@dataclass(frozen=True)
class PeakEstimate:
    """The most bytes of activations alive at once, in the file's order of execution.

    An estimate: runtimes share and align buffers, fuse operators, and kernels take scratch memory of their own.
    `operator` is the index at which the most bytes are alive. Both are None where a size is known only at run time.
    """

    bytes: int | None
    operator: int | None
    method: str = "estimate: liveness of activations over the file's execution order, without scratch memory"


def activations(graph: SubgraphInfo) -> tuple[ActivationInfo, ...]:
    """Return a subgraph's activations, the largest first, those of unknown size at the end."""
    producers = graph.producers()
    found = [_describe(graph, tensor, producers) for tensor in _activation_tensors(graph)]
    return tuple(sorted(found, key=lambda item: (item.bytes is None, -(item.bytes or 0), item.tensor)))


def peak(graph: SubgraphInfo) -> PeakEstimate:
    """Estimate the most bytes of a subgraph's activations that are alive at once."""
    tensors = _activation_tensors(graph)
    if not graph.operators or any(_size(tensor) is None for tensor in tensors):
        return PeakEstimate(None, None)
    change = [0] * (len(graph.operators) + 1)
    for tensor, (first, last) in _lives(graph, tensors):
        size = _size(tensor) or 0
        change[first] += size
        change[last + 1] -= size
    alive, best, place = 0, -1, 0
    for index in range(len(graph.operators)):
        alive += change[index]
        if alive > best:
            best, place = alive, index
    return PeakEstimate(best, place)


def _activation_tensors(graph: SubgraphInfo) -> list[TensorInfo]:
    constant = origins(graph)
    touched = set(graph.inputs) | set(graph.outputs)
    touched.update(*(operator.outputs for operator in graph.operators))
    states = {index for operator in graph.operators for index in operator.inputs if index >= 0}
    return [
        tensor
        for tensor in graph.tensors
        if tensor.index not in constant and (tensor.index in touched or (tensor.is_variable and tensor.index in states))
    ]


def _lives(graph: SubgraphInfo, tensors: list[TensorInfo]) -> list[tuple[TensorInfo, tuple[int, int]]]:
    end = len(graph.operators) - 1
    first = {index: operator.index for index, operator in graph.producers().items()}
    last = dict(first)
    last.update({index: readers[-1].index for index, readers in graph.consumers().items()})
    last.update(dict.fromkeys(graph.outputs, end))
    lives = []
    for tensor in tensors:
        whole = tensor.is_variable
        start = 0 if whole else first.get(tensor.index, 0)
        stop = end if whole else max(last.get(tensor.index, start), start)
        lives.append((tensor, (start, stop)))
    return lives


def _size(tensor: TensorInfo) -> int | None:
    """Bytes, with a batch left open counted as the file states it; None where another size is open."""
    unknown = not tensor.has_rank or -1 in tensor.full_shape[1:]
    return None if unknown else tensor.dense_bytes


def _describe(graph: SubgraphInfo, tensor: TensorInfo, producers: dict[int, OperatorInfo]) -> ActivationInfo:
    producer = producers.get(tensor.index)
    return ActivationInfo(
        subgraph=graph.index,
        tensor=tensor.index,
        name=tensor.name,
        shape=tensor.full_shape,
        dtype=tensor.dtype,
        bytes=_size(tensor),
        producer=None if producer is None else producer.index,
    )
