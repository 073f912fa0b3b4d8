"""One operator with its tensors at hand, as the rules of the operators see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from converters.tflite.contents import Operator, Subgraph, Tensor
from converters.tflite.flatbuffer import Damage

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """An operator, the subgraph it stands in and the options in force."""

    operator: Operator
    subgraph: Subgraph
    options: Mapping[str, Any]

    def input(self, place: int) -> Tensor | None:
        """Return an input's tensor; None where it is absent."""
        indices = self.operator.inputs
        return self.subgraph.tensors[indices[place]] if place < len(indices) and indices[place] >= 0 else None

    def need(self, place: int) -> Tensor:
        """Return an input's tensor, which may not be absent."""
        tensor = self.input(place)
        if tensor is None:
            raise self.refuse("is absent", f"inputs[{place}]")
        return tensor

    def output(self, place: int = 0) -> Tensor:
        """Return an output's tensor."""
        return self.subgraph.tensors[self.operator.outputs[place]]

    @property
    def input_tensors(self) -> list[Tensor]:
        """The inputs that are there."""
        return [self.subgraph.tensors[index] for index in self.operator.inputs if index >= 0]

    @property
    def output_tensors(self) -> list[Tensor]:
        """All outputs."""
        return [self.subgraph.tensors[index] for index in self.operator.outputs]

    def constant(self, place: int) -> tuple[int, ...] | None:
        """Return the values of an input that is a constant of integers, else None."""
        tensor = self.input(place)
        return None if tensor is None else tensor.integers()

    def option(self, name: str) -> int:
        """Return a number of the options."""
        return int(self.options.get(name, 0))

    def refuse(self, what: str, part: str = "inputs") -> Damage:
        """Return the finding that something about this operator is wrong."""
        return Damage(f"{self.operator.op}: {what}", path=f"{self.operator.path}.{part}", at=self.operator.at)

    def axis(self, axis: int, rank: int, part: str) -> int:
        """Return an axis counted from 0, refusing one that is out of range."""
        if not -rank <= axis < rank:
            raise self.refuse(f"the axis {axis} is outside a shape of {rank} dimensions", part)
        return axis % rank

    def rank(self, place: int, *ranks: int) -> Dims | None:
        """Return an input's dimensions if they are known, refusing another number of them."""
        tensor = self.need(place)
        dims = known(tensor)
        if (dims is not None or tensor.shape) and len(tensor.shape) not in ranks:
            allowed = " or ".join(map(str, ranks))
            raise self.refuse(
                f"the shape is {list(tensor.shape)}; it must have {allowed} dimensions", f"inputs[{place}]"
            )
        return dims

    def expect(self, dims: Sequence[int | None], place: int = 0) -> None:
        """Refuse an output whose known shape is another; None fits anything."""
        shape = known(self.output(place))
        if shape is None:
            return
        fits = [want in (None, got) for want, got in zip(dims, shape, strict=False)]
        if len(dims) != len(shape) or not all(fits):
            wanted = ["?" if each is None else each for each in dims]
            raise self.refuse(f"the output's shape is {list(shape)}; it must be {wanted}", f"outputs[{place}]")


def known(tensor: Tensor) -> Dims | None:
    """Return a shape that is fixed; None where a dimension may change or the rank is not stored."""
    if -1 in tensor.signature or -1 in tensor.shape or (not tensor.shape and tensor.data is None):
        return None
    return tensor.shape


def product(dims: Sequence[int]) -> int:
    """Return the number of elements."""
    return math.prod(dims)
