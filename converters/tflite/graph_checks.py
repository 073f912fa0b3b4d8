"""Checks of the graph: what refers to tensors and subgraphs, and whether each tensor is written before it is read."""

from __future__ import annotations

from collections.abc import Iterator

from converters.tflite.contents import Contents, Operator, Subgraph
from converters.tflite.flatbuffer import Damage, Record
from converters.tflite.operator_table import ARITIES

_SUBGRAPH_FIELDS = (
    "subgraph", "then_subgraph_index", "else_subgraph_index", "cond_subgraph_index", "body_subgraph_index",
    "init_subgraph_index", "comparator_subgraph_index", "update_computation_subgraph_index",
    "decomposition_subgraph_index",
)  # fmt: skip
_SUBGRAPH_LISTS = ("branch_subgraph_indices", "called_computations")


def check_graph(contents: Contents) -> None:
    """Check all references between the parts of a model.

    Raises:
        Damage: A reference leads nowhere, a subgraph calls itself, or a tensor is read before it is written.
    """
    if not contents.subgraphs:
        raise Damage("the model has no subgraph", path="subgraphs", at=contents.root.at)
    for subgraph in contents.subgraphs:
        _check_ends(subgraph)
        _check_order(subgraph)
    _check_calls(contents)
    _check_signatures(contents)
    _check_metadata(contents.root)


def _check_ends(subgraph: Subgraph) -> None:
    count = len(subgraph.tensors)
    for part, indices in (("inputs", subgraph.inputs), ("outputs", subgraph.outputs)):
        for place, index in enumerate(indices):
            if index not in range(count):
                what = f"names tensor {index}; the subgraph has {count}"
                raise Damage(what, path=f"{subgraph.path}.{part}[{place}]", at=subgraph.at)
    for place, index in enumerate(subgraph.inputs):
        tensor = subgraph.tensors[index]
        if tensor.data is not None or subgraph.inputs.index(index) != place:
            raise Damage("is a constant or named twice", path=f"{subgraph.path}.inputs[{place}]", at=subgraph.at)


def _check_order(subgraph: Subgraph) -> None:
    ready = set(subgraph.inputs)
    for index, tensor in enumerate(subgraph.tensors):
        if tensor.data is not None or tensor.variable or tensor.elements == 0:
            ready.add(index)
    written: set[int] = set(subgraph.inputs)
    for operator in subgraph.operators:
        _check_inputs(operator, subgraph, ready)
        for place, index in enumerate(operator.outputs):
            _check_output(operator, place, subgraph, written)
            written.add(index)
            ready.add(index)
        for place, index in enumerate(operator.intermediates):
            if index not in range(-1, len(subgraph.tensors)):
                raise _no_tensor(operator, f"intermediates[{place}]", index, subgraph)
    for place, index in enumerate(subgraph.outputs):
        if index not in ready:
            what = f"tensor {index} is written by no operator"
            raise Damage(what, path=f"{subgraph.path}.outputs[{place}]", at=subgraph.at)


def _check_inputs(operator: Operator, subgraph: Subgraph, ready: set[int]) -> None:
    arity = ARITIES.get(operator.op)
    for place, index in enumerate(operator.inputs):
        if index == -1 and (arity is None or place in arity.optional):
            continue
        if index not in range(len(subgraph.tensors)):
            raise _no_tensor(operator, f"inputs[{place}]", index, subgraph)
        if index not in ready:
            what = f"{operator.op} reads tensor {index} before it is written"
            raise Damage(what, path=f"{operator.path}.inputs[{place}]", at=operator.at)


def _check_output(operator: Operator, place: int, subgraph: Subgraph, written: set[int]) -> None:
    index = operator.outputs[place]
    if index not in range(len(subgraph.tensors)):
        raise _no_tensor(operator, f"outputs[{place}]", index, subgraph)
    if index in written:
        what = f"{operator.op} writes tensor {index}, which is an input or already written"
        raise Damage(what, path=f"{operator.path}.outputs[{place}]", at=operator.at)
    if subgraph.tensors[index].data is not None:
        what = f"{operator.op} writes the constant tensor {index}"
        raise Damage(what, path=f"{operator.path}.outputs[{place}]", at=operator.at)


def _no_tensor(operator: Operator, part: str, index: int, subgraph: Subgraph) -> Damage:
    what = f"{operator.op} names tensor {index}; the subgraph has {len(subgraph.tensors)}"
    return Damage(what, path=f"{operator.path}.{part}", at=operator.at)


def called(operator: Operator) -> Iterator[tuple[str, int]]:
    """Yield field and index of each subgraph that an operator calls."""
    if operator.options is None:
        return
    for name, value in operator.options.values.items():
        if name in _SUBGRAPH_FIELDS:
            yield name, value
        elif name in _SUBGRAPH_LISTS:
            for index in operator.options.ints(name):
                yield name, index


def _check_calls(contents: Contents) -> None:
    calls: list[set[int]] = []
    for subgraph in contents.subgraphs:
        calls.append(set())
        for operator in subgraph.operators:
            for name, index in called(operator):
                if index not in range(len(contents.subgraphs)):
                    what = f"names subgraph {index}; the model has {len(contents.subgraphs)}"
                    raise Damage(what, path=f"{operator.path}.builtin_options.{name}", at=operator.at)
                calls[-1].add(index)
            _check_passing(operator, contents)
    _check_acyclic(contents, calls)


def _check_acyclic(contents: Contents, calls: list[set[int]]) -> None:
    """Take away subgraphs that call nothing (any more) until none is left; what stays calls itself."""
    left = set(range(len(calls)))
    while leaves := {index for index in left if not calls[index] & left}:
        left -= leaves
    if left:
        subgraph = contents.subgraphs[min(left)]
        raise Damage("the subgraph calls itself, directly or through others", path=subgraph.path, at=subgraph.at)


def _check_passing(operator: Operator, contents: Contents) -> None:
    """Check that IF and WHILE pass as many tensors as their subgraphs take and give."""
    if operator.op not in ("IF", "WHILE") or operator.options is None:
        return
    passed = len(operator.inputs) - (operator.op == "IF")
    for name, index in called(operator):
        subgraph = contents.subgraphs[index]
        gives = 1 if name == "cond_subgraph_index" else len(operator.outputs)
        if len(subgraph.inputs) != passed or len(subgraph.outputs) != gives:
            what = (
                f"passes {passed} and takes {gives} tensors; subgraph {index} "
                f"has {len(subgraph.inputs)} inputs and {len(subgraph.outputs)} outputs"
            )
            raise Damage(what, path=f"{operator.path}.builtin_options.{name}", at=operator.at)


def _check_signatures(contents: Contents) -> None:
    for signature in contents.root.records("signature_defs"):
        index = signature["subgraph_index"]
        if index >= len(contents.subgraphs):
            raise Damage(f"names subgraph {index}", path=f"{signature.path}.subgraph_index", at=signature.at)
        subgraph = contents.subgraphs[index]
        for part in ("inputs", "outputs"):
            for entry in signature.records(part):
                if entry["tensor_index"] >= len(subgraph.tensors) or entry["name"] is None:
                    what = f"names tensor {entry['tensor_index']}; the subgraph has {len(subgraph.tensors)}"
                    raise Damage(what, path=entry.path, at=entry.at)


def _check_metadata(root: Record) -> None:
    count = len(root.records("buffers"))
    entries = [(f"{entry.path}.buffer", entry.at, entry["buffer"]) for entry in root.records("metadata")]
    entries += [(f"metadata_buffer[{i}]", root.at, index) for i, index in enumerate(root.ints("metadata_buffer"))]
    for path, at, index in entries:
        if index not in range(count):
            raise Damage(f"refers to buffer {index}; there are {count}", path=path, at=at)
    for entry in root.records("metadata"):
        if entry["name"] is None:
            raise Damage("has no name", path=entry.path, at=entry.at)
