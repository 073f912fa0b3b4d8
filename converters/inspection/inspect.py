"""Inspects a .tflite file: derives all figures from its bytes, without running it."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from converters.inspection.inspection_values import (
    EndReport,
    FileReport,
    Inspection,
    MacsReport,
    Operand,
    OperatorReport,
    ParameterReport,
    SizeReport,
    TensorReport,
    zeros_in,
)
from converters.inspection.macs import macs_of
from converters.inspection.memory import activations, peak
from converters.inspection.quantization import summarize
from converters.inspection.weights import Origin, WeightInfo, WeightReader, origins
from converters.tflite.reader import read_model
from converters.tflite.values import ABSENT, ModelInfo, OperatorInfo, SubgraphInfo, TensorInfo

_MIN_VERSION = "min_runtime_version"
_FP32_BYTES = 4


def inspect(path: Path) -> Inspection:
    """Read a .tflite file and return everything that its bytes show, without running it.

    Files from any converter are read; operators newer than the schema appear as BUILTINOPERATOR_NUMBER.

    Raises:
        SourceError: the file is missing or unreadable.
        ModelFileError: it is not a .tflite file, or is damaged.
    """
    return inspect_model(read_model(path), path)


def inspect_model(model: ModelInfo, path: Path) -> Inspection:
    """Inspect a model that has been read; `path` is the file's name in the inspection."""
    operators = tuple(_operators(model))
    found = tuple(item for graph in model.subgraphs for item in activations(graph))
    main = [layer for layer in operators if layer.subgraph == 0]
    weighted = [(model.main.operators[layer.index], layer.weights) for layer in main if layer.weights]
    return Inspection(
        file=_file(model, path),
        operators=operators,
        operator_counts=dict(Counter(layer.op for layer in operators).most_common()),
        tensors=tuple(_tensor(graph, tensor) for graph in model.subgraphs for tensor in graph.tensors),
        inputs=_ends(model, "inputs"),
        outputs=_ends(model, "outputs"),
        parameters=_parameters(operators),
        macs=_macs(operators),
        size=_size(model, operators),
        quantization=summarize(model.main, weighted, [item.dtype for item in found if item.subgraph == 0]),
        activations=found,
        peak_activation_estimate=peak(model.main),
        dynamic_tensors=sum(tensor.is_dynamic for graph in model.subgraphs for tensor in graph.tensors),
        edgetpu_compiled=model.is_edgetpu_compiled,
    )


def _operators(model: ModelInfo) -> list[OperatorReport]:
    reader = WeightReader(model)
    reports = []
    for graph in model.subgraphs:
        found = origins(graph)
        reports += [
            _operator(graph, operator, reader.of(graph, operator, found), found) for operator in graph.operators
        ]
    return reports


def _operator(
    graph: SubgraphInfo, operator: OperatorInfo, weights: tuple[WeightInfo, ...], found: dict[int, Origin]
) -> OperatorReport:
    return OperatorReport(
        subgraph=graph.index,
        index=operator.index,
        op=operator.name,
        version=operator.version,
        name=graph.tensors[operator.outputs[0]].name if operator.outputs else "",
        inputs=tuple(None if index == ABSENT else _operand(graph.tensors[index], found) for index in operator.inputs),
        outputs=tuple(_operand(graph.tensors[index], found) for index in operator.outputs),
        options=dict(operator.options.fields),
        custom_options_bytes=len(operator.custom_options),
        macs=macs_of(graph, operator),
        parameters=sum(item.parameters for item in weights),
        weights=weights,
    )


def _operand(tensor: TensorInfo, found: dict[int, Origin]) -> Operand:
    return Operand(tensor.index, tensor.name, tensor.full_shape, tensor.dtype, tensor.index in found)


def _file(model: ModelInfo, path: Path) -> FileReport:
    return FileReport(
        path=str(path),
        bytes=len(model.content),
        sha256=hashlib.sha256(model.content).hexdigest(),
        description=model.description,
        schema_version=model.schema_version,
        subgraphs=len(model.subgraphs),
        min_runtime_version=_min_version(model),
        metadata=tuple(item.name for item in model.metadata),
        signatures=tuple(item.key for item in model.signatures),
    )


def _min_version(model: ModelInfo) -> str | None:
    for item in model.metadata:
        if item.name == _MIN_VERSION:
            return bytes(model.buffers[item.buffer]).rstrip(b"\0").decode("ascii", errors="replace") or None
    return None


def _tensor(graph: SubgraphInfo, tensor: TensorInfo) -> TensorReport:
    quantization = tensor.quantization
    return TensorReport(
        subgraph=graph.index,
        index=tensor.index,
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.full_shape,
        stored_bytes=tensor.stored_bytes,
        dense_bytes=tensor.dense_bytes,
        scales=() if quantization is None else quantization.scales,
        zero_points=() if quantization is None else quantization.zero_points,
        quantized_axis=quantization.axis if quantization is not None and quantization.per_channel else None,
        sparse_encoded=tensor.sparsity is not None,
        variable=tensor.is_variable,
    )


def _ends(model: ModelInfo, side: str) -> tuple[EndReport, ...]:
    indices: tuple[int, ...] = getattr(model.main, side)
    named: dict[int, str] = {}
    for signature in model.signatures:
        if signature.subgraph == 0:
            named.update({index: name for name, index in getattr(signature, side).items()})
    return tuple(_end(position, model.main.tensors[index], named) for position, index in enumerate(indices))


def _end(position: int, tensor: TensorInfo, named: dict[int, str]) -> EndReport:
    quantization = tensor.quantization
    single = quantization is not None and len(quantization.scales) == 1
    return EndReport(
        position=position,
        tensor=tensor.index,
        name=tensor.name,
        signature_name=named.get(tensor.index),
        dtype=tensor.dtype,
        shape=tensor.full_shape,
        scale=quantization.scales[0] if quantization is not None and single else None,
        zero_point=quantization.zero_points[0] if quantization is not None and single else None,
    )


def _distinct(operators: tuple[OperatorReport, ...]) -> tuple[WeightInfo, ...]:
    """Return each stored constant once: converters store equal constants once, however many operators read them."""
    return tuple({item.stored_in: item for layer in operators for item in layer.weights}.values())


def _parameters(operators: tuple[OperatorReport, ...]) -> ParameterReport:
    distinct = _distinct(operators)
    return ParameterReport(
        count=sum(item.parameters for item in distinct),
        by_use=sum(layer.parameters for layer in operators),
        zeros=zeros_in(distinct),
    )


def _macs(operators: tuple[OperatorReport, ...]) -> MacsReport:
    unknown = Counter(layer.op for layer in operators if layer.macs is None)
    known = sum(layer.macs for layer in operators if layer.macs is not None)
    return MacsReport(total=None if unknown else known, known=known, unknown=dict(unknown))


def _size(model: ModelInfo, operators: tuple[OperatorReport, ...]) -> SizeReport:
    distinct = _distinct(operators)
    by_dtype: Counter[str] = Counter()
    for item in distinct:
        by_dtype[item.dtype] += item.stored_bytes
    weights, indices = sum(by_dtype.values()), sum(item.index_bytes for item in distinct)
    custom = sum(layer.custom_options_bytes for layer in operators)
    outside = sum(len(content) for content in model.outside.values())
    file_bytes = len(model.content) + outside
    return SizeReport(
        file_bytes=file_bytes,
        weights_bytes=weights,
        weights_bytes_by_dtype=dict(by_dtype.most_common()),
        sparse_index_bytes=indices,
        custom_options_bytes=custom,
        other_bytes=file_bytes - weights - indices - custom,
        unpacked_weights_bytes=sum(item.unpacked_bytes for item in distinct),
        dense_fp32_bytes=_FP32_BYTES * sum(item.parameters for item in distinct),
    )
