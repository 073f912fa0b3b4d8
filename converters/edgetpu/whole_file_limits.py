"""Finds the reasons for which the compiler refuses a whole file: then nothing is mapped, whatever the operators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converters.edgetpu.operator_view import PARAMETERS, find_computed
from converters.edgetpu.versions import COMPILER, KNOWN_CUSTOM, NEWEST
from converters.tflite.values import EDGE_TPU_OPERATOR, ModelInfo, OperatorInfo, SubgraphInfo

_QUANTIZED = frozenset({"int8", "uint8"})
# Operators whose output's size is known only when they have run.
_SIZED_BY_VALUES = frozenset({"WHERE", "UNIQUE", "RANGE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"})


# How to avoid the newer version, where the model itself causes it.
_WITHOUT = {
    "CONV_2D": "use groups=1 in every convolution; else convert again with --to edgetpu",
    "EXP": "replace the exponential, or compute it on the CPU after the model",
}


@dataclass(frozen=True)
class Failure:
    """One reason for which the compiler writes no file; `operators` are those of the main graph that it concerns."""

    text: str
    change: str
    operators: tuple[int, ...] = ()


def find_failures(model: ModelInfo) -> tuple[Failure, ...]:
    """Return the reasons why the compiler would refuse the file, in the order in which it finds them."""
    graph = model.main
    return (*_find_unreadable(model), *_find_unloadable(graph), *_find_dynamic(graph), *_find_unquantized(graph))


def _find_unreadable(model: ModelInfo) -> Iterator[Failure]:
    """Operators that its schema or its interpreter does not know: "Didn't find op for builtin opcode"."""
    found: dict[tuple[str, int], list[int]] = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            if not operator.is_custom and operator.version > NEWEST.get(operator.name, 0):
                own = found.setdefault((operator.name, operator.version), [])
                if graph is model.main:  # the same number names another operator in another graph
                    own.append(operator.index)
    for (name, version), indices in found.items():
        newest = NEWEST.get(name)
        if newest is None:
            yield Failure(f"the compiler ({COMPILER}) does not know the operator {name}",
                          "replace the layer", tuple(indices))  # fmt: skip
        else:
            yield Failure(f"{name} is stored in version {version}; the compiler ({COMPILER}) reads up to {newest}",
                          _WITHOUT.get(name, "convert again with --to edgetpu"), tuple(indices))  # fmt: skip


def _find_unloadable(graph: SubgraphInfo) -> Iterator[Failure]:
    """Operators that its interpreter has no kernel for (google-coral/edgetpu#718)."""
    strange = [op for op in graph.operators if op.is_custom and op.name not in KNOWN_CUSTOM | {EDGE_TPU_OPERATOR}]
    for name in dict.fromkeys(op.name for op in strange):
        kind = "TensorFlow operator" if name.startswith("Flex") else "custom operator"
        yield Failure(f"the {kind} {name} has no kernel in the compiler's interpreter",
                      "replace the layer by one that TensorFlow Lite has built in",
                      tuple(op.index for op in strange if op.name == name))  # fmt: skip


def _find_dynamic(graph: SubgraphInfo) -> Iterator[Failure]:
    """Sizes that are computed: "a graph that has dynamic-sized tensors" (google-coral/edgetpu#829, #654).

    Of Keras' transposed convolutions too, where the batch is left open (tensorflow/tensorflow#57905).
    """
    found = [operator for operator in graph.operators if _computes_its_size(graph, operator)]
    unranked = [operator for operator in graph.operators if _without_rank(graph, operator)]
    for operator in (found or unranked)[:1]:
        yield Failure(f"operator {operator.index} ({operator.name}) gives a tensor of a size known only when it runs",
                      "convert with a batch of 1 and fixed sizes", (operator.index,))  # fmt: skip


def _computes_its_size(graph: SubgraphInfo, operator: OperatorInfo) -> bool:
    if operator.name in _SIZED_BY_VALUES:
        return True
    sizes = [operator.input(place) for place in _SIZES.get(operator.name, ())]
    return any(index in find_computed(graph) for index in sizes)


# Where an operator reads how large its result is to be.
_SIZES = {
    **{name: PARAMETERS[name] for name in (
        "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "PAD", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN",
        "SLICE", "STRIDED_SLICE", "EXPAND_DIMS", "TILE", "SPLIT",
    )},
    "TRANSPOSE_CONV": (0,),
}  # fmt: skip


def _without_rank(graph: SubgraphInfo, operator: OperatorInfo) -> bool:
    written = (graph.tensors[index] for index in operator.outputs)
    return any(not tensor.has_rank or -1 in tensor.full_shape[1:] for tensor in written) and not operator.is_custom


def _find_unquantized(graph: SubgraphInfo) -> Iterator[Failure]:
    """A file without quantized activations: "Model not quantized" (google-coral/edgetpu#222, #416)."""
    written = (graph.tensors[index] for operator in graph.operators for index in operator.outputs)
    compiled = any(operator.name == EDGE_TPU_OPERATOR for operator in graph.operators)
    if not compiled and not any(tensor.dtype in _QUANTIZED for tensor in written):
        yield Failure("no operator computes with 8-bit integers: the model is not quantized",
                      "convert with integers only (--to edgetpu)")  # fmt: skip
