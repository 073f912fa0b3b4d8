"""Loads the model to convert, by name with its weights or from a file, with its preprocessing and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from converters.artifact.preprocessing import Preprocessing
from converters.artifact.record import SourceRecord
from converters.files import sha256_of
from converters.freezing import Port
from converters.recipes import Recipe
from converters.source import SourceModel, from_keras
from converters.source_files import load_source
from converters.targets.boards import DEFAULT_TARGET
from edge.data.data_source import IMAGENET_CLASSES
from edge.data.splits import HeldOut
from edge.errors import InputError
from edge.models.saved_model import ModelDescription, NoDescriptionError, read_description

ASSUMED_MODE = "tf"
_ON_PIXELS = "keras.src.layers.preprocessing.image_preprocessing"
KerasModel = Any  # keras.Model
Notify = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ConvertRequest:
    """The request of a user of `edge convert`; None for options not given.

    Attributes:
        source: a registry name, a .keras or .h5 file, or a SavedModel folder.
        arguments: for a registry name: alpha, image_size, classes, padding.
        labels: a file of names, or the word "imagenet".
        samples: the most calibration inputs, and the most checked ones.
        tolerance: fields of `converters.recipes.Tolerance` to replace in every recipe.
        target: the board on which files of sparse recipes must run sparse kernels; `force` writes them regardless,
            and files of which the Edge TPU's compiler is predicted to map nothing.
        io: type of the inputs and outputs of files for the Edge TPU: uint8 or int8; None is the recipe's.
        compiler: the location of Google's compiler: a path, or docker:IMAGE; None for the one on PATH.
    """

    source: str
    recipes: tuple[Recipe, ...]
    folder: Path
    name: str | None = None
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    calibrate: str | None = None
    check: str | None = None
    samples: int = 200
    seed: int = 0
    labels: str | None = None
    preprocess: str | None = None
    batch: int = 1
    tolerance: Mapping[str, float] = field(default_factory=dict)
    target: str = DEFAULT_TARGET
    force: bool = False
    io: str | None = None
    compiler: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """A model with the facts known before any data is read."""

    model: SourceModel
    record: SourceRecord
    inputs: tuple[Port, ...]
    preprocessing: Preprocessing | None
    assumed: bool
    labels: tuple[str, ...] | None
    labels_origin: str | None
    description: ModelDescription | None = None

    @property
    def held_out(self) -> HeldOut | None:
        """The samples that `edge train` held out of the model's data; None where there are none."""
        data = None if self.description is None else self.description.data
        return None if data is None else data.held_out


def load_model(request: ConvertRequest, notify: Notify) -> LoadedModel:
    if names_a_file(request.source):
        return _load_file(Path(request.source), request, notify)
    return _load_registered(request, notify)


def names_a_file(source: str) -> bool:
    """Return whether a text is a path, existing or not, rather than a name of the registry."""
    path = Path(source)
    return path.exists() or bool(path.suffix) or "/" in source


def _load_registered(request: ConvertRequest, notify: Notify) -> LoadedModel:
    from edge.models import arguments_of, build, spec_of

    arguments = arguments_of(request.source, **request.arguments)
    keras_model = build(request.source, **arguments)
    weights: tuple[str, str] | tuple[None, None] = (None, None)
    if request.weights is None:
        notify(f"{request.source} has random weights: name trained ones with --weights for figures that mean something")
    else:
        weights = _put_weights(keras_model, request, notify)
    model = from_keras(keras_model, name=request.source, kind="registry")
    inputs = model.with_static_inputs(batch=request.batch, image_size=None)
    record = SourceRecord(name=request.source, kind="registry", arguments=arguments, sha256=None,
                          weights=weights[0], weights_sha256=weights[1])  # fmt: skip
    mode = request.preprocess or spec_of(request.source).mode
    labels, origin = _labels(request, model, _knows_imagenet(request.weights), None)
    return LoadedModel(model=model, record=record, inputs=inputs, preprocessing=_for_mode(mode, inputs), assumed=False,
                   labels=labels, labels_origin=origin)  # fmt: skip


def _load_file(path: Path, request: ConvertRequest, notify: Notify) -> LoadedModel:
    if request.weights is not None:
        raise InputError(f"{path} brings its own weights; --weights {request.weights} was given as well",
                         hint="--weights goes with a registry name (`edge models`)")  # fmt: skip
    others = sorted(set(request.arguments) - {"image_size"})
    if others:
        raise InputError(f"{', '.join(others)} cannot be chosen for {path}: the file fixes them",
                         hint="these options go with a registry name (`edge models`)")  # fmt: skip
    model = load_source(path)
    for note in model.notes:
        notify(note)
    inputs = model.with_static_inputs(batch=request.batch, image_size=request.arguments.get("image_size"))
    description = _description(path, notify)
    preprocessing, assumed = _preprocessing_of_file(model, inputs, request, description)
    if assumed and preprocessing is not None:
        notify(f"preprocessing is unknown for {path.name}: '{preprocessing.mode}' ([-1, 1]) is assumed; "
            "--preprocess tf|torch|caffe|unit|raw states what it was trained with")  # fmt: skip
    labels, origin = _labels(request, model, False, description)
    record = SourceRecord(name=path.stem if path.is_file() else path.name, kind=model.kind, arguments={},
                          sha256=_sha_of(str(path)), weights=None, weights_sha256=None, notes=model.notes)  # fmt: skip
    return LoadedModel(model=model, record=record, inputs=inputs, preprocessing=preprocessing, assumed=assumed,
                   labels=labels, labels_origin=origin, description=description)  # fmt: skip


def _put_weights(model: KerasModel, request: ConvertRequest, notify: Notify) -> tuple[str, str]:
    """Load the weights and return their source as requested and the file's digest."""
    from edge.models.weights import load_weights

    assert request.weights is not None
    loaded = load_weights(model, request.weights, name=request.source, arguments=request.arguments)
    for note in loaded.notes:
        notify(note)
    return loaded.source, loaded.sha256


def _sha_of(path: str | None) -> str | None:
    return sha256_of(Path(path)) if path is not None and Path(path).is_file() else None


def _knows_imagenet(weights: str | None) -> bool:
    return weights is not None and (weights == "imagenet" or weights.endswith(".tflite"))


def _description(path: Path, notify: Notify) -> ModelDescription | None:
    """Return the description next to a model, None where there is none, or one of another file."""
    if path.is_dir():
        return None
    try:
        description = read_description(path)
    except NoDescriptionError:
        return None
    if description is not None and not description.describes(path):
        notify(f"{path.stem}.json does not match the current {path.name}: its preprocessing and labels are not "
            "used")  # fmt: skip
        return None
    return description


def _preprocessing_of_file(
    model: SourceModel, inputs: tuple[Port, ...], request: ConvertRequest, description: ModelDescription | None
) -> tuple[Preprocessing | None, bool]:
    """Return the preprocessing and whether it is only assumed; None for inputs that are not images."""
    if not _is_picture(inputs):
        return None, False
    if request.preprocess is not None:
        return _for_mode(request.preprocess, inputs), False
    if description is not None and description.preprocessing is not None:
        return description.preprocessing, False
    if _scales_itself(model):
        return _for_mode("raw", inputs), False
    return _for_mode(ASSUMED_MODE, inputs), True


def _scales_itself(model: SourceModel) -> bool:
    """Whether a Rescaling or Normalization layer reads the input, directly or after layers that keep pixel values."""
    for layer in _open_nested(getattr(model.keras_model, "layers", ())):
        if type(layer).__name__ in ("Rescaling", "Normalization"):
            return True
        if not type(layer).__module__.startswith(_ON_PIXELS) and type(layer).__name__ != "InputLayer":
            return False
    return False


def _open_nested(layers: Iterable[Any]) -> Iterator[Any]:
    """Yield layers in order, nested models opened."""
    for layer in layers:
        nested = getattr(layer, "layers", None)
        yield from _open_nested(nested) if nested else (layer,)


def _is_picture(inputs: tuple[Port, ...]) -> bool:
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[3] in (1, 3)


def _for_mode(mode: str, inputs: tuple[Port, ...]) -> Preprocessing | None:
    if not _is_picture(inputs):
        return None
    _, height, width, channels = inputs[0].shape
    return Preprocessing.for_mode(mode, height, width, channels)


def _labels(
    request: ConvertRequest, model: SourceModel, imagenet: bool, description: ModelDescription | None
) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the class names and where they are from."""
    from edge.models.labels import imagenet_labels, read_labels

    classes = model.classes
    if request.labels == "imagenet" or (
        request.labels is None and imagenet and classes in (IMAGENET_CLASSES, IMAGENET_CLASSES + 1)
    ):
        return imagenet_labels(classes or 0), "imagenet"
    if request.labels is not None:
        return read_labels(Path(request.labels), classes=classes), request.labels
    if description is not None and description.labels:
        return description.labels, "the trained model"
    return None, None
