"""Splits a .tflite file into N files that run one after another and together compute the same, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from converters.errors import NotCuttable
from converters.segments.cuts import OperatorSequence, balance_cuts
from converters.segments.extract import Extractor, Part
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, TensorInfo


@dataclass(frozen=True)
class Boundary:
    """A tensor that goes into or out of a segment, by the name that all segments use."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int | None


@dataclass(frozen=True, eq=False)
class ModelSegment:
    """One piece: the operators of the whole model from `first` to `last`, what goes in and out, and its file."""

    first: int
    last: int
    operators: int
    parameter_bytes: int
    inputs: tuple[Boundary, ...]
    outputs: tuple[Boundary, ...]
    data: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the description of the piece, without its bytes."""
        return {
            "operators": [self.first, self.last],
            "count": self.operators,
            "parameter_bytes": self.parameter_bytes,
            "file_bytes": len(self.data),
            "inputs": [vars(each) | {"shape": list(each.shape)} for each in self.inputs],
            "outputs": [vars(each) | {"shape": list(each.shape)} for each in self.outputs],
        }


@dataclass(frozen=True)
class Segmentation:
    """The pieces in order, and the names of the whole model's inputs and outputs in order.

    A piece reads the model's inputs and the outputs of any piece before it, by name.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    segments: tuple[ModelSegment, ...]


def segment(model: ModelInfo, count: int) -> Segmentation:
    """Cut a model into `count` pieces, the largest of which holds as few parameter bytes as possible.

    Raises:
        NotCuttable: It cannot be cut so often, or at all.
    """
    chain = OperatorSequence(model)
    return _segment(chain, balance_cuts(chain, count).places)


def segment_at(model: ModelInfo, places: Sequence[int]) -> Segmentation:
    """Cut a model before given places of its sequence of operators (see `OperatorSequence.places`).

    Raises:
        NotCuttable: A place does not exist, or cannot be cut at.
    """
    chain = OperatorSequence(model)
    for place in places:
        reason = chain.obstacle(place) if 0 < place < len(chain.operators) else "it lies outside the sequence"
        if reason is not None:
            raise NotCuttable(f"cannot cut before place {place}: {reason}")
    if sorted(set(places)) != list(places) or not places:
        raise NotCuttable(f"the places must rise, got {list(places)}")
    return _segment(chain, places)


def cpu_part(model: ModelInfo, custom_code: str) -> tuple[bytes, tuple[OperatorInfo, ...]] | None:
    """Return the operators of a model that are not of a custom kind: as one file, and their description.

    Outputs of the custom operators become inputs, and their inputs outputs. None where there are no others.

    Raises:
        NotCuttable: The file keeps constants outside its tables.
    """
    graph = model.main
    left = tuple(each for each in graph.operators if each.custom_code != custom_code)
    if not left:
        return None
    written = {tensor for each in left for tensor in each.outputs}
    reads = [tensor for each in left for tensor in each.inputs if tensor != ABSENT]
    given = [each for each in dict.fromkeys(reads) if each not in written and _is_given(graph.tensors[each])]
    outside = {tensor for each in graph.operators if each not in left for tensor in each.inputs}
    results = [each for each in sorted(written) if each in graph.outputs or each in outside or each not in reads]
    names = _names(graph.tensors, (*given, *results))
    part = Part(tuple(each.index for each in left), tuple(given), tuple(results), names)
    return Extractor(model).extract(part), left


def _is_given(tensor: TensorInfo) -> bool:
    return not (tensor.is_constant or tensor.is_variable)


def _segment(chain: OperatorSequence, places: Sequence[int]) -> Segmentation:
    graph = chain.graph
    bounds = (0, *places, len(chain.operators))
    passed = {each.index for cut in places for each in chain.crossing(cut)}
    names = _names(graph.tensors, (*graph.inputs, *graph.outputs, *sorted(passed)))
    extractor = Extractor(chain.model)
    pieces = []
    for number, (begin, end) in enumerate(pairwise(bounds)):
        inputs, outputs = _ends(chain, begin, end, passed)
        if number == 0:  # an input that nothing reads belongs to the model all the same
            unread = [each for each in graph.inputs if each not in chain.last_reads]
            inputs = [*(each for each in graph.inputs if each in inputs or each in unread)]
        if end == len(chain.operators):  # outputs that no operator writes: inputs and constants
            extra = [each for each in dict.fromkeys(graph.outputs) if not chain.computes(each)]
            inputs += [each for each in extra if each in graph.inputs and each not in inputs]
            outputs += extra
        stretch = chain.operators[begin:end]
        part = Part(_with_fixed(chain, stretch), tuple(inputs), tuple(outputs), names)
        pieces.append(
            ModelSegment(
                first=stretch[0].index,
                last=stretch[-1].index,
                operators=len(part.operators),
                parameter_bytes=chain.bytes_of(begin, end),
                inputs=tuple(_boundary(graph.tensors[each], names) for each in inputs),
                outputs=tuple(_boundary(graph.tensors[each], names) for each in outputs),
                data=extractor.extract(part),
            )
        )
    return Segmentation(
        tuple(names.get(each, graph.tensors[each].name) for each in graph.inputs),
        tuple(names.get(each, graph.tensors[each].name) for each in graph.outputs),
        tuple(pieces),
    )


def _ends(chain: OperatorSequence, begin: int, end: int, passed: set[int]) -> tuple[list[int], list[int]]:
    """Return the tensors that a stretch of operators reads from outside, and those that are read after it."""
    stretch = chain.operators[begin:end]
    written = {tensor for each in stretch for tensor in each.outputs}
    reads = dict.fromkeys(each for o in stretch for each in o.inputs if each != ABSENT and chain.crosses(each))
    outputs = [each for each in chain.graph.outputs if each in written]
    behind = [tensor for tensor in sorted(written) if tensor in passed and chain.last_reads.get(tensor, -1) >= end]
    return [each for each in reads if each not in written], [*outputs, *(t for t in behind if t not in outputs)]


def _with_fixed(chain: OperatorSequence, stretch: Sequence[OperatorInfo]) -> tuple[int, ...]:
    """Return the operators' indices in execution order, with those that unpack constants for them."""
    found: set[int] = set()

    def add(operator: OperatorInfo) -> None:
        found.add(operator.index)
        for tensor in operator.inputs:
            maker = chain.maker(tensor)
            if maker is not None and maker.index not in found:
                add(maker)

    for operator in stretch:
        add(operator)
    return tuple(sorted(found))


def _names(tensors: Sequence[TensorInfo], boundary: Iterable[int]) -> Mapping[int, str]:
    """Return new names for boundary tensors whose own is empty or not unique."""
    wanted, taken = dict.fromkeys(boundary), set()
    names: dict[int, str] = {}
    for index in wanted:
        name = tensors[index].name
        while not name or name in taken:
            name = f"{name or 'tensor'}#{index}"
            names[index] = name
        taken.add(name)
    return names


def _boundary(tensor: TensorInfo, names: Mapping[int, str]) -> Boundary:
    return Boundary(names.get(tensor.index, tensor.name), tensor.dtype, tensor.full_shape, tensor.dense_bytes)
