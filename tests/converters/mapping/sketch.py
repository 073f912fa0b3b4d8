"""Files of a few operators, written with the schema's own classes: what no converter would write is possible."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.reader import parse_model
from converters.tflite.values import ModelInfo

Table = Any


class Sketch:
    """A graph in the making; tensors are numbers. Everything is int8 with a scale of 1/2 unless said otherwise."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = b"sketch"
        self._model.operatorCodes, self._model.buffers = [], [schema.BufferT()]
        self._model.metadata = []
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._inputs: list[int] = []
        self._outputs: list[int] = []

    def tensor(self, shape, dtype="int8", *, scales=(0.5,), name="", signature=None) -> int:
        """Add a tensor without content."""
        made = schema.TensorT()
        made.name = (name or f"t{len(self._graph.tensors)}").encode()
        made.shape, made.hasRank = np.array(shape, np.int32), True
        if signature is not None:
            made.shapeSignature = np.array(signature, np.int32)
        made.type = getattr(schema.TensorType, dtype.upper())
        made.buffer = 0
        if dtype in ("int8", "uint8", "int16") and scales:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.array(scales, np.float32)
            made.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def input(self, shape, dtype="int8", **more) -> int:
        """Add an input of the graph."""
        self._inputs.append(self.tensor(shape, dtype, **more))
        return self._inputs[-1]

    def constant(self, values, dtype="int32", **more) -> int:
        """Add a constant."""
        array = np.array(values, dtype)
        tensor = self.tensor(array.shape, dtype, **more)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        self._graph.tensors[tensor].buffer = len(self._model.buffers) - 1
        return tensor

    def weights(self, shape, dtype="int8", **more) -> int:
        """Add a constant of ones."""
        return self.constant(np.ones(shape), dtype, **more)

    def add(self, name, inputs, shape, dtype="int8", *, version=1, options=None, outputs=1, **more) -> int:
        """Add an operator; return the first of its outputs. `options` is a class name and its fields."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(name, version)
        operator.inputs = np.array(inputs, np.int32)
        made = [self.tensor(shape, dtype, **more) for _ in range(outputs)]
        operator.outputs = np.array(made, np.int32)
        if options is not None:
            kind, fields = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = getattr(schema, f"{kind}T")()
            for field, value in fields.items():
                assert hasattr(operator.builtinOptions, field), field
                setattr(operator.builtinOptions, field, value)
        self._graph.operators.append(operator)
        return made[0]

    def convolution(self, source, shape, **fields) -> int:
        """Add a 1x1 CONV_2D to a shape, from whatever channels the source has."""
        channels = int(self._graph.tensors[source].shape[-1])
        kernel = self.weights((shape[-1], 1, 1, channels))
        bias = self.constant(np.zeros(shape[-1]), "int32")
        options = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1} | fields
        return self.add("CONV_2D", [source, kernel, bias], shape, version=3, options=("Conv2DOptions", options))

    def data(self, *outputs) -> bytes:
        """Return the file."""
        import flatbuffers

        self._graph.inputs = np.array(self._inputs, np.int32)
        self._graph.outputs = np.array(outputs, np.int32)
        self._model.subgraphs = [self._graph]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def model(self, *outputs) -> ModelInfo:
        """Return the file as it is read."""
        return parse_model(self.data(*outputs))

    def _code(self, name: str, version: int) -> int:
        builtin = getattr(schema.BuiltinOperator, name, None)
        made = schema.OperatorCodeT()
        made.version = version
        made.builtinCode = schema.BuiltinOperator.CUSTOM if builtin is None else builtin
        made.deprecatedBuiltinCode = min(made.builtinCode, 127)
        made.customCode = name.encode() if builtin is None else None
        self._model.operatorCodes.append(made)
        return len(self._model.operatorCodes) - 1
