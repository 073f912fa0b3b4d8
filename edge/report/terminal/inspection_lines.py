"""Renders the inspection of a .tflite file: its summary, operators, activations and tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from converters.artifact.record import ArtifactRecord, ParityRecord
from converters.inspection.inspection_values import EndReport, Inspection, OperatorReport, TensorReport
from converters.printable import printable
from edge.report.terminal.text_layout import WIDTH, cut, fit_column, table, wrap, wrap_fact

_ACTIVATIONS = 5
_SHORT = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


def summary_lines(inspection: Inspection, record: ArtifactRecord | None) -> Iterator[str]:
    """Yield the facts on the whole file; `record` is its artifact's."""
    file = inspection.file
    yield printable(Path(file.path).name)
    yield from wrap_fact("file", f"{file.bytes:,} bytes, sha256 {file.sha256[:16]}...")
    yield from wrap_fact("made by", _origin(inspection))
    if record is not None:
        recipe, source = record.recipe, record.source
        yield from wrap_fact("recipe", f"{recipe and recipe.name} of {source and source.name}, {record.created}")
        yield from wrap_fact("parity", _parity(record.parity))
    yield from wrap_fact("quantization", _quantization(inspection))
    yield from wrap_fact("parameters", _parameters(inspection))
    yield from wrap_fact("work", _work(inspection))
    yield from wrap_fact("sparsity", _sparsity(inspection))
    yield from _sizes(inspection)
    yield from wrap_fact("activations", _peak(inspection))
    if inspection.dynamic_tensors:
        text = f"{inspection.dynamic_tensors} dynamic tensors (-1 below): XNNPACK may not run any of the graph"
        yield from wrap_fact("shapes", text)


def detail_lines(inspection: Inspection, *, layers: int, tensors: bool) -> Iterator[str]:
    """Yield inputs, outputs, operators and activations; `layers` is how many operators are listed."""
    yield from _ends("Inputs", inspection.inputs)
    yield from _ends("Outputs", inspection.outputs)
    yield from _counts(inspection)
    if layers:
        yield from _layers(inspection, layers)
    yield from _activations(inspection)
    if tensors:
        yield from _tensors(inspection.tensors)


def _origin(inspection: Inspection) -> str:
    file = inspection.file
    parts = [file.description.rstrip(".") or "no description", f"schema {file.schema_version}"]
    if file.min_runtime_version:
        parts.append(f"needs TFLite {file.min_runtime_version}")
    if file.subgraphs > 1:
        parts.append(f"{file.subgraphs} subgraphs")
    if file.signatures:
        parts.append(f"signatures {', '.join(file.signatures)}")
    return ", ".join(parts)


def _parity(parity: ParityRecord | None) -> str:
    if parity is None:
        return "not checked against the Keras model"
    figures = ("samples", "max_abs_error", "cosine", "top1_agreement")
    known = [(name, getattr(parity, name)) for name in figures]
    return ", ".join(f"{name} {value:.6g}" for name, value in known if value is not None)


def _quantization(inspection: Inspection) -> str:
    summary = inspection.quantization
    grain = f", {summary.weights} weights" if summary.weights else ""
    return f"{summary.kind}{grain}: {summary.reason}"


def _parameters(inspection: Inspection) -> str:
    count, by_use = inspection.parameters.count, inspection.parameters.by_use
    shared = "" if by_use == count else f" ({by_use:,} if shared ones count once for each operator)"
    hidden = " outside custom operators" if inspection.size.custom_options_bytes else ""
    return f"{count:,}{hidden}{shared}"


def _work(inspection: Inspection) -> str:
    macs = inspection.macs
    if not macs.unknown:
        batch = " for a batch of 1" if any(end.shape[:1] == (-1,) for end in inspection.inputs) else ""
        return f"{macs.known:,} multiply-accumulates{batch}"
    names = ", ".join(f"{count} {name}" for name, count in macs.unknown.items())
    return f"unknown: {macs.known:,} multiply-accumulates without {names}"


def _sparsity(inspection: Inspection) -> str:
    encoded = sum(item.sparse_encoded for layer in inspection.operators for item in layer.main_weights)
    layers = sum(bool(layer.main_weights) for layer in inspection.operators)
    if not layers:
        return "no weights"
    share = _percent(inspection.weight_sparsity)
    return f"{share} of the weights are zero; {encoded} of {layers} operators' weights are sparse-encoded"


def _sizes(inspection: Inspection) -> Iterator[str]:
    size = inspection.size
    by_dtype = ", ".join(f"{dtype} {count:,}" for dtype, count in size.weights_bytes_by_dtype.items())
    yield from wrap_fact("stored", f"weights {size.weights_bytes:,} bytes" + (f" ({by_dtype})" if by_dtype else ""))
    parts = (
        (size.sparse_index_bytes, "sparse indices"),
        (size.custom_options_bytes, "inside custom operators"),
        (size.other_bytes, "structure, metadata and the rest"),
    )
    for count, what in parts:
        if count:
            yield from wrap_fact("", f"{what} {count:,} bytes")
    unpacked = f"weights unpacked {size.unpacked_weights_bytes:,} bytes; as dense fp32 {size.dense_fp32_bytes:,}"
    yield from wrap_fact("effective", unpacked)


def _peak(inspection: Inspection) -> str:
    peak = inspection.peak_activation_estimate
    if peak.bytes is None:
        return "size known only at run time"
    return f"about {peak.bytes:,} bytes at once (estimate, at operator {peak.operator})"


def _ends(title: str, ends: Sequence[EndReport]) -> Iterator[str]:
    yield from ("", title)
    for end in ends:
        yield f"  {end.position}  {_end(end)}"


def _end(end: EndReport) -> str:
    scale = "" if end.scale is None else f"  scale {end.scale:.8g}, zero point {end.zero_point}"
    text = f"{end.dtype} {_shape(end.shape)}{scale}  "
    return text + cut(end.signature_name or end.name, max(WIDTH - len(text) - 5, 12))


def _counts(inspection: Inspection) -> Iterator[str]:
    yield from ("", f"Operators ({len(inspection.operators)})")
    # A name and its count stay on one line: no break is made at a no-break space.
    counts = [f"{printable(name)}\u00a0x\u00a0{count}" for name, count in inspection.operator_counts.items()]
    yield from (line.replace("\u00a0", " ") for line in wrap(", ".join(counts), "  "))


def _layers(inspection: Inspection, limit: int) -> Iterator[str]:
    # An operator that only unpacks weights is part of the layer that reads them.
    computing = [layer for layer in inspection.operators if not all(item.constant for item in layer.outputs)]
    ranked = sorted(computing, key=lambda layer: (-(layer.macs or 0), -layer.parameters))[:limit]
    listed = sorted(ranked, key=lambda layer: (layer.subgraph, layer.index))
    if not listed:
        return
    most = ", those with the most work" if len(listed) < len(computing) else ""
    yield from ("", f"Layers ({len(listed)} of {len(computing)}{most})")
    rows = [_layer(layer, several=inspection.file.subgraphs > 1) for layer in listed]
    rows.insert(0, ["#", "operator", "output", "MACs", "params", "weights", "zeros"])
    fit_column(rows, 1)
    yield from table(rows, right=(0, 3, 4, 6))


def _layer(layer: OperatorReport, *, several: bool) -> list[str]:
    weights = layer.main_weights
    stored = "/".join(dict.fromkeys(_SHORT.get(item.dtype, item.dtype) for item in weights))
    sparse = " sparse" if any(item.sparse_encoded for item in weights) else ""
    return [
        f"{layer.subgraph}:{layer.index}" if several else str(layer.index),
        layer.op,
        _shape(layer.outputs[0].shape) if layer.outputs else "",
        "?" if layer.macs is None else f"{layer.macs:,}" if layer.macs else "",
        f"{layer.parameters:,}" if layer.parameters else "",
        stored + sparse,
        _percent(layer.sparsity) if weights else "",
    ]


def _activations(inspection: Inspection) -> Iterator[str]:
    largest = inspection.activations[:_ACTIVATIONS]
    if not largest:
        return
    yield from ("", "Largest activations")
    rows = [["bytes", "type", "shape", "tensor"]]
    rows += [["?" if item.bytes is None else f"{item.bytes:,}", item.dtype, _shape(item.shape), item.name]
             for item in largest]  # fmt: skip
    fit_column(rows, 3)
    yield from table(rows, right=(0,))


def _tensors(tensors: Sequence[TensorReport]) -> Iterator[str]:
    yield from ("", f"Tensors ({len(tensors)})")
    several = any(tensor.subgraph for tensor in tensors)
    rows = [["#", "type", "shape", "stored", "scale", "zero", "tensor"]]
    rows += [_tensor(tensor, several=several) for tensor in tensors]
    fit_column(rows, 6)
    yield from table(rows, right=(0, 3, 4, 5))


def _tensor(tensor: TensorReport, *, several: bool) -> list[str]:
    scales, zeros = tensor.scales, tensor.zero_points
    return [
        f"{tensor.subgraph}:{tensor.index}" if several else str(tensor.index),
        _SHORT.get(tensor.dtype, tensor.dtype) + (" sparse" if tensor.sparse_encoded else ""),
        _shape(tensor.shape),
        f"{tensor.stored_bytes:,}" if tensor.stored_bytes else "",
        f"{scales[0]:.4g}" if len(scales) == 1 else f"{len(scales)} ch." if scales else "",
        str(zeros[0]) if len(scales) == 1 and zeros else "",
        tensor.name,
    ]


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) if shape else "scalar"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}"
