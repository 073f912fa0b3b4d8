"""Defines the values of an inspection and their JSON form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.inspection.memory import ActivationInfo, PeakEstimate
from converters.inspection.quantization import QuantizationSummary
from converters.inspection.weights import COUNTED, WeightInfo

SCHEMA = "edge-inspection/1"


@dataclass(frozen=True)
class FileReport:
    """The file itself. `min_runtime_version` is the TFLite version that its converter states as needed."""

    path: str
    bytes: int
    sha256: str
    description: str
    schema_version: int
    subgraphs: int
    min_runtime_version: str | None
    metadata: tuple[str, ...]
    signatures: tuple[str, ...]


@dataclass(frozen=True)
class Operand:
    """A tensor as an operator names it; `constant` where the file holds its content."""

    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool


@dataclass(frozen=True)
class OperatorReport:
    """One operator. `index` counts within its subgraph; `macs` is None where it is unknown."""

    subgraph: int
    index: int
    op: str
    version: int
    name: str
    inputs: tuple[Operand | None, ...]
    outputs: tuple[Operand, ...]
    options: Mapping[str, Any]
    custom_options_bytes: int
    macs: int | None
    parameters: int
    weights: tuple[WeightInfo, ...]

    @property
    def main_weights(self) -> tuple[WeightInfo, ...]:
        """The weights without the biases."""
        return tuple(item for item in self.weights if item.role == "weights")

    @property
    def sparsity(self) -> float | None:
        """Share of zeros in the weights, without the biases; None where there are none, or they cannot be read."""
        return share_of_zeros(self.main_weights)


@dataclass(frozen=True)
class TensorReport:
    """One tensor, constants and activations alike. `stored_bytes` is 0 for what is computed."""

    subgraph: int
    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int
    dense_bytes: int | None
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    quantized_axis: int | None
    sparse_encoded: bool
    variable: bool


@dataclass(frozen=True)
class EndReport:
    """An input or output of the main graph; -1 in the shape is a size left open."""

    position: int
    tensor: int
    name: str
    signature_name: str | None
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class ParameterReport:
    """Parameters: `count` of distinct constants, `by_use` where a constant shared by two operators counts twice."""

    count: int
    by_use: int
    zeros: int | None
    counted: str = COUNTED


@dataclass(frozen=True)
class SizeReport:
    """The distribution of the file's bytes.

    `unpacked_weights_bytes` is the size of the weights after DENSIFY and DEQUANTIZE; `dense_fp32_bytes` is that of the
    same parameters as plain float32.
    """

    file_bytes: int
    weights_bytes: int
    weights_bytes_by_dtype: Mapping[str, int]
    sparse_index_bytes: int
    custom_options_bytes: int
    other_bytes: int
    unpacked_weights_bytes: int
    dense_fp32_bytes: int


@dataclass(frozen=True)
class MacsReport:
    """`total` is None if any operator's are unknown; `known` excludes those, `unknown` counts them by name.

    Operators of every subgraph count once, however often control flow may run them: then `total` is None.
    """

    total: int | None
    known: int
    unknown: Mapping[str, int]


@dataclass(frozen=True)
class Inspection:
    """The facts about a .tflite file that its bytes show, without running it."""

    file: FileReport
    operators: tuple[OperatorReport, ...]
    operator_counts: Mapping[str, int]
    tensors: tuple[TensorReport, ...]
    inputs: tuple[EndReport, ...]
    outputs: tuple[EndReport, ...]
    parameters: ParameterReport
    macs: MacsReport
    size: SizeReport
    quantization: QuantizationSummary
    activations: tuple[ActivationInfo, ...]
    peak_activation_estimate: PeakEstimate
    dynamic_tensors: int
    edgetpu_compiled: bool

    @property
    def weight_sparsity(self) -> float | None:
        """Share of zeros in all weights without biases, shared ones counted once; None where it is unknown."""
        distinct = {item.stored_in: item for layer in self.operators for item in layer.main_weights}
        return share_of_zeros(tuple(distinct.values()))

    @property
    def layers_sparsity(self) -> tuple[tuple[str, int, int | None], ...]:
        """For each operator with weights: its output's name, the elements of the weights, the zeros among them."""
        return tuple(
            (layer.name, sum(item.parameters for item in layer.main_weights), zeros_in(layer.main_weights))
            for layer in self.operators
            if layer.main_weights
        )

    def to_json(self) -> dict[str, Any]:
        """Return the whole inspection as JSON values, schema `edge-inspection/1`."""
        value = {"schema": SCHEMA, **_plain(dataclasses.asdict(self))}
        value["weight_sparsity"] = self.weight_sparsity
        for layer, report in zip(value["operators"], self.operators, strict=True):
            layer["sparsity"] = report.sparsity
            for item, weight in zip(layer["weights"], report.weights, strict=True):
                item["sparsity"] = weight.sparsity
        return value


def zeros_in(weights: tuple[WeightInfo, ...]) -> int | None:
    """Return the zeros in several constants; None where those of one are unknown."""
    counts = [item.zeros for item in weights if item.zeros is not None]
    return sum(counts) if len(counts) == len(weights) else None


def share_of_zeros(weights: tuple[WeightInfo, ...]) -> float | None:
    """Return the zeros' share of the elements of several constants; None where there are none or some are unknown."""
    zeros, elements = zeros_in(weights), sum(item.parameters for item in weights)
    return None if zeros is None or elements == 0 else zeros / elements


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    # JSON has no word for infinities, which damaged scales may hold.
    return None if isinstance(value, float) and not math.isfinite(value) else value
