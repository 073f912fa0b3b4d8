"""One operator in its graph, as the rules look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.tflite.tensor_data import dense_values
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, SubgraphInfo, TensorInfo

# Positions of inputs that are parameters: they must be constants, and their types are their own affair.
PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "FULLY_CONNECTED": (1, 2), "TRANSPOSE_CONV": (0, 1, 3),
    "PRELU": (1,), "RESHAPE": (1,), "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "PAD": (1,),
    "MEAN": (1,), "SUM": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,), "SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3),
    "EXPAND_DIMS": (1,), "TILE": (1,), "TRANSPOSE": (1,), "SPLIT": (0,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 18)) + tuple(range(20, 24)),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """An operator of the main graph of a model."""

    model: ModelInfo
    operator: OperatorInfo

    @property
    def name(self) -> str:
        """Return the schema's name, or the custom code."""
        return self.operator.name

    @property
    def parameters(self) -> tuple[TensorInfo, ...]:
        """The tensors at the places where parameters belong."""
        found = (self.input(place) for place in PARAMETERS.get(self.name, ()))
        return tuple(tensor for tensor in found if tensor is not None)

    @property
    def data_inputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that are read as data, constant or not."""
        places = set(PARAMETERS.get(self.name, ()))
        return tuple(
            self._tensor(index)
            for place, index in enumerate(self.operator.inputs)
            if index != ABSENT and place not in places
        )

    @property
    def activations(self) -> tuple[TensorInfo, ...]:
        """What is computed: data inputs that are no constants, and outputs."""
        read = tuple(tensor for tensor in self.data_inputs if not tensor.is_constant)
        return read + tuple(map(self._tensor, self.operator.outputs))

    @property
    def output(self) -> TensorInfo:
        """The first output."""
        return self._tensor(self.operator.outputs[0])

    @property
    def data(self) -> TensorInfo:
        """The first data input."""
        return self.data_inputs[0]

    def input(self, place: int) -> TensorInfo | None:
        """Return the tensor at a place of the inputs; None where absent."""
        index = self.operator.input(place)
        return None if index is None else self._tensor(index)

    def values(self, place: int) -> NDArray[Any] | None:
        """Return the content of a constant input as stored; None where it is none."""
        tensor = self.input(place)
        return None if tensor is None or not tensor.is_constant else dense_values(self.model, tensor)

    def axes(self, place: int, rank: int) -> tuple[int, ...]:
        """Return constant axes counted from 0, sorted."""
        values = self.values(place)
        return () if values is None or not rank else tuple(sorted({int(axis) % rank for axis in np.ravel(values)}))

    def field(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return an option by the schema's name."""
        return self.operator.options.fields.get(name, default)

    def _tensor(self, index: int) -> TensorInfo:
        return self.model.main.tensors[index]


@lru_cache(maxsize=4)
def computed(graph: SubgraphInfo) -> frozenset[int]:
    """Return the tensors that are not there before the graph runs; constants without elements are."""
    return frozenset(graph.inputs).union(*(operator.outputs for operator in graph.operators))


def by(sizes: tuple[int, ...]) -> str:
    """Write a shape."""
    return "x".join(map(str, sizes)) or "scalar"


def spatial(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels as the Edge TPU sees a shape: its three innermost dimensions."""
    padded = (1, 1, 1, *shape)[-3:]
    return padded[0], padded[1], padded[2]
