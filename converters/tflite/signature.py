"""Names the inputs and outputs of a lowered model and gives it a signature: what a graph conversion leaves out."""

from __future__ import annotations

from collections.abc import Sequence

from converters.errors import ConversionError
from converters.tflite.editor import ModelEditor
from converters.tflite.values import ModelInfo
from converters.tflite.writer import Table

SIGNATURE = "serving_default"


def add_signature(model: ModelInfo, *, inputs: Sequence[str], outputs: Sequence[str]) -> ModelInfo:
    """Return the model with its inputs and outputs named, in this order, and one serving signature.

    Raises:
        ConversionError: the lowered model has other inputs or outputs than the model it was made from.
    """
    graph = model.main
    if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
        raise ConversionError(
            f"the lowered model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, "
            f"the source {len(inputs)} and {len(outputs)}",
            hint="an input that no output depends on, or an output that is an input: remove it from the Keras model",
        )
    editor = ModelEditor(model)
    sides = {
        "inputs": [*zip(inputs, graph.inputs, strict=True)],
        "outputs": [*zip(outputs, graph.outputs, strict=True)],
    }
    for entries in sides.values():
        for name, index in entries:
            editor.tensors[index]["name"] = name
    editor.root["signature_defs"] = [
        Table(
            "SignatureDef", signature_key=SIGNATURE, subgraph_index=0,
            **{side: [Table("TensorMap", name=name, tensor_index=index) for name, index in entries]
               for side, entries in sides.items()},
        )
    ]  # fmt: skip
    return editor.finish()
