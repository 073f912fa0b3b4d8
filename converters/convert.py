"""Converts a model: freezes it once, lowers it by each recipe, compares with Keras, and publishes passing variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from converters.artifact.preprocessing import Preprocessing
from converters.artifact.record import ArtifactRecord, LayerSparsity, SourceRecord, TensorRecord
from converters.artifact.sidecar import Artifact, publish
from converters.capture_output import capture_output
from converters.edgetpu.compiler import Compiler
from converters.edgetpu.gate import require_mapped
from converters.edgetpu.mapping import MappingPrediction
from converters.error_location import locate_error
from converters.errors import CalibrationError, ConverterError, ParityError
from converters.freezing import Port, freeze
from converters.inspection.inspect import inspect_model
from converters.inspection.inspection_values import EndReport
from converters.lowering import Lowering, check_against_recipe, no_calibration
from converters.parity import Parity, looks_like_classes
from converters.recipes import Recipe
from converters.samples import SampleSet
from converters.source import SourceModel
from converters.sparse.pointwise import require_sparse_weights
from converters.tflite.values import ModelInfo
from converters.variant_comparison import Outputs, compare, reference_outputs

Progress = Callable[[int, str], None]
_TOOLS = ("edge-convert", "tensorflow", "keras")
_HINTS = {
    True: "calibrate with more, and more typical, samples (--calibrate, --samples); use fp16 or dynamic; or, if the "
    "error is acceptable, state it: --tolerance relative_rms_error=NUMBER",
    False: "use fp32 or fp16 instead; or, if the error is acceptable, state it: --tolerance relative_rms_error=NUMBER",
}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The fields that the records of all variants of one conversion share; `assumed` is about the preprocessing."""

    source: SourceRecord
    preprocessing: Preprocessing | None = None
    assumed: bool = False
    labels: tuple[str, ...] | None = None
    labels_origin: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant(Artifact):
    """An artifact with its recipe and parity."""

    recipe: Recipe
    parity: Parity


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """A conversion: a model, its static inputs, the recipes, the data, and the content of the records.

    Attributes:
        model: the source.
        inputs: its inputs with static shapes, batch first.
        recipes: each gives one artifact.
        calibration: real inputs; needed by the integer recipes.
        check: inputs on which every variant is compared with the Keras model.
        classes: whether the first output is known to be a score per class; otherwise its values decide.
        provenance: shared by all artifacts.
        name: of the artifacts, before the recipe's.
        folder: where they are published.
        require_sparse: called with every variant of a sparse recipe; raises ConversionError to refuse it. Rules of a
            target can replace the default, which looks at the zeros alone.
        require_mapped: called with every variant for the Edge TPU; returns the prediction, or raises ConversionError
            to refuse it.
        compiler: compiles variants with Google's compiler; needed only for compiled ones.
    """

    model: SourceModel
    inputs: tuple[Port, ...]
    recipes: tuple[Recipe, ...]
    calibration: SampleSet | None
    check: SampleSet
    classes: bool
    provenance: Provenance
    name: str
    folder: Path
    require_sparse: Callable[[ModelInfo], None] = require_sparse_weights
    require_mapped: Callable[[ModelInfo], MappingPrediction] = field(default_factory=require_mapped)
    compiler: Compiler = field(default_factory=Compiler)

    @property
    def batch(self) -> int:
        """The static batch size."""
        return self.inputs[0].shape[0]

    @property
    def steps(self) -> int:
        """The number of steps that `convert` reports."""
        return 2 * len(self.recipes) + 3


def convert(conversion: Conversion, *, on_progress: Progress = lambda steps, note: None) -> tuple[Variant, ...]:
    """Convert, check and publish; every variant is judged separately, nothing is written before all are.

    `check_request` checks the recipes' requirements before the model is loaded.

    Args:
        conversion: the conversion to run.
        on_progress: called as `on_progress(steps_done, note)`; `conversion.steps` in all.

    Returns:
        The published artifacts in the order of the recipes.

    Raises:
        CalibrationError: a calibrated recipe without calibration inputs; the others were published.
        ConversionError: TensorFlow Lite cannot convert the model, or not as a recipe requires; others were published.
        ParityError: a variant is beyond its tolerance; the others were published.
        WriteError: the artifacts could not be written.
    """
    on_progress(0, "running the Keras model")
    reference = reference_outputs(conversion.model, conversion.check, batch=conversion.batch, on_progress=on_progress)
    on_progress(1, "freezing the graph")
    lowering = _make_lowering(conversion, on_progress)
    on_progress(1, "")
    variants: list[Variant] = []
    refusals: list[tuple[Recipe, ConverterError]] = []
    for recipe in conversion.recipes:
        try:
            variants.append(_make_variant(conversion, recipe, lowering, reference, on_progress))
        except ConverterError as error:
            refusals.append((recipe, error))
    on_progress(0, "writing")
    publish(variants)
    on_progress(1, "")
    if refusals:
        raise _merge_refusals(refusals, variants)
    return tuple(variants)


def check_request(recipes: Sequence[Recipe], *, has_calibration: bool, compiler: Compiler) -> None:
    """Check the recipes' requirements before the work begins.

    Raises:
        CalibrationError: a recipe is calibrated and no inputs are given.
        MissingPartError: a recipe needs Google's compiler, which is not installed.
    """
    calibrated = [recipe.name for recipe in recipes if recipe.calibrated]
    if calibrated and not has_calibration:
        error = no_calibration()
        raise CalibrationError(f"{', '.join(calibrated)}: {error}", hint=error.hint)
    if any(recipe.compiled for recipe in recipes):
        compiler.require()


def _make_lowering(conversion: Conversion, on_progress: Progress) -> Lowering:
    model = conversion.model
    with capture_output():
        frozen = freeze(model.call, inputs=conversion.inputs, output_names=model.output_names)
    return Lowering(frozen, samples=conversion.calibration, on_sample=lambda note: on_progress(0, note))


def _make_variant(
    conversion: Conversion, recipe: Recipe, lowering: Lowering, reference: Outputs, on_progress: Progress
) -> Variant:
    """Make one variant and judge it; its content is parsed once, that of a compiled one again."""
    on_progress(0, f"{recipe.name}: converting")
    model = lowering.lower(recipe)
    check_against_recipe(model, recipe)
    if recipe.sparse:
        conversion.require_sparse(model)
    forecast = conversion.require_mapped(model) if recipe.edgetpu else None
    on_progress(1, f"{recipe.name}: comparing with Keras")
    parity = _compare(conversion, recipe, model, reference)
    edgetpu = None if forecast is None else forecast.summary()
    if forecast is not None and recipe.compiled:
        on_progress(0, f"{recipe.name}: compiling")
        result = conversion.compiler.compile(model.content)
        model = result.model
        edgetpu = {"forecast": edgetpu, **result.log.to_json(), "differences": result.differences(forecast)}
    on_progress(1, "")
    record = _record(conversion, recipe, model, parity, edgetpu)
    return Variant(record=record, data=model.content, folder=conversion.folder, recipe=recipe, parity=parity)


def _compare(conversion: Conversion, recipe: Recipe, model: ModelInfo, reference: Outputs) -> Parity:
    """Return the figures of a variant within its tolerance; refuse any other."""
    classes = conversion.classes or looks_like_classes(reference[0])
    check = conversion.check.first(recipe.checked_at_most)
    parity = compare(model, reference, check=check, batch=conversion.batch, classes=classes)
    beyond = parity.beyond(recipe.tolerance)
    if not beyond:
        return parity
    try:
        layer = locate_error(conversion.model, model, check=conversion.check, batch=conversion.batch,
                             limit=recipe.tolerance.relative_rms_error)  # fmt: skip
    except ConverterError as error:
        layer = f"the layer could not be found: {error}"
    message = f"too far from the Keras model on {parity.samples} inputs ({', '.join(beyond)}); {layer}"
    raise ParityError(message, hint=_HINTS[recipe.calibrated])


def _record(
    conversion: Conversion, recipe: Recipe, model: ModelInfo, parity: Parity, edgetpu: dict[str, Any] | None
) -> ArtifactRecord:
    name = f"{conversion.name}-{recipe.name}"
    inspection = inspect_model(model, conversion.folder / f"{name}.tflite")
    shared, calibration = conversion.provenance, conversion.calibration
    return ArtifactRecord(
        name=name,
        file=f"{name}.tflite",
        sha256=inspection.file.sha256,
        bytes=len(model.content),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z"),
        source=shared.source,
        recipe=recipe.record,
        inputs=tuple(map(_tensor, inspection.inputs)),
        outputs=tuple(map(_tensor, inspection.outputs)),
        preprocessing=shared.preprocessing,
        assumed=shared.assumed,
        labels=shared.labels,
        labels_origin=shared.labels_origin,
        parameters=inspection.parameters.count,
        macs=inspection.macs.total,
        layers_sparsity=tuple(
            LayerSparsity(name=layer, parameters=parameters, zeros=zeros)
            for layer, parameters, zeros in inspection.layers_sparsity
        ),
        tools={**{tool: _version(tool) for tool in _TOOLS}, "python": python_version()},
        calibration=calibration.record if calibration is not None and recipe.calibrated else None,
        parity=parity.record(recipe.tolerance),
        edgetpu=edgetpu,
    )


def _tensor(end: EndReport) -> TensorRecord:
    return TensorRecord(name=end.name, shape=end.shape, dtype=end.dtype, scale=end.scale, zero_point=end.zero_point)


def _version(tool: str) -> str | None:
    try:
        return version(tool)
    except PackageNotFoundError:
        return None


def _merge_refusals(refusals: Sequence[tuple[Recipe, ConverterError]], variants: Sequence[Variant]) -> ConverterError:
    """Return one error, of the class with the lowest exit code, that lists all variants that were refused."""
    _, first = min(refusals, key=lambda refusal: refusal[1].exit_code)
    recipes: dict[str, list[str]] = {}
    for recipe, error in refusals:
        recipes.setdefault(str(error), []).append(recipe.name)
    reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in recipes.items())
    published = f"published: {', '.join(each.name for each in variants)}" if variants else "nothing was published"
    return type(first)(f"{reasons} ({published})", hint=first.hint)
