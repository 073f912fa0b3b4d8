"""Freezes a model: traces it once with static shapes and makes its variables constants, for every recipe to lower."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from converters.errors import ConversionError

Function = Any  # tensorflow.ConcreteFunction
Tensor = Any  # tensorflow.Tensor
_PREAMBLE = ("in user code", "File ", "Exception encountered when calling", "Arguments received by")
_NODE = re.compile(r"^\{\{.*?\}\}\s*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.\-/]+")


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input or output of a model: its name and static shape, batch included."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class FrozenModel:
    """A graph without variables: `function` is TensorFlow's pruned function, its ends in the model's order."""

    function: Function
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def freeze(call: Callable[..., Sequence[Any]], *, inputs: Sequence[Port], output_names: Sequence[str]) -> FrozenModel:
    """Trace `call` with static shapes and freeze the variables it reads.

    Args:
        call: takes one tensor per input, returns the outputs as a flat sequence.
        inputs: the static shapes to trace with.
        output_names: names for the outputs, in the order `call` returns them.

    Raises:
        ConversionError: the model cannot be traced with these shapes, keeps state, or an output's shape stays unknown.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec(port.shape, port.dtype, name=f"input_{index}") for index, port in enumerate(inputs)]
    traced = tf.function(lambda *tensors: list(call(*tensors)), input_signature=specs, autograph=False)
    try:
        function = convert_variables_to_constants_v2(traced.get_concrete_function(), lower_control_flow=False)
    except Exception as error:  # whatever a layer raises while it is traced
        raise ConversionError(
            f"the model could not be traced with inputs {_shapes(inputs)}: {first_line(error)}",
            hint="check that the model runs on an input of this shape: model(numpy.zeros(shape))",
        ) from error
    _require_stateless(function)
    outputs = tuple(_output_port(tensor, name) for tensor, name in zip(function.outputs, output_names, strict=True))
    return FrozenModel(function=function, inputs=tuple(inputs), outputs=outputs)


def safe_name(name: str) -> str:
    """Return a layer's or tensor's name with only the characters TensorFlow Lite tools expect."""
    return _UNSAFE.sub("_", name.split(":")[0]) or "tensor"


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return safe names, the repeated ones numbered."""
    seen: dict[str, int] = {}
    unique = []
    for name in map(safe_name, names):
        seen[name] = seen.get(name, -1) + 1
        unique.append(f"{name}_{seen[name]}" if seen[name] else name)
    return tuple(unique)


def _require_stateless(function: Function) -> None:
    kept = sorted({node.op for node in function.graph.as_graph_def().node if _keeps_state(node.op)})
    if kept:
        raise ConversionError(
            f"the model keeps state that cannot be frozen: operator(s) {', '.join(kept)}",
            hint="remove lookup tables and variables that are written during inference, and export the model again",
        )


def _keeps_state(op: str) -> bool:
    return op in {"VarHandleOp", "ReadVariableOp", "AssignVariableOp"} or "Table" in op


def _output_port(tensor: Tensor, name: str) -> Port:
    if tensor.shape.rank is None or None in tensor.shape.as_list():
        raise ConversionError(
            f"output '{name}' has no fixed shape: {tensor.shape}",
            hint="TensorFlow Lite variants need static shapes: give the model a fixed input size",
        )
    return Port(name=name, shape=tuple(tensor.shape.as_list()), dtype=tensor.dtype.name)


def _shapes(inputs: Sequence[Port]) -> str:
    return ", ".join(f"{port.name} {list(port.shape)}" for port in inputs)


def first_line(error: BaseException) -> str:
    """Return the first informative line of an error, without colours and TensorFlow's own prefixes."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_PREAMBLE)]
    return (_NODE.sub("", telling[0]) if telling else type(error).__name__)[:300]
