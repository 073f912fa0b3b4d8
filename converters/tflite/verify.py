"""Verifies .tflite files in pure Python, before native code sees them.

Native runtimes follow the offsets and numbers of a file without looking. Reading has checked the flatbuffer and what
refers to tensors, buffers and operator codes (`flatbuffer`, `reader`). What is left is checked here: tensors
(`tensor_checks`), the order of the graph (`graph_checks`), and what each operator demands of its inputs and options
(`operator_checks`).
"""

from __future__ import annotations

from converters.tflite.flatbuffer import Damage
from converters.tflite.graph_checks import check_graph
from converters.tflite.operator_checks import check_operator
from converters.tflite.reader import refuse_damaged
from converters.tflite.tensor_checks import check_tensor
from converters.tflite.values import ModelInfo


def verify_model(model: ModelInfo) -> ModelInfo:
    """Return the model if native code can be trusted with it.

    Raises:
        ModelFileError: It cannot; the message names the place in the model (subgraphs[0].operators[3].inputs[1]) and
            the byte in the file.
    """
    try:
        _check(model)
    except Damage as damage:
        raise refuse_damaged(model.name, damage) from damage
    return model


def _check(model: ModelInfo) -> None:
    for damage in model.unsupported:
        raise damage
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            check_tensor(model, tensor)
    check_graph(model)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            check_operator(model, subgraph, operator)
