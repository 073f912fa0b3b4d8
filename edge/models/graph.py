"""A built Keras model as the list of its layer calls, in the order of execution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edge.errors import InputError

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer; shapes include the batch, `inputs` and `outputs` identify the tensors."""

    layer: Any
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The layer's class name."""
        return type(self.layer).__name__


def list_calls(model: Any) -> tuple[LayerCall, ...]:  # noqa: ANN401  (a keras.Model)
    """List the layer calls of a functional or sequential model, nested models opened, in execution order.

    Raises:
        InputError: the model has no static graph (subclassed), or was not built.
    """
    return tuple(_walk(model))


def _walk(model: Any) -> Iterator[LayerCall]:  # noqa: ANN401
    for node in _nodes(model):
        if node.is_input:
            continue
        if hasattr(node.operation, "layers"):
            yield from _walk(node.operation)
        else:
            yield _call(node)


def _nodes(model: Any) -> list[Any]:  # noqa: ANN401
    # A Sequential keeps its graph in `_functional`. Keras has no public way to the calls of a graph; its own
    # `run_through_graph` goes by depth like this.
    graph = getattr(model, "_functional", None) or model
    by_depth = getattr(graph, "_nodes_by_depth", None)
    if by_depth is None:
        raise InputError(
            f"the model {model.name!r} is a {type(model).__name__} without a static graph of layers",
            hint="build it with the functional API, keras.Model(inputs, outputs), or call it once if it is Sequential",
        )
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _call(node: Any) -> LayerCall:  # noqa: ANN401
    return LayerCall(
        layer=node.operation,
        input_shapes=tuple(tuple(tensor.shape) for tensor in node.input_tensors),
        output_shape=tuple(node.outputs[0].shape),
        inputs=tuple(id(tensor) for tensor in node.input_tensors),
        outputs=tuple(id(tensor) for tensor in node.outputs),
    )
