"""Describes an artifact: the record that NAME.json holds about NAME.tflite, schema `edge-artifact/1`.

Every artifact that `edge convert` writes states all fields. A field that an earlier version did not write, or that is
null, is None: unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.artifact.preprocessing import Preprocessing
from converters.decode import Count, NonNegative, encode

SCHEMA = "edge-artifact/1"


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """The origin of a model: enough to build it again."""

    name: str
    kind: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    weights: str | None = None
    weights_sha256: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ToleranceRecord:
    """The allowed distance of a variant from the Keras model; see `converters.recipes.Tolerance`."""

    relative_rms_error: float | None = None
    relative_max_error: float | None = None
    top1_agreement: float | None = None
    accuracy_drop: float | None = None


@dataclass(frozen=True, kw_only=True)
class RecipeRecord:
    """The recipe a variant was made by; see `converters.recipes.Recipe`."""

    name: str
    weights: str | None = None
    activations: str | None = None
    interface: str | None = None
    calibrated: bool | None = None
    tolerance: ToleranceRecord | None = None
    about: str | None = None
    sparse: bool | None = None
    checked_at_most: Count | None = None
    edgetpu: bool | None = None
    compiled: bool | None = None


@dataclass(frozen=True, kw_only=True)
class TensorRecord:
    """An input or output of the model; -1 in the shape is a size left open."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """The number of zeros in a layer's parameters; None where their storage does not allow counting."""

    name: str
    parameters: Count
    zeros: Count | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """The inputs on which ranges were measured."""

    source: str | None = None
    samples: Count | None = None
    seed: int | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class AccuracyRecord:
    """Correct answers of the variant and of the Keras model on the same labelled inputs."""

    correct: Count
    of: Count
    reference_correct: Count | None = None
    classes: Count | None = None


@dataclass(frozen=True, kw_only=True)
class ParityRecord:
    """The variant against the Keras model; see `converters.parity.Parity`."""

    samples: Count | None = None
    source: str | None = None
    real: bool | None = None
    max_abs_error: NonNegative | None = None
    mean_abs_error: NonNegative | None = None
    cosine: float | None = None
    relative_rms_error: NonNegative | None = None
    relative_max_error: NonNegative | None = None
    top1_agreement: NonNegative | None = None
    decided: Count | None = None
    decided_agreement: NonNegative | None = None
    accuracy: AccuracyRecord | None = None
    tolerance: ToleranceRecord | None = None


@dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """The known facts about one .tflite file.

    Attributes:
        name: Of the artifact, such as mobilenet_v2-int8.
        sha256: Of the .tflite file.
        created: When it was converted, ISO 8601 in UTC.
        preprocessing: How pixels become the input; None for a model that does not take
            images, or where it is unknown.
        assumed: Whether the preprocessing is only assumed.
        labels: Names by class index.
        labels_origin: The source of the labels.
        macs: Multiply-adds of one inference.
        tools: Versions of the tools that made the artifact; None for those not installed as packages.
        edgetpu: The mapping that the Edge TPU's compiler is predicted to produce, or for a compiled file has produced.
    """

    name: str
    file: str | None = None
    sha256: str
    bytes: Count | None = None
    created: str | None = None
    source: SourceRecord | None = None
    recipe: RecipeRecord | None = None
    inputs: tuple[TensorRecord, ...] | None = None
    outputs: tuple[TensorRecord, ...] | None = None
    preprocessing: Preprocessing | None = None
    assumed: bool | None = None
    labels: tuple[str, ...] | None = None
    labels_origin: str | None = None
    parameters: Count | None = None
    macs: Count | None = None
    layers_sparsity: tuple[LayerSparsity, ...] | None = None
    tools: Mapping[str, str | None] | None = None
    calibration: CalibrationRecord | None = None
    parity: ParityRecord | None = None
    edgetpu: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of NAME.json."""
        return {"schema": SCHEMA, **encode(self)}
