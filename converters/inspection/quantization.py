"""Classifies the quantization of a model in standard terms, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from converters.inspection.weights import WeightInfo
from converters.tflite.values import EDGE_TPU_OPERATOR, FLOATS, OperatorInfo, SubgraphInfo

_INTEGERS = frozenset({"int8", "uint8", "int4", "uint4", "int2"})
_BORDER = frozenset({"QUANTIZE", "DEQUANTIZE"})
# Kinds of one operator with weights; the words are the field's.
FLOAT, FLOAT16, DYNAMIC, WEIGHT_ONLY = "float32", "float16-weights", "dynamic-range", "weight-only"
INTEGER, INT16X8, MIXED, NONE = "full-integer", "int16x8", "mixed", "no-weights"

Weighted = Sequence[tuple[OperatorInfo, tuple[WeightInfo, ...]]]


@dataclass(frozen=True)
class QuantizationSummary:
    """The classification, and the counts it is based on.

    `kind` is one of float32, float16-weights, dynamic-range, weight-only, full-integer, int16x8, mixed, no-weights.
    `weights` is per-channel, per-tensor, mixed, or None where no weights are quantized.
    """

    kind: str
    reason: str
    weights: str | None
    weight_dtypes: Mapping[str, int]
    activation_dtypes: Mapping[str, int]
    operators_by_kind: Mapping[str, int]


def summarize(graph: SubgraphInfo, weighted: Weighted, activation_dtypes: Iterable[str]) -> QuantizationSummary:
    """Classify a graph by the types that its operators read.

    Args:
        graph: the main graph.
        weighted: its operators that have weights, with them.
        activation_dtypes: the type of each activation.
    """
    main = [(operator, [item for item in items if item.role == "weights"]) for operator, items in weighted]
    kinds = Counter(_kind_of(graph, operator, items) for operator, items in main if items)
    weights = [item for _, items in main for item in items]
    kind, reason = _verdict(graph, kinds)
    return QuantizationSummary(
        kind=kind,
        reason=reason,
        weights=_granularity(weights),
        weight_dtypes=dict(Counter(item.dtype for item in weights)),
        activation_dtypes=dict(Counter(activation_dtypes)),
        operators_by_kind=dict(kinds),
    )


def _kind_of(graph: SubgraphInfo, operator: OperatorInfo, weights: Sequence[WeightInfo]) -> str:
    constants = {item.tensor for item in weights}
    computed = [index for index in operator.inputs if index >= 0 and index not in constants]
    stored = weights[0].dtype
    # The activation decides what is computed; an embedding's ids say nothing, its result does.
    read = graph.tensors[computed[0]].dtype if computed else weights[0].read_as
    if read not in FLOATS and read not in _INTEGERS and read != "int16":
        read = graph.tensors[operator.outputs[0]].dtype
    if read in FLOATS:
        return _float_kind(stored, weights[0])
    if read == "int16":
        return INT16X8 if stored in _INTEGERS else MIXED
    return INTEGER if stored in _INTEGERS else MIXED


def _float_kind(stored: str, weights: WeightInfo) -> str:
    if stored == "float16":
        return FLOAT16
    if stored in FLOATS:
        return FLOAT
    return WEIGHT_ONLY if "DEQUANTIZE" in weights.unpacked_by else DYNAMIC


def _verdict(graph: SubgraphInfo, kinds: Counter[str]) -> tuple[str, str]:
    if not kinds:
        compiled = any(operator.name == EDGE_TPU_OPERATOR for operator in graph.operators)
        inside = f"; the Edge TPU compiler keeps them inside {EDGE_TPU_OPERATOR}" if compiled else ""
        return NONE, f"no builtin operator of the main graph has weights{inside}"
    reduced = set(kinds) - {FLOAT}
    if not reduced:
        return FLOAT, f"all {kinds[FLOAT]} operators with weights compute in float with float weights"
    if len(reduced) > 1:
        return MIXED, "operators with weights differ: " + _list_counts(kinds)
    kind = reduced.pop()
    if kind in {INTEGER, INT16X8}:
        return _integer_verdict(graph, kind, kinds)
    rest = f"; {kinds[FLOAT]} keep float weights" if kinds[FLOAT] else ""
    return kind, f"{kinds[kind]} operators compute with float activations and {_WHAT[kind]}{rest}"


_WHAT = {
    FLOAT16: "float16 weights that are unpacked at load",
    DYNAMIC: "integer weights, quantizing activations as they run",
    WEIGHT_ONLY: "integer weights that are unpacked to float at load",
    MIXED: "weights of a type that does not fit the activations",
}


def _integer_verdict(graph: SubgraphInfo, kind: str, kinds: Counter[str]) -> tuple[str, str]:
    floating = [operator for operator in graph.operators if _computes_in_float(graph, operator)]
    if kinds[FLOAT] or floating:
        names = _list_counts(Counter(operator.name for operator in floating)) or _list_counts(kinds)
        return MIXED, f"{kinds[kind]} operators with weights compute in integers, but these in float: {names}"
    custom = [operator for operator in graph.operators if operator.is_custom and _writes_float(graph, operator)]
    aside = "; custom operators write float: " + _list_counts(Counter(item.name for item in custom)) if custom else ""
    ends = {graph.tensors[index].dtype for index in graph.inputs + graph.outputs}
    border = "; inputs or outputs are float" if ends & FLOATS else ""
    return kind, f"all {kinds[kind]} operators with weights compute in integers, and none in float{border}{aside}"


def _computes_in_float(graph: SubgraphInfo, operator: OperatorInfo) -> bool:
    return operator.name not in _BORDER and not operator.is_custom and _writes_float(graph, operator)


def _writes_float(graph: SubgraphInfo, operator: OperatorInfo) -> bool:
    return any(graph.tensors[index].dtype in FLOATS for index in operator.outputs)


def _granularity(weights: Sequence[WeightInfo]) -> str | None:
    found = {item.per_channel for item in weights if item.per_channel is not None}
    if not found:
        return None
    return MIXED if len(found) > 1 else "per-channel" if found.pop() else "per-tensor"


def _list_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
