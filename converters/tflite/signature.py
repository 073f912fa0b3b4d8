"""Names and a serving signature for a lowered model: what a graph conversion leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from converters.errors import ConversionError
from converters.freezing import Port

Table = Any  # an object of tensorflow.lite.python.schema_py_generated
SIGNATURE = "serving_default"


def with_signature(data: bytes, *, inputs: Sequence[Port], outputs: Sequence[Port]) -> bytes:
    """Return the model with its inputs and outputs named as in Keras, in the Keras order, and one serving signature.

    Raises:
        ConversionError: the lowered model has other inputs or outputs than the model it was made from.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    graph = model.subgraphs[0]
    if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
        raise ConversionError(
            f"the lowered model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, "
            f"the source {len(inputs)} and {len(outputs)}",
            hint="an input that no output depends on, or an output that is an input: remove it from the Keras model",
        )
    for indices, ports in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for index, port in zip(indices, ports, strict=True):
            graph.tensors[int(index)].name = port.name.encode()
    model.signatureDefs = [_signature(graph, inputs, outputs)]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _signature(graph: Table, inputs: Sequence[Port], outputs: Sequence[Port]) -> Table:
    from tensorflow.lite.python import schema_py_generated as schema

    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE.encode()
    signature.subgraphIndex = 0
    signature.inputs = [_entry(port.name, index) for port, index in zip(inputs, graph.inputs, strict=True)]
    signature.outputs = [_entry(port.name, index) for port, index in zip(outputs, graph.outputs, strict=True)]
    return signature


def _entry(name: str, index: int) -> Table:
    from tensorflow.lite.python import schema_py_generated as schema

    entry = schema.TensorMapT()
    entry.name = name.encode()
    entry.tensorIndex = int(index)
    return entry
