"""Edits the main graph of a .tflite file: constants, tensors, operators, the names of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.errors import ConversionError
from converters.tflite import schema
from converters.tflite.reader import parse_model
from converters.tflite.values import ModelInfo
from converters.tflite.writer import SchemaTable, pack_model, unpack_model

SIGNATURE = "serving_default"
_NO_BUFFER = 0  # by convention the first buffer is empty


class ModelEditor:
    """The main graph of one file; tensors and buffers are only ever added, so that indices keep their meaning.

    Operators are known by their index in the file; those that are added get their places when the file is packed.
    """

    def __init__(self, model: ModelInfo) -> None:
        """Unpack the file.

        Raises:
            ModelFileError: the file has fields that are newer than the schema known here.
        """
        self._name = model.name
        self.root = unpack_model(model)
        self.graph = self.root["subgraphs"][0]
        self.tensors: list[SchemaTable] = self.graph["tensors"]
        self.operators: list[SchemaTable] = list(self.graph["operators"] or ())
        self._before: dict[int | None, list[SchemaTable]] = {}  # None: before all operators
        self._after: dict[int, list[SchemaTable]] = {}

    def set_values(self, tensor: int, values: NDArray[Any]) -> None:
        """Make a tensor a constant of these values and their type; its buffer is new, the old one may be shared."""
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.root["buffers"].append(SchemaTable("Buffer", data=data))
        self.tensors[tensor]["buffer"] = len(self.root["buffers"]) - 1
        self.tensors[tensor]["type"] = type_number(values.dtype.name)

    def add_like(self, tensor: int, *, suffix: str, **changes: Any) -> int:  # noqa: ANN401
        """Add a tensor of the same shape and type without content, and return its index; `changes` are its fields."""
        model = self.tensors[tensor]
        kept = {name: model[name] for name in ("shape", "shape_signature", "type")}
        name = f"{model['name'] or ''}{suffix}"
        self.tensors.append(
            SchemaTable("Tensor", **{**kept, "name": name, "has_rank": True, "buffer": _NO_BUFFER, **changes})
        )
        return len(self.tensors) - 1

    def set_computed(self, tensor: int) -> None:
        """Remove a constant's content: an operator writes it now."""
        self.tensors[tensor]["buffer"] = _NO_BUFFER

    def set_input(self, operator: int, place: int, tensor: int) -> None:
        """Let an operator read another tensor at one place of its inputs."""
        inputs = np.array(self.operators[operator]["inputs"], np.int32)
        inputs[place] = tensor
        self.operators[operator]["inputs"] = inputs

    def set_output(self, operator: int, tensor: int) -> None:
        """Let an operator of one output write another tensor."""
        self.operators[operator]["outputs"] = np.array([tensor], np.int32)

    def insert(
        self, name: str, inputs: Sequence[int], output: int, *, version: int, options: SchemaTable | None = None,
        before: int | None = None, after: int | None = None,
    ) -> None:  # fmt: skip
        """Add an operator of one output before or after an operator of the file; before all where neither is given."""
        operator = SchemaTable(
            "Operator", opcode_index=self.find_code(name, version), inputs=np.array(inputs, np.int32),
            outputs=np.array([output], np.int32), builtin_options=options,
        )  # fmt: skip
        if after is not None:
            self._after.setdefault(after, []).append(operator)
        else:
            self._before.setdefault(before, []).append(operator)

    def find_code(self, name: str, version: int) -> int:
        """Return the index of an operator code, which is added where the file has none like it."""
        codes, wanted = self.root["operator_codes"], schema.OPERATORS.index(name)
        for place, code in enumerate(codes):
            if max(code["builtin_code"], code["deprecated_builtin_code"]) == wanted and code["version"] == version:
                return place
        codes.append(
            SchemaTable("OperatorCode", builtin_code=wanted, deprecated_builtin_code=min(wanted, 127), version=version)
        )
        return len(codes) - 1

    def pack(self) -> bytes:
        """Return the changed file, without codes and contents of buffers that nothing refers to; called once."""
        placed = list(self._before.get(None, ()))
        for index, operator in enumerate(self.operators):
            placed += [*self._before.get(index, ()), operator, *self._after.get(index, ())]
        self.graph["operators"] = placed
        self._empty_unused_buffers()
        self._drop_unused_codes()
        return pack_model(self.root)

    def finish(self) -> ModelInfo:
        """Return the changed model; called once, in place of `pack`."""
        return parse_model(self.pack(), name=self._name)

    def _empty_unused_buffers(self) -> None:
        used = {tensor["buffer"] for graph in self.root["subgraphs"] for tensor in graph["tensors"] or ()}
        used |= {item["buffer"] for item in self.root["metadata"] or ()}
        if self.root["metadata_buffer"] is not None:
            used |= set(self.root["metadata_buffer"].tolist())
        for place, buffer in enumerate(self.root["buffers"]):
            if place not in used and buffer["data"] is not None:
                self.root["buffers"][place] = SchemaTable("Buffer")

    def _drop_unused_codes(self) -> None:
        operators = [operator for graph in self.root["subgraphs"] for operator in graph["operators"] or ()]
        used = {index: place for place, index in enumerate(sorted({op["opcode_index"] for op in operators}))}
        for operator in operators:
            operator["opcode_index"] = used[operator["opcode_index"]]
        self.root["operator_codes"] = [self.root["operator_codes"][index] for index in used]


def type_number(dtype: str) -> int:
    """Return the schema's number of an element type."""
    return schema.TENSOR_TYPES.index(dtype.upper())


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
        SchemaTable(
            "SignatureDef", signature_key=SIGNATURE, subgraph_index=0,
            **{side: [SchemaTable("TensorMap", name=name, tensor_index=index) for name, index in entries]
               for side, entries in sides.items()},
        )
    ]  # fmt: skip
    return editor.finish()
