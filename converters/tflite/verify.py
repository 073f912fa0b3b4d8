"""Verifies .tflite files in pure Python, before native code sees them.

Native runtimes follow the offsets and numbers of a file without checks. Reading has checked the flatbuffer and what
refers to tensors, buffers and operator codes (`flatbuffer`, `reader`). The rest is checked here: tensors
(`tensor_checks`), the order of the graph, and each operator's inputs and options
(`operator_checks`).
"""

from __future__ import annotations

from converters.tflite.flatbuffer import Damage
from converters.tflite.operator_checks import check_operator
from converters.tflite.operator_table import ARITIES
from converters.tflite.tensor_checks import check_tensor
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, SubgraphInfo


def verify_model(model: ModelInfo) -> ModelInfo:
    """Return the model if native code can be trusted with it.

    Raises:
        ModelFileError: It cannot; the message names the place in the model (subgraphs[0].operators[3].inputs[1]) and
            the byte in the file.
    """
    try:
        _check(model)
    except Damage as damage:
        raise damage.to_error(model.name) from damage
    return model


def _check(model: ModelInfo) -> None:
    for damage in model.unsupported:
        raise damage
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            check_tensor(model, tensor)
    _check_graph(model)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            check_operator(model, subgraph, operator)


def _check_graph(model: ModelInfo) -> None:
    """Check the order of each subgraph and the references between them."""
    for subgraph in model.subgraphs:
        _check_inputs(subgraph)
        _check_order(subgraph)
    _check_calls(model)
    _check_metadata_buffer(model)


def _check_inputs(subgraph: SubgraphInfo) -> None:
    seen: set[int] = set()
    for place, index in enumerate(subgraph.inputs):
        if subgraph.tensors[index].is_constant or index in seen:
            raise _refuse(subgraph, f"inputs[{place}]", "is a constant or named twice")
        seen.add(index)


def _check_order(subgraph: SubgraphInfo) -> None:
    ready = set(subgraph.inputs)
    for tensor in subgraph.tensors:
        if tensor.is_constant or tensor.is_variable or tensor.elements == 0:
            ready.add(tensor.index)
    written = set(subgraph.inputs)
    for operator in subgraph.operators:
        _check_reads(operator, ready)
        for place, index in enumerate(operator.outputs):
            _check_output(operator, place, subgraph, written)
            written.add(index)
            ready.add(index)
    for place, index in enumerate(subgraph.outputs):
        if index not in ready:
            raise _refuse(subgraph, f"outputs[{place}]", f"tensor {index} is written by no operator")


def _check_reads(operator: OperatorInfo, ready: set[int]) -> None:
    arity = ARITIES.get(operator.builtin)
    for place, index in enumerate(operator.inputs):
        if index == ABSENT:
            if arity is not None and place not in arity.optional:
                raise _refuse(operator, f"inputs[{place}]", f"{operator.builtin} lacks an input that it needs")
        elif index not in ready:
            what = f"{operator.builtin} reads tensor {index} before it is written"
            raise _refuse(operator, f"inputs[{place}]", what)


def _check_output(operator: OperatorInfo, place: int, subgraph: SubgraphInfo, written: set[int]) -> None:
    index = operator.outputs[place]
    if index in written:
        what = f"{operator.builtin} writes tensor {index}, which is an input or already written"
        raise _refuse(operator, f"outputs[{place}]", what)
    if subgraph.tensors[index].is_constant:
        raise _refuse(operator, f"outputs[{place}]", f"{operator.builtin} writes the constant tensor {index}")


def _check_calls(model: ModelInfo) -> None:
    calls: list[set[int]] = []
    for subgraph in model.subgraphs:
        calls.append(set())
        for operator in subgraph.operators:
            for name, index in operator.options.subgraph_references():
                if index not in range(len(model.subgraphs)):
                    what = f"names subgraph {index}; the model has {len(model.subgraphs)}"
                    raise _refuse(operator, f"builtin_options.{name}", what)
                calls[-1].add(index)
            _check_passing(operator, model)
    _check_acyclic(model, calls)


def _check_acyclic(model: ModelInfo, calls: list[set[int]]) -> None:
    """Remove subgraphs without calls to the remaining ones until none is left; those that stay call themselves."""
    left = set(range(len(calls)))
    while leaves := {index for index in left if not calls[index] & left}:
        left -= leaves
    if left:
        subgraph = model.subgraphs[min(left)]
        what = "the subgraph calls itself, directly or through others"
        raise Damage(what, path=subgraph.record.path, at=subgraph.record.at)


def _check_passing(operator: OperatorInfo, model: ModelInfo) -> None:
    """Check that IF and WHILE pass as many tensors as their subgraphs take and return."""
    if operator.builtin not in ("IF", "WHILE"):
        return
    passed = len(operator.inputs) - (operator.builtin == "IF")
    for name, index in operator.options.subgraph_references():
        subgraph = model.subgraphs[index]
        gives = 1 if name == "cond_subgraph_index" else len(operator.outputs)
        if len(subgraph.inputs) != passed or len(subgraph.outputs) != gives:
            what = (
                f"passes {passed} and takes {gives} tensors; subgraph {index} "
                f"has {len(subgraph.inputs)} inputs and {len(subgraph.outputs)} outputs"
            )
            raise _refuse(operator, f"builtin_options.{name}", what)


def _check_metadata_buffer(model: ModelInfo) -> None:
    """Check the deprecated list of buffers with metadata."""
    for place, index in enumerate(model.record.ints("metadata_buffer")):
        if index not in range(len(model.buffers)):
            what = f"refers to buffer {index}; there are {len(model.buffers)}"
            raise Damage(what, path=f"metadata_buffer[{place}]", at=model.record.at)


def _refuse(where: OperatorInfo | SubgraphInfo, part: str, what: str) -> Damage:
    return Damage(what, path=f"{where.record.path}.{part}", at=where.record.at)
