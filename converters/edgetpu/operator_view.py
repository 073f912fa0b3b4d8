"""Represents an operator as the Edge TPU's compiler does: its tensors, and the verdict in the compiler's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from converters.tflite.operator_context import OperatorContext
from converters.tflite.values import SubgraphInfo, TensorInfo

# Words of the compiler's log, as its users posted them.
MAPPED = "Mapped to Edge TPU"
SUBGRAPH = "More than one subgraph is not supported"
UNSUPPORTED = "Operation not supported"
TYPE = "Operation is working on an unsupported data type"
RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
CONSTANT = "Filter, bias, or other param is not constant at compile-time"
LIMIT = "Operation is otherwise supported, but not mapped due to some unspecified limitation"

# Positions of inputs that are parameters: they must be constants, and may have types of their own.
PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "FULLY_CONNECTED": (1, 2), "TRANSPOSE_CONV": (0, 1, 3),
    "PRELU": (1,), "RESHAPE": (1,), "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "PAD": (1,),
    "MEAN": (1,), "SUM": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,), "SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3),
    "EXPAND_DIMS": (1,), "TILE": (1,), "TRANSPOSE": (1,), "SPLIT": (0,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 18)) + tuple(range(20, 24)),
}  # fmt: skip


@dataclass(frozen=True)
class MappingRefusal:
    """The reason why an operator stays on the CPU.

    Attributes:
        status: the compiler's word for it.
        why: completes "the operator ...".
        change: what to do, "" where nothing helps.
        certain: False where the rule rests on few observations.
    """

    status: str
    why: str
    change: str = ""
    certain: bool = True

    def __str__(self) -> str:
        """Return the reason as text."""
        return self.why if self.certain else f"{self.why} (not certain: few observations)"


@dataclass(frozen=True)
class Doubt:
    """The reason why an operator that counts as mapped might not be."""

    why: str

    def __str__(self) -> str:
        """Return it as text."""
        return f"not certain: {self.why}"


Verdict = MappingRefusal | Doubt | None


def parameters(context: OperatorContext) -> tuple[TensorInfo, ...]:
    """Return the tensors at the places where parameters belong."""
    found = (context.input(place) for place in PARAMETERS.get(context.name, ()))
    return tuple(tensor for tensor in found if tensor is not None)


def data_inputs(context: OperatorContext) -> tuple[TensorInfo, ...]:
    """Return the tensors that are read as data, constant or not."""
    places = PARAMETERS.get(context.name, ())
    found = (context.input(place) for place in range(len(context.operator.inputs)) if place not in places)
    return tuple(tensor for tensor in found if tensor is not None)


def main_input(context: OperatorContext) -> TensorInfo:
    """Return the first of the data inputs."""
    return data_inputs(context)[0]


def activations(context: OperatorContext) -> tuple[TensorInfo, ...]:
    """Return the computed tensors: data inputs that are not constants, and outputs."""
    return (*(tensor for tensor in data_inputs(context) if not tensor.is_constant), *context.outputs)


def constant_axes(context: OperatorContext, place: int, rank: int) -> tuple[int, ...]:
    """Return the axes that a constant input names, counted from 0, sorted."""
    values = context.values(place)
    return () if values is None or not rank else tuple(sorted({int(axis) % rank for axis in np.ravel(values)}))


@lru_cache(maxsize=4)
def find_computed(graph: SubgraphInfo) -> frozenset[int]:
    """Return the tensors that the graph computes or takes as inputs; constants without elements are not among them."""
    return frozenset(graph.inputs).union(*(operator.outputs for operator in graph.operators))


def format_shape(sizes: tuple[int, ...]) -> str:
    """Write a shape."""
    return "x".join(map(str, sizes)) or "scalar"


def get_spatial_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels as the Edge TPU sees a shape: its three innermost dimensions."""
    padded = (1, 1, 1, *shape)[-3:]
    return padded[0], padded[1], padded[2]
