"""Views one operator with its tensors, constants and options at hand, as rules about operators need it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.tflite.flatbuffer import Damage
from converters.tflite.operator_options import OptionsInfo
from converters.tflite.tensor_data import read_dense_values
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, SubgraphInfo, TensorInfo

Dims = tuple[int, ...]
_INTEGERS = frozenset({"int32", "int64", "int16", "int8", "uint8", "uint32"})


@dataclass(frozen=True, eq=False)
class OperatorContext:
    """An operator, the model and the subgraph that it belongs to, and the options in force."""

    model: ModelInfo
    graph: SubgraphInfo
    operator: OperatorInfo
    options: OptionsInfo

    @classmethod
    def of_main(cls, model: ModelInfo, operator: OperatorInfo) -> OperatorContext:
        """Return an operator of the main graph with the options that the file gives it."""
        return cls(model, model.main, operator, operator.options)

    @property
    def name(self) -> str:
        """The schema's name, or the custom code."""
        return self.operator.name

    def input(self, place: int) -> TensorInfo | None:
        """Return an input's tensor; None where it is absent."""
        index = self.operator.input(place)
        return None if index is None else self.graph.tensors[index]

    def output(self, place: int = 0) -> TensorInfo:
        """Return an output's tensor."""
        return self.graph.tensors[self.operator.outputs[place]]

    @property
    def inputs(self) -> list[TensorInfo]:
        """The inputs that are there."""
        return [self.graph.tensors[index] for index in self.operator.inputs if index != ABSENT]

    @property
    def outputs(self) -> list[TensorInfo]:
        """All outputs."""
        return [self.graph.tensors[index] for index in self.operator.outputs]

    def values(self, place: int) -> NDArray[Any] | None:
        """Return the content of a constant input as stored; None where it is none."""
        tensor = self.input(place)
        return None if tensor is None or not tensor.is_constant else read_dense_values(self.model, tensor)

    def integers(self, place: int) -> tuple[int, ...] | None:
        """Return the values of an input that is a plainly stored constant of integers, else None."""
        tensor = self.input(place)
        if tensor is None or not tensor.is_constant or tensor.sparsity is not None or tensor.dtype not in _INTEGERS:
            return None
        return tuple(np.frombuffer(self.model.content_of(tensor), tensor.dtype).tolist())

    def option(self, name: str) -> int:
        """Return a number of the options, 0 where it is absent."""
        return int(self.options.stored.get(name, 0))

    # What follows refuses operators that break the rules of the format.

    def refuse(self, what: str, part: str = "inputs") -> Damage:
        """Return the finding that something about this operator is wrong."""
        record = self.operator.record
        return Damage(f"{self.operator.builtin}: {what}", path=f"{record.path}.{part}", at=record.at)

    def require(self, place: int) -> TensorInfo:
        """Return an input's tensor, refusing an absent one."""
        tensor = self.input(place)
        if tensor is None:
            raise self.refuse("is absent", f"inputs[{place}]")
        return tensor

    def require_axis(self, axis: int, rank: int, part: str) -> int:
        """Return an axis counted from 0, refusing one that is out of range."""
        if not -rank <= axis < rank:
            raise self.refuse(f"the axis {axis} is outside a shape of {rank} dimensions", part)
        return axis % rank

    def require_rank(self, place: int, *ranks: int) -> Dims | None:
        """Return an input's dimensions if they are known, refusing another number of them."""
        tensor = self.require(place)
        dims = get_fixed_shape(tensor)
        if (dims is not None or tensor.shape) and len(tensor.shape) not in ranks:
            allowed = " or ".join(map(str, ranks))
            raise self.refuse(
                f"the shape is {list(tensor.shape)}; it must have {allowed} dimensions", f"inputs[{place}]"
            )
        return dims

    def require_output(self, dims: Sequence[int | None], place: int = 0) -> None:
        """Refuse an output whose known shape is another; None fits anything."""
        shape = get_fixed_shape(self.output(place))
        if shape is None:
            return
        fits = [want in (None, got) for want, got in zip(dims, shape, strict=False)]
        if len(dims) != len(shape) or not all(fits):
            wanted = ["?" if size is None else size for size in dims]
            raise self.refuse(f"the output's shape is {list(shape)}; it must be {wanted}", f"outputs[{place}]")


def get_fixed_shape(tensor: TensorInfo) -> Dims | None:
    """Return a shape that cannot change; None where a dimension may or the rank is not stored."""
    if -1 in tensor.full_shape or (not tensor.shape and not tensor.is_constant):
        return None
    return tensor.shape


def product(dims: Sequence[int]) -> int:
    """Return the number of elements."""
    return math.prod(dims)
