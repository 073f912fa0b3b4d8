"""What stands around a convolution in the graph, as far as it decides what the convolution is corrected for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.training.oneshot.layer_program import LayerProgram, Step
from edge.training.oneshot.normalization import is_normalization


@dataclass(frozen=True)
class Neighbours:
    """The batch normalization that alone reads a layer's output, and the value that the result is then added to.

    None: there is no such thing.
    """

    normalization: Any | None = None
    beside: int | None = None


def neighbours_of(program: LayerProgram, step: Step) -> Neighbours:
    """Look at what reads the output of a convolution."""
    if getattr(step.layer.activation, "__name__", None) != "linear":
        return Neighbours()
    reader, made = _only_reader(program, step.makes[0]), step.makes[0]
    normalization = None
    if reader is not None and is_normalization(program, reader):
        normalization, made = reader.layer, reader.makes[0]
        reader = _only_reader(program, made)
    if reader is None or type(reader.layer).__name__ != "Add" or len(reader.reads) != 2:
        return Neighbours(normalization)
    return Neighbours(normalization, next((value for value in reader.reads if value != made), None))


def _only_reader(program: LayerProgram, value: int) -> Step | None:
    readers = program.readers(value)
    return readers[0] if len(readers) == 1 and value not in program.outputs else None
