"""Lists the recipes: the number formats of a variant, and its allowed difference from the Keras model.

A new recipe is one record here; one that lowers in a new way adds that way to the table of converters/lowering.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from difflib import get_close_matches
from types import MappingProxyType

from converters.artifact.record import RecipeRecord, ToleranceRecord
from converters.errors import ConversionError


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """The allowed difference of a variant from the Keras model on the checked inputs; None: not judged.

    Attributes:
        relative_rms_error: root mean square error over the outputs' own root mean square, after one step of the
            output's quantization is subtracted from every element's error: the output's resolution is not an error of
            the conversion (a softmax over 1000 classes in int8 has steps of 1/256).
        relative_max_error: largest absolute error over the largest absolute output, one step subtracted likewise.
        top1_agreement: share of the clearly decided inputs on which the variant names the same class. Decided: the
            first class leads the second by at least a tenth of its value, on at least 20 inputs.
        accuracy_drop: share of all labelled inputs that the variant may lose against the Keras model.
    """

    relative_rms_error: float
    relative_max_error: float | None = None
    top1_agreement: float | None = None
    accuracy_drop: float | None = None

    @property
    def record(self) -> ToleranceRecord:
        """The artifact's record of it."""
        return ToleranceRecord(**vars(self))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way from a float model to an artifact.

    Attributes:
        weights: the stored type: float32, float16 or int8 (per output channel).
        activations: the type between operators: float32, int8 or int16.
        interface: type of the inputs and outputs: float32, int8 or uint8.
        calibrated: whether ranges are measured on real inputs first.
        sparse: whether zeros of 1x1 kernels are left out of the file, so that runtimes can leave out their work.
        checked_at_most: inputs to compare with Keras at most, None for all: some recipes have only unoptimized kernels
            on the host, a hundred times slower.
        about: one line for users.
        lowering: the way it is lowered, a name in the table of converters/lowering.py.
        edgetpu: whether the file is for the Edge TPU's compiler: only operators it takes, and a choice of interface.
        compiled: whether that compiler writes the file; its input is compared with Keras.
    """

    name: str
    weights: str
    activations: str
    interface: str
    calibrated: bool
    tolerance: Tolerance
    about: str
    lowering: str
    sparse: bool = False
    checked_at_most: int | None = None
    edgetpu: bool = False
    compiled: bool = False

    @property
    def integer_only(self) -> bool:
        """Whether every operator between the inputs and the outputs must compute in integers."""
        return self.activations != "float32"

    @property
    def record(self) -> RecipeRecord:
        """The artifact's record of the recipe."""
        values = {field.name: getattr(self, field.name) for field in fields(RecipeRecord)}
        return RecipeRecord(**{**values, "tolerance": self.tolerance.record})


_TABLE = (
    Recipe(
        name="fp32", lowering="float32",
        weights="float32", activations="float32", interface="float32", calibrated=False,
        tolerance=Tolerance(relative_rms_error=1e-4, relative_max_error=1e-3, top1_agreement=1.0, accuracy_drop=0.0),
        about="the model as it is, batch normalization folded",
    ),
    Recipe(
        name="fp16", lowering="float16",
        weights="float16", activations="float32", interface="float32", calibrated=False,
        tolerance=Tolerance(relative_rms_error=0.03, top1_agreement=0.98, accuracy_drop=0.01),
        about="half the size, weights stored as float16 and unpacked when loaded",
    ),
    Recipe(
        name="dynamic", lowering="dynamic",
        weights="int8", activations="float32", interface="float32", calibrated=False,
        tolerance=Tolerance(relative_rms_error=0.4, top1_agreement=0.9, accuracy_drop=0.05),
        about="a quarter of the size, weights int8, activations quantized while running",
    ),
    Recipe(
        name="int8", lowering="int8",
        weights="int8", activations="int8", interface="int8", calibrated=True,
        tolerance=Tolerance(relative_rms_error=0.45, top1_agreement=0.9, accuracy_drop=0.05),
        about="integers only, int8 in and out",
    ),
    Recipe(
        name="int8-float", lowering="int8",
        weights="int8", activations="int8", interface="float32", calibrated=True,
        tolerance=Tolerance(relative_rms_error=0.45, top1_agreement=0.9, accuracy_drop=0.05),
        about="integers only inside, float32 in and out",
    ),
    Recipe(
        name="int16x8", lowering="int16x8",
        weights="int8", activations="int16", interface="float32", calibrated=True,
        tolerance=Tolerance(relative_rms_error=0.3, top1_agreement=0.9, accuracy_drop=0.05),
        about="int16 activations, int8 weights, float32 in and out: finer than int8, slower", checked_at_most=20,
    ),
    Recipe(
        name="sparse", lowering="sparse-float32",
        weights="float32", activations="float32", interface="float32", calibrated=False, sparse=True,
        tolerance=Tolerance(relative_rms_error=1e-4, relative_max_error=1e-3, top1_agreement=1.0, accuracy_drop=0.0),
        about="a pruned model, zeros of 1x1 convolutions left out, for XNNPACK's sparse kernels",
    ),
    Recipe(
        name="sparse-fp16", lowering="sparse-float16",
        weights="float16", activations="float32", interface="float32", calibrated=False, sparse=True,
        tolerance=Tolerance(relative_rms_error=0.03, top1_agreement=0.98, accuracy_drop=0.01),
        about="sparse, the remaining weights stored as float16",
    ),
    Recipe(
        name="sparse-int8", lowering="sparse-int8",
        weights="int8", activations="float32", interface="float32", calibrated=False, sparse=True,
        tolerance=Tolerance(relative_rms_error=0.2, top1_agreement=0.95, accuracy_drop=0.03),
        about="sparse, 1x1 and dense weights stored as int8, the others as float16; computes in float32",
    ),
    Recipe(
        name="edgetpu", lowering="edgetpu",
        weights="int8", activations="int8", interface="uint8", calibrated=True, edgetpu=True,
        tolerance=Tolerance(relative_rms_error=0.45, top1_agreement=0.9, accuracy_drop=0.05),
        about="integers only, uint8 in and out, for edgetpu_compiler 16.0: one scale per dense layer's weights",
    ),
    Recipe(
        name="edgetpu-compiled", lowering="edgetpu",
        weights="int8", activations="int8", interface="uint8", calibrated=True, edgetpu=True, compiled=True,
        tolerance=Tolerance(relative_rms_error=0.45, top1_agreement=0.9, accuracy_drop=0.05),
        about="the same, compiled by edgetpu_compiler: runs with a Coral board or stick alone",
    ),
)  # fmt: skip
RECIPES = MappingProxyType({recipe.name: recipe for recipe in _TABLE})


def recipe_named(name: str) -> Recipe:
    """Return one recipe.

    Raises:
        ConversionError: there is none of that name; the nearest ones are named.
    """
    recipe = RECIPES.get(name)
    if recipe is None:
        near = get_close_matches(name, RECIPES, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "name one of these, several separated by commas"
        raise ConversionError(f"no recipe is named '{name}'; there are {', '.join(RECIPES)}", hint=hint)
    return recipe


def recipes_named(names: Iterable[str]) -> tuple[Recipe, ...]:
    """Return the recipes of these names, each once, in the order asked."""
    return tuple(recipe_named(name) for name in dict.fromkeys(names))
