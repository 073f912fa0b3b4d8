"""The arrow from a model to artifacts: freeze once, lower by each recipe, compare with Keras, publish what passed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.artifact.record import Artifact, Provenance, publish
from converters.capture_output import quiet
from converters.edgetpu.compiler import Compiler
from converters.edgetpu.gate import require_mapped
from converters.edgetpu.mapping import Forecast
from converters.error_location import blame
from converters.errors import CalibrationError, ConverterError, ParityError
from converters.freezing import Port, freeze
from converters.lowering import Lowering
from converters.parity import Parity, looks_like_classes
from converters.recipe_gate import require_recipe_kept
from converters.recipes import Recipe
from converters.samples import SampleSet
from converters.source import SourceModel
from converters.sparse.pointwise import require_sparse_weights
from converters.tflite.reader import parse_model
from converters.tflite.values import ModelInfo
from converters.variant_comparison import Outputs, compare, reference_outputs

Progress = Callable[[int, str], None]
_HINTS = {
    True: "calibrate with more, and more typical, samples (--calibrate, --samples); use fp16 or dynamic; or, if the "
    "error is acceptable, state it: --tolerance relative_rms_error=NUMBER",
    False: "use fp32 or fp16 instead; or, if the error is acceptable, state it: --tolerance relative_rms_error=NUMBER",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Conversion:
    """What is asked: a model, its static inputs, the recipes, the data, and what goes into the artifacts' JSON.

    Attributes:
        model: the source.
        inputs: its inputs with static shapes, batch first.
        recipes: each gives one artifact.
        calibration: real inputs; needed by the integer recipes.
        check: inputs on which every variant is compared with the Keras model.
        classes: whether the first output is known to be a score per class; otherwise its values are looked at.
        provenance: shared by all artifacts.
        name: of the artifacts, before the recipe's.
        folder: where they are published.
        require_sparse: called with every variant of a sparse recipe; raises ConversionError to refuse one.
            Rules of a target can take the place of the default, which looks at the zeros alone.
        require_mapped: called with every variant for the Edge TPU; returns the forecast, or raises
            ConversionError to refuse one.
        compiler: makes the variants that Google's compiler has to make; needed for those alone.
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
    require_mapped: Callable[[ModelInfo], Forecast] = field(default_factory=require_mapped)
    compiler: Compiler = field(default_factory=Compiler)

    @property
    def batch(self) -> int:
        """The static batch size."""
        return self.inputs[0].shape[0]

    @property
    def steps(self) -> int:
        """How many steps `convert` reports."""
        return 2 * len(self.recipes) + 3


def convert(conversion: Conversion, *, on_progress: Progress = lambda steps, note: None) -> tuple[Artifact, ...]:
    """Convert, check and publish; every variant is judged on its own, nothing is written before all are.

    Args:
        conversion: what is asked.
        on_progress: called as `on_progress(steps_done, note)`; `conversion.steps` in all.

    Returns:
        The published artifacts in the order of the recipes.

    Raises:
        CalibrationError: an integer recipe without calibration inputs; nothing was published.
        ConversionError: TensorFlow Lite cannot convert the model, or not as a recipe promises; others were published.
        ParityError: a variant is beyond its tolerance; the others were published.
        WriteError: the artifacts could not be written.
    """
    require_calibration(conversion.recipes, given=conversion.calibration is not None)
    require_compiler(conversion.recipes, conversion.compiler)
    on_progress(0, "running the Keras model")
    reference = reference_outputs(conversion.model, conversion.check, batch=conversion.batch, on_progress=on_progress)
    on_progress(1, "freezing the graph")
    lowering = _lowering(conversion, on_progress)
    on_progress(1, "")
    artifacts, refusals = [], []
    for recipe in conversion.recipes:
        try:
            artifacts.append(_variant(conversion, recipe, lowering, reference, on_progress))
        except ConverterError as error:
            refusals.append((recipe, error))
    on_progress(0, "writing")
    publish(artifacts)
    on_progress(1, "")
    if refusals:
        raise _refused(refusals, artifacts)
    return tuple(artifacts)


def require_calibration(recipes: Sequence[Recipe], *, given: bool) -> None:
    """Refuse integer recipes without calibration inputs.

    Raises:
        CalibrationError: there is such a recipe and nothing was given.
    """
    asking = [recipe.name for recipe in recipes if recipe.calibrated]
    if asking and not given:
        raise CalibrationError(
            f"{', '.join(asking)}: ranges must be measured on real inputs, and none were given",
            hint="--calibrate SRC with a folder of pictures, an .npy or .npz file, or 'digits'; 100 samples are enough",
        )


def require_compiler(recipes: Sequence[Recipe], compiler: Compiler) -> None:
    """Find out before the work begins whether Google's compiler is there, where a recipe needs it.

    Raises:
        MissingPartError: it is not.
    """
    if any(recipe.compiled for recipe in recipes):
        compiler.require()


def _lowering(conversion: Conversion, on_progress: Progress) -> Lowering:
    model = conversion.model
    with quiet():
        frozen = freeze(model.call, inputs=conversion.inputs, output_names=model.output_names)
    return Lowering(frozen, samples=conversion.calibration, feeding=lambda note: on_progress(0, note))


def _variant(
    conversion: Conversion, recipe: Recipe, lowering: Lowering, reference: Outputs, on_progress: Progress
) -> Artifact:
    """Make one variant and judge it."""
    on_progress(0, f"{recipe.name}: converting")
    data = lowering.lower(recipe)
    model = parse_model(data, name=f"the {recipe.name} model")
    require_recipe_kept(model, recipe)
    if recipe.sparse:
        conversion.require_sparse(model)
    mapped = conversion.require_mapped(model) if recipe.edgetpu else None
    on_progress(1, f"{recipe.name}: comparing with Keras")
    classes = conversion.classes or looks_like_classes(reference[0])
    check = conversion.check.first(recipe.checked_at_most)
    parity = compare(data, reference, check=check, batch=conversion.batch, classes=classes)
    _require_within(conversion, recipe, data, parity)
    told = None if mapped is None else mapped.summary()
    if mapped is not None and recipe.compiled:
        on_progress(0, f"{recipe.name}: compiling")
        data, told = _compiled(conversion, data, mapped)
    on_progress(1, "")
    return Artifact(name=f"{conversion.name}-{recipe.name}", folder=conversion.folder, data=data, recipe=recipe,
                    parity=parity, provenance=conversion.provenance, edgetpu=told)  # fmt: skip


def _compiled(conversion: Conversion, data: bytes, mapped: Forecast) -> tuple[bytes, dict[str, Any]]:
    """Let Google's compiler make the file; return it with what the compiler says of it, beside the forecast."""
    result = conversion.compiler.compile(data)
    return result.data, {
        "forecast": mapped.summary(),
        **result.log.to_json(),
        "differences": result.differences(mapped),
    }


def _require_within(conversion: Conversion, recipe: Recipe, data: bytes, parity: Parity) -> None:
    beyond = parity.beyond(recipe.tolerance)
    if not beyond:
        return
    try:
        layer = blame(conversion.model, data, check=conversion.check, batch=conversion.batch,
                      limit=recipe.tolerance.relative_rms_error)  # fmt: skip
    except ConverterError as error:
        layer = f"the layer could not be found: {error}"
    told = f"too far from the Keras model on {parity.samples} inputs ({', '.join(beyond)}); {layer}"
    raise ParityError(told, hint=_HINTS[recipe.calibrated])


def _refused(refusals: Sequence[tuple[Recipe, ConverterError]], artifacts: Sequence[Artifact]) -> ConverterError:
    """Return one error, of the class of the lowest exit code, that tells of all variants that were refused."""
    _, first = min(refusals, key=lambda refusal: refusal[1].exit_code)
    same: dict[str, list[str]] = {}
    for recipe, error in refusals:
        same.setdefault(str(error), []).append(recipe.name)
    told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in same.items())
    kept = f"published: {', '.join(artifact.name for artifact in artifacts)}" if artifacts else "nothing was published"
    return type(first)(f"{told} ({kept})", hint=first.hint)
