"""Runs a Keras model layer by layer, as a list of steps with nested models expanded.

Layers are called as the model itself calls them, in inference, so that any functional or sequential model can be run,
also one with custom layers. Between steps only the values that a later step reads are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError

_CHANGED = ("Conv2D", "BatchNormalization")
Values = dict[int, NDArray[Any]]


@dataclass(frozen=True)
class Step:
    """One call of a layer, with the numbers of the values it reads and makes; `names` are Keras' for those read."""

    layer: Any
    arguments: Any
    names: Mapping[int, int]
    reads: tuple[int, ...]
    makes: tuple[int, ...]

    def run(self, values: Values) -> None:
        """Call the layer and store its outputs."""
        args, kwargs = self.arguments.fill_in({name: values[number] for name, number in self.names.items()})
        if getattr(self.layer, "_call_has_training_arg", False):
            kwargs = {**kwargs, "training": False}
        made = self.layer(*args, **kwargs)
        flat = [made] if len(self.makes) == 1 and not isinstance(made, list | tuple | dict) else _flat(made)
        values.update(zip(self.makes, (np.asarray(value) for value in flat), strict=True))


@dataclass(frozen=True)
class LayerProgram:
    """The steps of a model in the order of execution; every value has a number."""

    inputs: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def run(self, values: Values, first: int, last: int) -> Values:
        """Run the steps from `first` to before `last`; return the values that later steps need."""
        values = dict(values)
        for number in range(first, last):
            self.steps[number].run(values)
            for name in set(values) - self._needed[number + 1]:
                del values[name]
        return values

    @cached_property
    def _needed(self) -> list[set[int]]:
        """For each place between steps, the values that are read after it."""
        needed = [set(self.outputs)]
        for step in reversed(self.steps):
            needed.append(needed[-1] - set(step.makes) | set(step.reads))
        return needed[::-1]

    def readers(self, value: int) -> tuple[Step, ...]:
        """Return the steps that read a value."""
        return tuple(step for step in self.steps if value in step.reads)

    def calls_of(self, layer: object) -> tuple[int, ...]:
        """Return the numbers of the steps that call a layer."""
        return tuple(number for number, step in enumerate(self.steps) if step.layer is layer)


def detach(program: LayerProgram) -> LayerProgram:
    """Return the program with copies of convolutions and normalizations, which changes to the model do not affect."""
    copies: dict[int, Any] = {}
    for step in program.steps:
        if type(step.layer).__name__ in _CHANGED and id(step.layer) not in copies:
            copies[id(step.layer)] = _copy_layer(step)
    steps = (replace(step, layer=copies.get(id(step.layer), step.layer)) for step in program.steps)
    return replace(program, steps=tuple(steps))


def _copy_layer(step: Step) -> Any:  # noqa: ANN401
    copy = type(step.layer).from_config(step.layer.get_config())
    copy.build(tuple(step.arguments.keras_tensors[0].shape))
    copy.set_weights(step.layer.get_weights())
    return copy


def trace_model(model: Any) -> LayerProgram:  # noqa: ANN401  (a keras.Model)
    """List a model's steps.

    Raises:
        InputError: the model, or one inside it, has no static graph of layers.
    """
    graph, numbers = _graph(model), count()
    values = {id(tensor): next(numbers) for tensor in graph.inputs}
    steps = tuple(_steps(graph, values, numbers))
    return LayerProgram(
        tuple(values[id(tensor)] for tensor in graph.inputs), steps, tuple(values[id(t)] for t in graph.outputs)
    )


def _graph(model: Any) -> Any:  # noqa: ANN401
    graph = getattr(model, "_functional", None) or model
    if not hasattr(graph, "_nodes_by_depth"):
        raise InputError(
            f"the model {model.name!r} is a {type(model).__name__} without a static graph of layers",
            hint="build it with the functional API, keras.Model(inputs, outputs), or call it once if it is Sequential",
        )
    return graph


def _steps(graph: Any, values: dict[int, int], numbers: Iterator[int]) -> Iterator[Step]:  # noqa: ANN401
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            if hasattr(node.operation, "layers"):
                yield from _expand(node, values, numbers)
            else:
                yield _step(node, values, numbers)


def _expand(node: Any, values: dict[int, int], numbers: Iterator[int]) -> Iterator[Step]:  # noqa: ANN401
    """Yield the steps of a model inside the model; its tensors are its own at each call."""
    graph = _graph(node.operation)
    inner = {id(own): values[id(given)] for own, given in zip(graph.inputs, node.input_tensors, strict=True)}
    yield from _steps(graph, inner, numbers)
    values.update({id(out): inner[id(own)] for out, own in zip(node.outputs, graph.outputs, strict=True)})


def _step(node: Any, values: dict[int, int], numbers: Iterator[int]) -> Step:  # noqa: ANN401
    names = {id(tensor): values[id(tensor)] for tensor in node.input_tensors}
    made = {id(tensor): next(numbers) for tensor in node.outputs}
    values.update(made)
    return Step(node.operation, node.arguments, names, tuple(names.values()), tuple(made.values()))


def _flat(made: object) -> Sequence[Any]:
    import keras

    return list(keras.tree.flatten(made))
